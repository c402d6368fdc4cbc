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

struct Backlog {
  std::string missed;  // that it is not back; empty: it is, as far as it was seen
  std::string unseen;  // that nobody saw it, though the baseline had one
};

Backlog backlog_over(const Evidence& evidence, Stretch stretch) {
  Backlog out;
  const auto baseline = evidence.span(Span::baseline);
  if (!baseline) return out;
  for (const auto& [name, use] : evidence.playbook().probes) {
    const ProbeType* type = find_probe(use.probe);
    if (type == nullptr || find_measure(*type, kBacklogMeasure) == nullptr) continue;
    const auto before = evidence.measure(name, kBacklogMeasure, *baseline);
    const auto now = evidence.measure(name, kBacklogMeasure, stretch);
    if (!before) continue;
    if (!now) {
      out.unseen = fmt::format("whether {}.{} was back is not known: no look saw it", name, kBacklogMeasure);
    } else if (now->value > std::max(before->value * kBacklogFactor, before->value + kBacklogSlack)) {
      out.missed = fmt::format("{}.{} was still {:.0f} (baseline {:.0f})", name, kBacklogMeasure, now->value, before->value);
    }
  }
  return out;
}

// Why this slice breaks the steady state, if it does.
std::optional<std::string> slice_break(const Evidence& evidence, const std::vector<Expectation>& steady, Stretch slice) {
  for (const Expectation& expectation : steady) {
    if (evidence.clearly_missed(expectation, slice)) return evidence.hold(expectation, slice, false).because;
  }
  const Backlog backlog = backlog_over(evidence, slice);  // a second without a look is none
  return backlog.missed.empty() ? std::nullopt : std::optional(backlog.missed);
}

bool enough_to_tell(const Evidence& evidence, const Expectation& expectation, Stretch stretch) {
  const auto measured = evidence.measure(expectation.probe, expectation.measure, stretch);
  if (!measured || measured->kind == MeasureKind::number) return measured.has_value();
  if (!measured->interval && measured->kind != MeasureKind::ratio) return measured->samples >= kFewestToClaim;
  return enough_to_settle(expectation, measured->kind, measured->samples);
}

// What keeps the stretch from being the steady state, and whether it is only that it has too few samples.
struct Shortfall {
  std::string missed;  // empty: nothing
  bool too_few = false;
};

Shortfall shortfall(const Evidence& evidence, const std::vector<Expectation>& steady, Stretch stretch) {
  Shortfall out;
  for (const Expectation& expectation : steady) {
    const Finding whole = evidence.hold(expectation, stretch, false);
    if (whole.holds == Holds::no) return {whole.because, false};
    if (whole.holds == Holds::yes && enough_to_tell(evidence, expectation, stretch)) continue;
    out.too_few = true;
    out.missed = whole.holds == Holds::yes ? fmt::format("{}, but too few samples to tell that from chance", whole.because) : whole.because;
  }
  if (const Backlog backlog = backlog_over(evidence, stretch); !backlog.unseen.empty()) out = {backlog.unseen, true};
  return out;
}

}  // namespace

bool enough_to_settle(const Expectation& expectation, MeasureKind kind, std::uint64_t samples) {
  if (expectation.measure == "users_affected") return true;  // people, of whom waiting makes no more
  if (samples < kFewestToClaim) return false;
  const auto quantile = quantile_of(expectation.measure);
  if (kind != MeasureKind::ratio && !quantile) return true;
  for (const Bound& bound : expectation.bounds) {
    // A p90 of at most 1 s is 90 % of the logins within it.
    const bool much = bound.comparison == Comparison::at_least || bound.comparison == Comparison::above;
    const double lower = quantile ? (much ? 1 - *quantile : *quantile) : much ? bound.value : 1 - bound.value;
    if (lower <= 0) continue;  // met by all
    if (!tells(lower, std::max(kRecoveryResolution, (1 - lower) / 2), samples)) return false;
  }
  return true;
}

Recovery find_settled(const Evidence& evidence, const std::vector<Expectation>& steady, Stretch within, std::string_view since, double in_time) {
  const double settle = seconds(evidence.playbook().timing.settle);
  Recovery recovery;
  recovery.because = "the steady state was not seen again";
  double candidate = within.from;
  double longer = 0;  // where `settle` has too few samples: up to here
  for (double at = within.from; at + kSlice <= within.to + 1e-9; at += kStep) {
    if (auto reason = slice_break(evidence, steady, {at, at + kSlice})) {
      recovery.because = fmt::format("{:.1f} s after {} {}", at - within.from, since, *reason);
      candidate = at + kStep;
      longer = 0;
      recovery.too_few = false;
    }
    const double settled = std::max(candidate + settle, longer);
    if (at + kSlice < settled - 1e-9) continue;
    // No break for long enough: the whole of it must meet the steady state too, not only its slices.
    const Shortfall whole = shortfall(evidence, steady, {candidate, settled});
    recovery.too_few = whole.too_few;
    if (whole.missed.empty()) {
      recovery.recovered = true;
      recovery.too_few = false;
      recovery.seconds = candidate - within.from;
      recovery.settled_at = settled;
      recovery.because = fmt::format("the steady state was met again {:.1f} s after {}, and held for {}", recovery.seconds, since, show_value(MeasureKind::duration, settled - candidate));
      return recovery;
    }
    recovery.because = whole.missed;
    longer = whole.too_few ? at + 2 * kSlice : 0;  // a second more: looking oftener tells no more
    if (!whole.too_few) candidate += kStep;
  }
  // It could still have come back in time, had somebody looked on.
  const double needed = std::max(candidate + settle, longer);
  if (!recovery.too_few && within.to + 1e-9 < needed && needed < in_time + 1e-9) {
    recovery.too_few = true;
    recovery.because += "; nobody looked after that for long enough to see it come back";
  }
  return recovery;
}

std::optional<Recovery> find_recovery(const Evidence& evidence) {
  const auto undone = evidence.undone_at();
  if (!undone) return std::nullopt;
  double end = evidence.complete_until();
  const auto recovery = evidence.escape_began() ? evidence.span(Span::recovery) : std::nullopt;
  if (recovery) end = std::min(end, recovery->to);
  return find_settled(evidence, evidence.playbook().steady_state, {*undone, end}, "the undo", *undone + seconds(evidence.playbook().timing.recovery));
}

}  // namespace capsize
