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
inline constexpr double kBusy = 0.9;                                   // of a core: a thread that uses more has little left
inline constexpr double kBusyFor = 1.0;                                // seconds of that are worth a word

struct GeneratorHealth {
  std::uint64_t scheduled = 0;
  std::uint64_t late = 0;      // sent, but later than kLateAfter
  std::uint64_t not_sent = 0;
  std::uint64_t lacked = 0;    // of not_sent: for want of something of this machine
  std::uint64_t waited = 0;    // until fewer than max_in_flight were under way: sent late, or not at all
  double late_share = 0;       // (late + not_sent) / scheduled
  double send_late_p50 = 0;    // seconds, of what was sent and what was not
  double send_late_p99 = 0;
  std::optional<double> cpu;   // the mean share of a core that the load's thread used; nothing where it is not known
  std::optional<double> cpu_when_late;  // in the windows of the logins that were sent late or not at all
  double busy_for = 0;         // seconds in which it used more than kBusy
  std::string problem;         // what the tester lacked, in its own words; empty: nothing it noticed
};
// Windows of probes that are no load generators count nothing. Pure.
GeneratorHealth generator_health(const std::vector<const Window*>& windows);
Json to_json(const GeneratorHealth& health);

// Why the windows of a probe cannot be trusted, if so: past a bound of work that the tester did not, or not in time, send; and whether that
// was for want of CPU, of something else of this machine, or of a place under max_in_flight. Pure.
std::optional<std::string> generator_problem(const std::vector<const Window*>& windows);
// What is no problem yet: a thread with little left of its core that sent in time nevertheless. Pure.
std::optional<std::string> generator_warning(const std::vector<const Window*>& windows);

}  // namespace capsize
