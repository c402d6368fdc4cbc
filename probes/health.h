// Could the tester itself keep up? A slow system is never blamed on a slow tester, nor the other way round.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "probes/probe.h"

namespace capsize {

inline constexpr Duration kLateAfter = std::chrono::milliseconds(10);  // later than this after it was due, a login was sent late
inline constexpr double kMostLate = 0.05;                              // of the schedule: sent late or not at all
inline constexpr double kMostNotSent = 0.01;                           // of the schedule

struct GeneratorHealth {
  std::uint64_t scheduled = 0;
  std::uint64_t late = 0;      // sent, but later than kLateAfter
  std::uint64_t not_sent = 0;
  double late_share = 0;       // (late + not_sent) / scheduled
  double send_late_p50 = 0;    // seconds, of what was sent and what was not
  double send_late_p99 = 0;
  std::string problem;         // what the tester lacked, in its own words; empty: nothing it noticed
};
// Windows of probes that are no load generators count nothing. Pure.
GeneratorHealth generator_health(const std::vector<const Window*>& windows);
Json to_json(const GeneratorHealth& health);

// Why the windows of a probe cannot be trusted, if so: past a bound of work that the tester did not, or not in time, send. Pure.
std::optional<std::string> generator_problem(const std::vector<const Window*>& windows);

}  // namespace capsize
