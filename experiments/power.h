// What a number of samples can tell, before the run and after it. Pure. The promise: a system that lies by the resolution or more on the
// wrong side of a bound is called so 99 times in 100; where the limit is 50 % or more, so is one that lies by it on the right side.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "experiments/playbook.h"
#include "injector/base/param_types.h"
#include "probes/load/load_rate.h"
#include "probes/measure.h"

namespace capsize {

inline constexpr double kPower = 0.99;              // how often a move of the resolution's size is seen
// A resolution is warned of that is coarser than this, and than half of what its limit allows to fail.
inline constexpr double kCoarseResolution = 0.03;

// The smallest move of a ratio to the wrong side of `limit` that `samples` tell from none with kPower; nothing where they tell none.
// `wants_much`: the bound is a lower one.
std::optional<double> ratio_resolution(bool wants_much, double limit, std::uint64_t samples);

// Whether a drop of `move` below a lower `limit` is told from none: whether the resolution is as fine as that, at a fraction of the work.
bool tells(double limit, double move, std::uint64_t samples);

// Whether a ratio can be shown to meet `limit` at all: that is, when every one of the samples is as it should be.
bool can_be_held(bool wants_much, double limit, std::uint64_t samples);
std::uint64_t samples_to_hold(bool wants_much, double limit);

// How many samples it takes until a quantile has an upper end: p99 needs 368; 437 against a baseline, which is in doubt as well.
std::uint64_t samples_to_bound(double quantile, double each_side = kEachSide);

// 0.99 of "latency.p99"; nothing for what is no quantile.
std::optional<double> quantile_of(std::string_view measure);

// How many samples an expectation will have, as far as the playbook says: as many as are expected in its span. The load is taken to begin with
// the baseline, and the phases to follow each other at once. In the recovery, which may settle at any time, it is the emptiest stretch of
// `settle`.
struct Planned {
  LoadRate rate;
  double counted = 1;      // of the logins, the share that counts for the measure: without those that must be refused
  double per_second = 0;   // in the mean: of all, and of those that count
  double counted_per_second = 0;
  std::uint64_t most = 0;  // however long it lasts: as many as there are people; 0: no such limit
  Duration lasting{};
  std::uint64_t samples = 0;
};
// Of those that count, in a stretch of `length` seconds between two times since the start of the load: in the emptiest such, or the fullest.
double fewest_planned(const Planned& planned, double from, double to, double length);
double most_planned(const Planned& planned, double from, double to, double length);
std::optional<Planned> planned_samples(const Playbook& playbook, const ProbeType& probe, const Expectation& expectation);

// From one look of a probe that looks now and then to the next; nothing for one that puts a load through.
std::optional<Duration> looks_every(const ProbeUse& use, const ProbeType& probe);

// "at 20/s for 30s a drop below 4.6 % cannot be told from none", where that is so coarse that a person should know.
std::optional<Mistake> power_warning(const Playbook& playbook, const ProbeType& probe, const MeasureInfo& measure, const Expectation& expectation, const Bound& bound);

// Where a guardrail never stops the run, whatever happens, or later than it says.
std::optional<Mistake> guardrail_warning(const Playbook& playbook, const ProbeType& probe, const MeasureInfo& measure, const Guardrail& guardrail);

}  // namespace capsize
