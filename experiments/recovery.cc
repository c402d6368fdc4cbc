#include "experiments/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

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

}  // namespace

std::optional<Recovery> find_recovery(const Evidence& evidence) {
  const auto undone = evidence.undone_at();
  if (!undone) return std::nullopt;
  const double settle = seconds(evidence.playbook().timing.settle);
  const double end = evidence.complete_until();
  Recovery recovery;
  recovery.because = "the steady state was not seen again";
  double candidate = *undone;
  for (double at = *undone; at + kSlice <= end + 1e-9; at += kStep) {
    if (auto reason = slice_break(evidence, {at, at + kSlice})) {
      recovery.because = fmt::format("{:.1f} s after the undo {}", at - *undone, *reason);
      candidate = at + kStep;
      recovery.too_few = false;
    }
    const double settled = candidate + settle;
    if (at + kSlice < settled - 1e-9) continue;
    // No break for long enough: the whole of it must meet the steady state too, not only its slices.
    std::string missed;
    recovery.too_few = true;
    for (const Expectation& expectation : evidence.playbook().steady_state) {
      const Finding whole = evidence.hold(expectation, {candidate, settled}, false);
      if (whole.holds != Holds::yes) missed = whole.because;
      if (whole.holds == Holds::no) recovery.too_few = false;
    }
    if (missed.empty()) {
      recovery.recovered = true;
      recovery.too_few = false;
      recovery.seconds = candidate - *undone;
      recovery.settled_at = settled;
      recovery.because = fmt::format("the steady state was met again {:.1f} s after the undo, and held for {}", recovery.seconds, show_value(MeasureKind::duration, settle));
      return recovery;
    }
    recovery.because = missed;
    candidate += kStep;
  }
  return recovery;
}

}  // namespace capsize
