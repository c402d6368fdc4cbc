#include "experiments/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/power.h"

namespace capsize {
namespace {

constexpr double kStep = 0.25;   // seconds: the resolution of "when"
constexpr double kSlice = 1.0;   // seconds: the stretch in which a clear miss is a break

// A backlog within this factor of the baseline's largest, or this many above it, counts as back to normal: it is a momentary count.
constexpr double kBacklogFactor = 1.5;
constexpr double kBacklogSlack = 10;

std::optional<std::string> backlog_break(const Evidence& evidence, Stretch stretch) {
  const auto baseline = evidence.span(Span::baseline);
  if (!baseline) return std::nullopt;
  for (const auto& [name, use] : evidence.playbook().probes) {
    const ProbeType* type = find_probe(use.probe);
    if (type == nullptr || find_measure(*type, kBacklogMeasure) == nullptr) continue;
    const auto before = evidence.measure(name, kBacklogMeasure, *baseline);
    const auto now = evidence.measure(name, kBacklogMeasure, stretch);
    if (!before || !now) continue;
    if (now->value > std::max(before->value * kBacklogFactor, before->value + kBacklogSlack)) {
      return fmt::format("{}.{} was still {:.0f} (baseline {:.0f})", name, kBacklogMeasure, now->value, before->value);
    }
  }
  return std::nullopt;
}

// Why this slice breaks the steady state, if it does.
std::optional<std::string> slice_break(const Evidence& evidence, Stretch slice) {
  for (const Expectation& expectation : evidence.playbook().steady_state) {
    if (evidence.clearly_missed(expectation, slice)) return evidence.hold(expectation, slice, false).because;
  }
  return backlog_break(evidence, slice);
}

// Whether so many samples tell a system that meets this from one that is stuck below it.
bool enough_to_tell(const Evidence& evidence, const Expectation& expectation, Stretch stretch) {
  const auto measured = evidence.measure(expectation.probe, expectation.measure, stretch);
  if (!measured || measured->kind == MeasureKind::number) return measured.has_value();
  if (expectation.measure == "users_affected") return true;  // people, of whom waiting makes no more
  if (measured->samples < kFewestToClaim) return false;
  const auto quantile = measured->interval ? quantile_of(expectation.measure) : std::nullopt;
  if (measured->kind != MeasureKind::ratio && !quantile) return true;
  for (const Bound& bound : expectation.bounds) {
    // A p90 of at most 1 s is 90 % of the logins within it.
    const bool much = bound.comparison == Comparison::at_least || bound.comparison == Comparison::above;
    const double lower = quantile ? (much ? 1 - *quantile : *quantile) : much ? bound.value : 1 - bound.value;
    if (lower <= 0) continue;  // met by all
    if (!tells(lower, std::max(kRecoveryResolution, (1 - lower) / 2), measured->samples)) return false;
  }
  return true;
}

// What keeps the stretch from being the steady state, and whether it is only that it has too few samples.
struct Shortfall {
  std::string missed;  // empty: nothing
  bool too_few = false;
};

Shortfall shortfall(const Evidence& evidence, Stretch stretch) {
  Shortfall out;
  for (const Expectation& expectation : evidence.playbook().steady_state) {
    const Finding whole = evidence.hold(expectation, stretch, false);
    if (whole.holds == Holds::no) return {whole.because, false};
    if (whole.holds == Holds::yes && enough_to_tell(evidence, expectation, stretch)) continue;
    out.too_few = true;
    out.missed = whole.holds == Holds::yes ? fmt::format("{}, but too few samples to tell that from chance", whole.because) : whole.because;
  }
  return out;
}

}  // namespace

std::optional<Recovery> find_recovery(const Evidence& evidence) {
  const auto undone = evidence.undone_at();
  if (!undone) return std::nullopt;
  const double settle = seconds(evidence.playbook().timing.settle);
  const double end = evidence.complete_until();
  Recovery recovery;
  recovery.because = "the steady state was not seen again";
  double candidate = *undone;
  double longer = 0;  // where `settle` has too few samples: up to here
  for (double at = *undone; at + kSlice <= end + 1e-9; at += kStep) {
    if (auto reason = slice_break(evidence, {at, at + kSlice})) {
      recovery.because = fmt::format("{:.1f} s after the undo {}", at - *undone, *reason);
      candidate = at + kStep;
      longer = 0;
      recovery.too_few = false;
    }
    const double settled = std::max(candidate + settle, longer);
    if (at + kSlice < settled - 1e-9) continue;
    // No break for long enough: the whole of it must meet the steady state too, not only its slices.
    const Shortfall whole = shortfall(evidence, {candidate, settled});
    recovery.too_few = whole.too_few;
    if (whole.missed.empty()) {
      recovery.recovered = true;
      recovery.too_few = false;
      recovery.seconds = candidate - *undone;
      recovery.settled_at = settled;
      recovery.because = fmt::format("the steady state was met again {:.1f} s after the undo, and held for {}", recovery.seconds, show_value(MeasureKind::duration, settled - candidate));
      return recovery;
    }
    recovery.because = whole.missed;
    longer = whole.too_few ? at + 2 * kSlice : 0;  // a second more: looking oftener tells no more
    if (!whole.too_few) candidate += kStep;
  }
  // It could still have come back in time, had somebody looked on.
  const double needed = std::max(candidate + settle, longer);
  if (!recovery.too_few && end + 1e-9 < needed && needed < *undone + seconds(evidence.playbook().timing.recovery) + 1e-9) {
    recovery.too_few = true;
    recovery.because += "; nobody looked after that for long enough to see it come back";
  }
  return recovery;
}

}  // namespace capsize
