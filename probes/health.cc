#include "probes/health.h"

#include <fmt/format.h>

#include "probes/load/histogram.h"

namespace capsize {

GeneratorHealth generator_health(const std::vector<const Window*>& windows) {
  GeneratorHealth out;
  LatencyHistogram send_late;
  for (const Window* window : windows) {
    if (!window->contains("counts")) continue;
    out.scheduled += window->value("scheduled", std::uint64_t{0});
    out.not_sent += window->at("counts").value("not_sent", std::uint64_t{0});
    if (window->contains("send_late")) send_late.merge(LatencyHistogram::from_json(window->at("send_late")));
    if (out.problem.empty()) out.problem = window->value("problem", "");
  }
  // The histogram has every login; one that was not sent counts as late by its whole timeout, which may be shorter than kLateAfter.
  const std::uint64_t beyond = send_late.count() - send_late.count_at_most(kLateAfter);
  out.late = beyond > out.not_sent ? beyond - out.not_sent : 0;
  if (out.scheduled > 0) out.late_share = static_cast<double>(out.late + out.not_sent) / static_cast<double>(out.scheduled);
  out.send_late_p50 = seconds(send_late.quantile(0.5));
  out.send_late_p99 = seconds(send_late.quantile(0.99));
  return out;
}

Json to_json(const GeneratorHealth& health) {
  return {{"scheduled", health.scheduled},   {"late", health.late},
          {"not_sent", health.not_sent},     {"late_share", health.late_share},
          {"send_late_p50", health.send_late_p50}, {"send_late_p99", health.send_late_p99},
          {"problem", health.problem}};
}

std::optional<std::string> generator_problem(const std::vector<const Window*>& windows) {
  const GeneratorHealth health = generator_health(windows);
  if (health.scheduled == 0) return std::nullopt;
  const std::string because = health.problem.empty() ? "" : ": " + health.problem;
  if (static_cast<double>(health.not_sent) / static_cast<double>(health.scheduled) > kMostNotSent) {
    return fmt::format("{} of {} scheduled were not sent in time{}", health.not_sent, health.scheduled, because);
  }
  if (health.late_share > kMostLate) {
    return fmt::format("{} of {} scheduled were sent more than {} late, or not at all{}", health.late + health.not_sent, health.scheduled, show(kLateAfter), because);
  }
  return std::nullopt;
}

}  // namespace capsize
