#include "experiments/guardrail.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace capsize {
namespace {

constexpr double kStep = 0.25;   // seconds between looks
constexpr double kSlice = 1.0;   // seconds

// The bound of a guardrail says when it is breached: "below 20 %".
bool beyond(const Bound& bound, double limit, double value) {
  switch (bound.comparison) {
    case Comparison::at_least: return value >= limit;
    case Comparison::at_most: return value <= limit;
    case Comparison::below: return value < limit;
    case Comparison::above: break;
  }
  return value > limit;
}

bool is_lower_breach(const Bound& bound) { return bound.comparison == Comparison::below || bound.comparison == Comparison::at_most; }

// How many different lengths of stretch fit: for, 2 for, 4 for ...
int lengths_of(double lasting, double phase) {
  int out = 1;
  for (double length = lasting * 2; length <= phase; length *= 2) ++out;
  return out;
}

}  // namespace

GuardrailWatch::GuardrailWatch(const Guardrail& guardrail, Duration phase) : guardrail_(guardrail), lasting_(std::max(1.0, seconds(guardrail.lasting))) {
  const double whole = std::max(seconds(phase), lasting_);
  const double looks = std::max(1.0, std::ceil((whole - lasting_) / kStep) + 1);
  const bool relative = !guardrail_.breach.bounds.empty() && guardrail_.breach.bounds.front().relative_to_baseline;
  level_ = (relative ? kFalseAbort / 2 : kFalseAbort) / (looks * lengths_of(lasting_, whole));
}

double GuardrailWatch::longest(Duration phase) const { return lasting_ * std::exp2(lengths_of(lasting_, std::max(seconds(phase), lasting_)) - 1); }

std::optional<double> GuardrailWatch::limit(const Evidence& evidence) const {
  const Bound& bound = guardrail_.breach.bounds.front();
  if (!bound.relative_to_baseline) return bound.value;
  const auto baseline = evidence.span(Span::baseline);
  const auto before = baseline ? evidence.measure(guardrail_.breach.probe, guardrail_.breach.measure, *baseline) : std::nullopt;
  if (!before) return std::nullopt;
  // What is in doubt about the baseline is for the system. Where nothing bounds it (a p99 takes some hundred logins), its estimate is the
  // limit: a guardrail that cannot fire protects nobody.
  const Interval doubt = before->interval ? before->interval(kFalseAbort / 2) : Interval{before->low, before->high};
  const double end = is_lower_breach(bound) ? doubt.low : doubt.high;
  return bound.value * (std::isfinite(end) && end > 0 ? end : before->value);
}

bool GuardrailWatch::breached(const Measured& measured, double limit, double each_side) const {
  const Bound& bound = guardrail_.breach.bounds.front();
  if (!measured.interval) return beyond(bound, limit, measured.value);
  const Interval interval = measured.interval(each_side);
  return beyond(bound, limit, is_lower_breach(bound) ? interval.high : interval.low);
}

bool GuardrailWatch::clearly_well(const Measured& measured, double limit) const {
  const Bound& bound = guardrail_.breach.bounds.front();
  return !beyond(bound, limit, is_lower_breach(bound) ? measured.low : measured.high);
}

// Of what is only looked at: whether it was beyond the limit when the stretch began.
bool GuardrailWatch::was_so(const Evidence& evidence, double limit, Stretch stretch) const {
  const std::string& probe = guardrail_.breach.probe;
  const auto within = evidence.windows(probe, stretch);
  if (!within.empty() && within.front()->value("to", 0.0) < stretch.from + kSlice - 1e-9) return true;  // its first second has a look, and was asked
  const auto before = evidence.windows(probe, {0, stretch.from});
  if (before.empty()) return false;
  const double middle = (before.back()->value("from", 0.0) + before.back()->value("to", 0.0)) / 2;
  const auto measured = evidence.measure(probe, guardrail_.breach.measure, {middle, std::min(middle + 1e-6, stretch.from)});
  return measured && beyond(guardrail_.breach.bounds.front(), limit, measured->value);
}

std::optional<std::string> GuardrailWatch::look(const Evidence& evidence, Stretch fault) {
  const double until = evidence.complete_until(guardrail_.breach.probe);  // another probe that hangs does not blind it
  if (guardrail_.breach.bounds.empty()) return std::nullopt;
  if (until < looked_at_ + kStep - 1e-9) return std::nullopt;  // the level is for so many looks and no more
  if (until - lasting_ < fault.from - 1e-9 || until > fault.to + 1e-9) return std::nullopt;
  looked_at_ = until;
  const auto bound = limit(evidence);
  if (!bound) return std::nullopt;
  // What is not beyond it now does not stop the run, and costs no more work.
  const auto now = evidence.measure(guardrail_.breach.probe, guardrail_.breach.measure, {until - lasting_, until});
  if (now && !beyond(guardrail_.breach.bounds.front(), *bound, now->value)) return std::nullopt;
  // Still so: a second that clearly is not beyond it ends the stretch. For what is counted, each second has to be beyond it.
  for (double at = until - lasting_; at + kSlice <= until + 1e-9; at += kSlice / 2) {
    const Stretch slice{at, at + kSlice};
    const auto measured = evidence.measure(guardrail_.breach.probe, guardrail_.breach.measure, slice);
    if (!measured && lasting_ > kSlice) continue;  // a slow probe: the whole has the answer
    if (!measured || clearly_well(*measured, *bound)) return std::nullopt;
  }
  if (now && !now->interval && !was_so(evidence, *bound, {until - lasting_, until})) return std::nullopt;
  for (double length = lasting_; until - length >= fault.from - 1e-9; length *= 2) {
    const auto measured = evidence.measure(guardrail_.breach.probe, guardrail_.breach.measure, {until - length, until});
    if (!measured || !breached(*measured, *bound, level_)) continue;
    const Finding finding = evidence.hold(guardrail_.breach, {until - length, until}, false);
    return fmt::format("a guardrail stopped it ({} for {}): {}", describe(guardrail_.breach), show_value(MeasureKind::duration, length), finding.because);
  }
  return std::nullopt;
}

std::vector<GuardrailWatch> watches_after(const Evidence& evidence, Duration lasting) {
  std::vector<GuardrailWatch> out;
  for (const Guardrail& guardrail : evidence.playbook().abort_when) {
    const MeasureKind kind = kind_of(evidence.playbook(), guardrail.breach);
    const bool of_load = kind == MeasureKind::rate || kind == MeasureKind::count;
    if (of_load && std::any_of(guardrail.breach.bounds.begin(), guardrail.breach.bounds.end(), is_lower_breach)) continue;
    const double until = evidence.complete_until(guardrail.breach.probe);
    const double length = std::max(1.0, seconds(guardrail.lasting));
    if (evidence.hold(guardrail.breach, {until - length, until}, false).holds != Holds::yes) out.emplace_back(guardrail, lasting);
  }
  return out;
}

}  // namespace capsize
