#include "probes/health.h"

#include <fmt/format.h>

#include "probes/load/histogram.h"

namespace capsize {
namespace {

class Mean {
 public:
  void add(double value, double weight) {
    sum_ += value * weight;
    weights_ += weight;
  }
  std::optional<double> value() const { return weights_ > 0 ? std::optional(sum_ / weights_) : std::nullopt; }

 private:
  double sum_ = 0;
  double weights_ = 0;
};

// What most of the logins that were sent late, or not at all, were so for.
std::string cause_of(const GeneratorHealth& health) {
  const std::uint64_t amiss = health.late + health.not_sent;
  if (2 * health.lacked > amiss) return fmt::format(": this machine lacked something: {}", health.problem);
  if (2 * health.waited > amiss) return ": as many as max_in_flight were under way, and the rest waited for them; raise it";
  if (!health.cpu_when_late) return health.problem.empty() ? "" : ": " + health.problem;
  const double percent = 100 * *health.cpu_when_late;
  if (*health.cpu_when_late > kBusy) return fmt::format(": the load's thread used {:.0f} % of a core then; give it more \"workers\" where there are cores, lower the rate, or let another machine send a part of it", percent);
  return fmt::format(": the load's thread used {:.0f} % of a core then, and was not let run in time; end what else keeps this machine busy", percent);
}

}  // namespace

GeneratorHealth generator_health(const std::vector<const Window*>& windows) {
  GeneratorHealth out;
  LatencyHistogram send_late;
  Mean cpu;
  Mean cpu_when_late;
  for (const Window* window : windows) {
    if (!window->contains("counts")) continue;
    out.scheduled += window->value("scheduled", std::uint64_t{0});
    out.not_sent += window->at("counts").value("not_sent", std::uint64_t{0});
    const LatencyHistogram late = window->contains("send_late") ? LatencyHistogram::from_json(window->at("send_late")) : LatencyHistogram();
    send_late.merge(late);
    const auto tester = window->find("tester");
    if (tester != window->end()) {
      out.lacked += tester->value("lacked", std::uint64_t{0});
      out.waited += tester->value("waited", std::uint64_t{0});
    }
    if (tester != window->end() && tester->contains("cpu")) {
      const double share = tester->at("cpu").get<double>();
      const double length = window->value("to", 0.0) - window->value("from", 0.0);
      cpu.add(share, length);
      cpu_when_late.add(share, static_cast<double>(late.count() - late.count_at_most(kLateAfter)));
      if (share > kBusy) out.busy_for += length;
    }
    if (out.problem.empty()) out.problem = window->value("problem", "");
  }
  // The histogram has every login; one that was not sent counts as late by its whole timeout, which may be shorter than kLateAfter.
  const std::uint64_t beyond = send_late.count() - send_late.count_at_most(kLateAfter);
  out.late = beyond > out.not_sent ? beyond - out.not_sent : 0;
  if (out.scheduled > 0) out.late_share = static_cast<double>(out.late + out.not_sent) / static_cast<double>(out.scheduled);
  out.cpu = cpu.value();
  out.cpu_when_late = cpu_when_late.value();
  out.send_late_p50 = seconds(send_late.quantile(0.5));
  out.send_late_p99 = seconds(send_late.quantile(0.99));
  return out;
}

Json to_json(const GeneratorHealth& health) {
  return {{"scheduled", health.scheduled},   {"late", health.late},
          {"not_sent", health.not_sent},     {"late_share", health.late_share},
          {"send_late_p50", health.send_late_p50}, {"send_late_p99", health.send_late_p99},
          {"lacked", health.lacked},         {"waited", health.waited},
          {"cpu", health.cpu ? Json(*health.cpu) : Json(nullptr)}, {"busy_for", health.busy_for},
          {"problem", health.problem}};
}

std::optional<std::string> generator_problem(const std::vector<const Window*>& windows) {
  const GeneratorHealth health = generator_health(windows);
  if (health.scheduled == 0) return std::nullopt;
  const std::string because = cause_of(health);
  if (static_cast<double>(health.not_sent) / static_cast<double>(health.scheduled) > kMostNotSent) {
    return fmt::format("{} of {} scheduled were not sent in time{}", health.not_sent, health.scheduled, because);
  }
  if (health.late_share > kMostLate) {
    return fmt::format("{} of {} scheduled were sent more than {} late, or not at all{}", health.late + health.not_sent, health.scheduled, show(kLateAfter), because);
  }
  return std::nullopt;
}

std::optional<std::string> generator_warning(const std::vector<const Window*>& windows) {
  const GeneratorHealth health = generator_health(windows);
  if (health.busy_for < kBusyFor || generator_problem(windows)) return std::nullopt;
  return fmt::format("for {:.1f} s the load's thread used over {:.0f} % of a core, and sent in time nevertheless; much more it cannot send", health.busy_for, 100 * kBusy);
}

}  // namespace capsize
