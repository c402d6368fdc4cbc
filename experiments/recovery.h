// Did it right itself, and when? Pure. A system is recovered at the first moment after the verified undo from which the steady state is
// met, without a break, for `timing.settle`.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/evidence.h"

namespace capsize {

struct Recovery {
  bool recovered = false;
  double seconds = 0;       // from the verified undo (of find_settled: from `within.from`) to the first moment of the steady state that lasted
  double settled_at = 0;    // when `settle` of it had passed (seconds since the start of the run)
  bool too_few = false;     // not recovered only because the samples cannot say so (kRecoveryResolution), or nobody looked for long enough, or at the backlog
  std::string because;      // what still breaks the steady state, or that it is back
};

// Many stretches are tried, and one lucky one must not end it: where `settle` has too few samples to tell the steady state from one that
// misses it by this much (or by half of what it allows to fail), it takes a longer stretch until there are enough.
inline constexpr double kRecoveryResolution = 0.1;

// Over what has been recorded so far. Nothing without a verified undo.
std::optional<Recovery> find_recovery(const Evidence& evidence);

// The same over any stretch that is complete, for some expectations of the steady state. `since`: what the stretch begins with, in words.
// `in_time`: where the stretch might have gone on to; one that ends before it and might still have settled is too few.
Recovery find_settled(const Evidence& evidence, const std::vector<Expectation>& steady, Stretch within, std::string_view since, double in_time);

// Whether so many samples of a ratio, or of what a quantile is of, tell a system that meets this from one that is stuck below it.
bool enough_to_settle(const Expectation& expectation, MeasureKind kind, std::uint64_t samples);

// The measure by which a probe says how much work is piled up, where it has one: back to its baseline is a part of "recovered".
inline constexpr std::string_view kBacklogMeasure = "backlog";

}  // namespace capsize
