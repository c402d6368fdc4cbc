// Until the probes are in the table: the few measures the charts need, from the counts. To go with the probes' arrival.
#pragma once
#include <cmath>
#include <map>

#include "experiments/report/words.h"
#include "probes/probe.h"

namespace capsize {

inline bool stopgap_offers(std::string_view type, std::string_view measure) {
  if (type == "login.http") return measure == "success_ratio" || measure.starts_with("latency.");
  return type == "balancer.shares" && measure.starts_with("share.");
}

inline std::optional<Measured> stopgap_measure(std::string_view measure, const std::vector<const Window*>& windows) {
  std::uint64_t ok = 0, all = 0;
  if (measure == "success_ratio") {
    for (const Window* window : windows) {
      const Json& counts = member(*window, "counts");
      for (const auto& [name, count] : counts.items()) {
        if (name == "ok") ok += count.get<std::uint64_t>();
        if (name != "not_sent" && name != "rejected_rightly" && name != "wrongly_accepted") all += count.get<std::uint64_t>();
      }
    }
    return all == 0 ? std::nullopt : std::optional(ratio(ok, all));
  }
  if (measure.starts_with("share.")) {
    for (const Window* window : windows) {
      for (const auto& [name, server] : member(*window, "servers").items()) {
        all += server.value("sessions", std::uint64_t{0});
        if (name == measure.substr(6)) ok += server.value("sessions", std::uint64_t{0});
      }
    }
    return all == 0 ? std::nullopt : std::optional(ratio(ok, all));
  }
  std::map<int, std::uint64_t> buckets;
  for (const Window* window : windows) {
    for (const Json& pair : member(*window, "latency")) buckets[pair[0].get<int>()] += pair[1].get<std::uint64_t>(), all += pair[1].get<std::uint64_t>();
  }
  if (all == 0) return std::nullopt;
  const double q = measure == "latency.p50" ? 0.5 : 0.99;
  auto rank = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(all)));
  for (const auto& [bucket, count] : buckets) {
    if (rank > count) { rank -= count; continue; }
    const int shift = (bucket >> 7) - 1;
    const double value = bucket < 128 ? bucket : std::ldexp(static_cast<double>(bucket - (shift << 7)), shift);
    return Measured{MeasureKind::duration, value / 1e9, value / 1e9, value / 1e9, all};
  }
  return std::nullopt;
}

}  // namespace capsize
