#include "experiments/evidence.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/power.h"
#include "experiments/recovery.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

// Fewer samples than this say nothing about a ratio or a quantile, whatever their estimate.
constexpr std::uint64_t kFewestSamples = 20;

const char* words_of(Comparison comparison) {
  switch (comparison) {
    case Comparison::at_least: return "at least";
    case Comparison::at_most: return "at most";
    case Comparison::below: return "below";
    case Comparison::above: break;
  }
  return "above";
}

bool satisfied(Comparison comparison, double value, double limit) {
  switch (comparison) {
    case Comparison::at_least: return value >= limit;
    case Comparison::at_most: return value <= limit;
    case Comparison::below: return value < limit;
    case Comparison::above: break;
  }
  return value > limit;
}

bool wants_much(Comparison comparison) { return comparison == Comparison::at_least || comparison == Comparison::above; }

// The end of the interval that is worst, and the one that is best, for the comparison.
double worst_end(Comparison comparison, const Measured& measured) { return wants_much(comparison) ? measured.low : measured.high; }
double best_end(Comparison comparison, const Measured& measured) { return wants_much(comparison) ? measured.high : measured.low; }

bool sampled(const Measured& measured) { return measured.interval || measured.low != measured.value || measured.high != measured.value; }

std::string interval_text(const Measured& measured) {
  const std::string samples = measured.samples > 0 ? fmt::format("{} samples", measured.samples) : std::string();
  if (!sampled(measured)) return samples.empty() ? "" : " (" + samples + ")";
  const std::string high = std::isfinite(measured.high) ? show_value(measured.kind, measured.high) : "unbounded";
  return fmt::format(" (95 % interval {} to {}{}{})", show_value(measured.kind, measured.low), high, samples.empty() ? "" : ", ", samples);
}

// ": with 600 samples a drop below 4.6 % cannot be told from none", where it is that.
std::string resolution_text(Comparison comparison, double limit, const Measured& measured) {
  if (measured.samples < kFewestToClaim) return fmt::format(": nothing is claimed from fewer than {}", kFewestToClaim);
  if (measured.kind != MeasureKind::ratio) return "";
  const auto size = ratio_resolution(wants_much(comparison), limit, measured.samples);
  if (!size) return fmt::format(": {} are too few for any answer about {}", measured.samples, show_value(measured.kind, limit));
  return fmt::format(": with {} samples a {} below {:.2g} % cannot be told from none", measured.samples, wants_much(comparison) ? "drop" : "rise", *size * 100);
}

// Another probe, as one that asks an alert once a minute, may lag behind: what it has not seen yet says nothing of the recovery.
bool recovery_needs(const Playbook& playbook, const std::string& probe, const ProbeUse& use) {
  const ProbeType* type = find_probe(use.probe);
  if (type != nullptr && find_measure(*type, kBacklogMeasure) != nullptr) return true;
  return std::any_of(playbook.steady_state.begin(), playbook.steady_state.end(), [&](const Expectation& expectation) { return expectation.probe == probe; });
}

Holds worse(Holds a, Holds b) {
  if (a == Holds::no || b == Holds::no) return Holds::no;
  if (a == Holds::unknown || b == Holds::unknown) return Holds::unknown;
  return Holds::yes;
}

// A window belongs to the stretch that holds its middle, so that each belongs to exactly one of two neighbours.
double middle(const Window* window) { return (window->value("from", 0.0) + window->value("to", 0.0)) / 2; }

}  // namespace

std::string_view to_string(Holds holds) { return holds == Holds::yes ? "yes" : holds == Holds::no ? "no" : "unknown"; }

Json to_json(const Finding& finding) {
  return {{"expectation", finding.expectation}, {"holds", to_string(finding.holds)}, {"because", finding.because}, {"evidence", finding.evidence}};
}

std::string show_value(MeasureKind kind, double value) {
  switch (kind) {
    case MeasureKind::ratio: return fmt::format("{:.4g} %", value * 100);
    case MeasureKind::duration: return value < 1 ? fmt::format("{:.3g} ms", value * 1e3) : fmt::format("{:.2f} s", value);
    case MeasureKind::rate: return fmt::format("{:.1f}/s", value);
    case MeasureKind::count:
    case MeasureKind::number: break;
  }
  return value == std::floor(value) && std::abs(value) < 1e15 ? fmt::format("{}", static_cast<long long>(value)) : fmt::format("{:.3g}", value);
}

std::string describe(const Expectation& expectation) {
  std::string out = expectation.name();
  const char* separator = " ";
  for (const Bound& bound : expectation.bounds) {
    out += fmt::format("{}{} {}", separator, words_of(bound.comparison), bound.written);
    separator = " and ";
  }
  if (expectation.of != MeasureOf::span) return expectation.during_fault ? fmt::format("{} of {}", out, expectation.over()) : out;
  return expectation.probe.empty() ? out : fmt::format("{} during {}", out, expectation.over());
}

MeasureKind kind_of(const Playbook& playbook, const Expectation& expectation) {
  if (expectation.probe.empty()) return MeasureKind::duration;
  const auto use = playbook.probes.find(expectation.probe);
  CAPSIZE_CHECK(use != playbook.probes.end());
  const ProbeType* type = find_probe(use->second.probe);
  CAPSIZE_CHECK(type != nullptr);
  const MeasureInfo* info = find_measure(*type, expectation.measure);
  CAPSIZE_CHECK(info != nullptr);
  return info->kind;
}

void Evidence::add(const Json& event) {
  last_ = std::max(last_, event.value("t", 0.0));
  const std::string kind = event.value("event", "");
  if (kind == "phase") {
    phases_.emplace(event.value("phase", ""), event.value("t", 0.0));
    if (event.value("phase", "") != "escape") return;
    escape_began_ = event.value("t", 0.0);
    watched_until_ = event.value("watched_until", *escape_began_);
    before_escape_ = windows_;
    for (auto& [probe, all] : before_escape_) std::erase_if(all, [this](const Window* window) { return middle(window) >= watched_until_; });
  } else if (kind == "escape") {
    load_steps_.push_back({event.value("share", 1.0), event.value("t", 0.0)});
  } else if (kind == "injected") {
    in_place_[event.value("fault", std::size_t{0})] = {event.value("t", 0.0), -1};
  } else if (kind == "undo") {
    const auto fault = in_place_.find(event.value("fault", std::size_t{0}));
    if (fault != in_place_.end() && fault->second.to < 0) fault->second.to = event.value("t", 0.0);
  } else if (kind == "undone") {
    if (event.value("ok", false)) undone_at_ = event.value("t", 0.0);
  } else if (kind == "seal") {
    sealed_ = true;
  } else if (kind == "planned") {
    opened_ = true;  // what a sealed run did is in its file only when all of it is
  } else if (kind == "window") {
    const std::string probe = event.value("probe", "");
    auto& owned = owned_[probe];
    owned.push_back(std::make_unique<Window>(event.at("window")));
    windows_[probe].push_back(owned.back().get());
    if (escape_began_ && middle(owned.back().get()) < watched_until_) before_escape_[probe].push_back(owned.back().get());
  }
}

std::optional<Stretch> Evidence::span(Span span) const {
  const auto began = [&](const char* phase) -> std::optional<double> {
    const auto found = phases_.find(phase);
    return found == phases_.end() ? std::nullopt : std::optional(found->second);
  };
  const auto from_to = [&](std::optional<double> from, std::optional<double> to) -> std::optional<Stretch> {
    if (!from) return std::nullopt;
    return Stretch{*from, to.value_or(last_)};
  };
  const auto fault = began("fault");
  const auto revert = began("revert");
  const auto end = escape_began_ ? std::optional(watched_until_) : began("end");
  switch (span) {
    case Span::baseline: return from_to(began("baseline"), fault ? fault : revert ? revert : end);
    case Span::fault: return from_to(fault, revert ? revert : end);
    case Span::recovery: return undone_at_ && began("recovery") ? from_to(undone_at_, end) : std::nullopt;
    case Span::run: break;
  }
  return from_to(began("baseline"), end);
}

std::optional<Stretch> Evidence::span(const Expectation& expectation) const {
  const auto phase = span(expectation.during);
  if (!expectation.during_fault || !phase) return phase;
  const auto fault = in_place_.find(*expectation.during_fault);
  if (fault == in_place_.end()) return std::nullopt;
  // Undone as the last of the phase, it counts up to where the phase ends: an undo is recorded when it is over.
  const double to = fault->second.to < 0 ? phase->to : std::min(fault->second.to, phase->to);
  return Stretch{fault->second.from, to};
}

std::optional<double> Evidence::injected_at(std::optional<std::size_t> fault) const {
  std::optional<double> out;
  for (const auto& [index, stretch] : in_place_) {
    if (fault && *fault != index) continue;
    out = std::min(out.value_or(stretch.from), stretch.from);
  }
  return out;
}

std::optional<double> Evidence::undone_at(std::optional<std::size_t> fault) const {
  if (!fault) return undone_at_;
  const auto found = in_place_.find(*fault);
  return found == in_place_.end() || found->second.to < 0 ? std::nullopt : std::optional(found->second.to);
}

double Evidence::complete_until() const {
  double until = last_;
  for (const auto& [name, use] : playbook_.probes) {
    if (recovery_needs(playbook_, name, use)) until = std::min(until, complete_until(name));
  }
  return until;
}

double Evidence::complete_until(const std::string& probe) const {
  const auto& all = all_windows(probe);
  return all.empty() ? 0.0 : std::min(last_, all.back()->value("to", 0.0));
}

const std::vector<const Window*>& Evidence::windows(const std::string& probe) const {
  static const std::vector<const Window*> none;
  const auto& all = escape_began_ ? before_escape_ : windows_;
  const auto found = all.find(probe);
  return found == all.end() ? none : found->second;
}

const std::vector<const Window*>& Evidence::all_windows(const std::string& probe) const {
  const auto found = windows_.find(probe);
  return found == windows_.end() ? windows(probe) : found->second;
}

std::vector<const Window*> Evidence::windows(const std::string& probe, Stretch stretch) const {
  const auto& all = all_windows(probe);
  const auto first = std::partition_point(all.begin(), all.end(), [&](const Window* w) { return middle(w) < stretch.from; });
  const auto past = std::partition_point(first, all.end(), [&](const Window* w) { return middle(w) < stretch.to; });
  return {first, past};
}

std::optional<Measured> Evidence::measure(const std::string& probe, std::string_view measure, Stretch stretch) const {
  const auto use = playbook_.probes.find(probe);
  if (use == playbook_.probes.end()) return std::nullopt;
  const ProbeType* type = find_probe(use->second.probe);
  if (type == nullptr) return std::nullopt;
  const auto chosen = windows(probe, stretch);
  if (chosen.empty()) return std::nullopt;
  return type->measure(measure, chosen);
}

std::string Evidence::why_unknown(const Expectation& expectation, Stretch stretch) const {
  const auto use = playbook_.probes.find(expectation.probe);
  const ProbeType* type = use == playbook_.probes.end() ? nullptr : find_probe(use->second.probe);
  if (type == nullptr || type->why_unknown == nullptr) return "";
  return type->why_unknown(expectation.measure, windows(expectation.probe, stretch));
}

Holds Evidence::judge_bound(Comparison comparison, const Limit& limit, const Measured& measured, bool strict) {
  if (sampled(measured) && measured.samples < kFewestSamples) return Holds::unknown;
  if (!strict) return satisfied(comparison, measured.value, limit.value) ? Holds::yes : Holds::no;
  Measured ends = measured;
  // Two intervals are compared: each is made wider, so that both hold the truth at the same time 95 times in 100.
  if (limit.measured && measured.interval) {
    const Interval wider = measured.interval(kEachSide / 2);
    ends.low = wider.low;
    ends.high = wider.high;
  }
  const bool much = wants_much(comparison);
  // The largest of few is not sampled, yet says as little. What is looked at (a queue) is there at each look.
  const bool thin = (sampled(measured) || measured.kind != MeasureKind::number) && measured.samples < kFewestToClaim;
  if (satisfied(comparison, worst_end(comparison, ends), much ? limit.interval.high : limit.interval.low)) return thin ? Holds::unknown : Holds::yes;
  if (!satisfied(comparison, best_end(comparison, ends), much ? limit.interval.low : limit.interval.high)) return Holds::no;
  return Holds::unknown;
}

std::optional<Evidence::Limit> Evidence::limit(const Bound& bound, const Expectation& expectation) const {
  if (!bound.relative_to_baseline) return Limit{bound.value, {bound.value, bound.value}, false};
  const auto baseline = span(Span::baseline);
  if (!baseline) return std::nullopt;
  const auto measured = measure(expectation.probe, expectation.measure, *baseline);
  if (!measured) return std::nullopt;
  const Interval interval = measured->interval ? measured->interval(kEachSide / 2) : Interval{measured->low, measured->high};
  return Limit{measured->value * bound.value, {interval.low * bound.value, interval.high * bound.value}, true};
}

Finding Evidence::hold(const Expectation& expectation, Stretch stretch, bool strict) const {
  Finding finding;
  finding.expectation = describe(expectation);
  finding.evidence = {{"measure", expectation.name()}, {"during", expectation.over()}, {"from", stretch.from}, {"to", stretch.to}};
  const auto measured = measure(expectation.probe, expectation.measure, stretch);
  if (!measured) {
    const std::string why = why_unknown(expectation, stretch);
    finding.because = why.empty() ? fmt::format("{} has no samples in this span", expectation.name()) : fmt::format("{} is not known: {}", expectation.name(), why);
    return finding;
  }
  finding.evidence.update(to_json(*measured));
  finding.holds = Holds::yes;
  std::string wanted;
  for (const Bound& bound : expectation.bounds) {
    const auto bound_limit = limit(bound, expectation);
    const Holds holds = bound_limit ? judge_bound(bound.comparison, *bound_limit, *measured, strict) : Holds::unknown;
    finding.holds = worse(finding.holds, holds);
    const std::string shown = !bound_limit ? "unknown: the baseline has no such measure" : show_value(measured->kind, bound_limit->value);
    wanted += fmt::format("{}{} {}", wanted.empty() ? "" : " and ", words_of(bound.comparison), bound.relative_to_baseline ? fmt::format("{} ({})", bound.written, shown) : shown);
    if (bound_limit) finding.evidence["limit"] = bound_limit->value;
    if (bound_limit && bound_limit->measured) {
      finding.evidence["limit_low"] = bound_limit->interval.low;
      finding.evidence["limit_high"] = std::isfinite(bound_limit->interval.high) ? Json(bound_limit->interval.high) : Json(nullptr);
    }
    if (strict && holds == Holds::unknown && bound_limit) finding.because = resolution_text(bound.comparison, bound_limit->value, *measured);
    finding.evidence["comparison"] = words_of(bound.comparison);
  }
  const char* verdict = finding.holds == Holds::yes ? "as expected" : finding.holds == Holds::no ? "not as expected" : "too few samples to tell";
  finding.because = fmt::format("{} was {}{}; expected {}: {}{}", expectation.name(), show_value(measured->kind, measured->value), interval_text(*measured), wanted, verdict, finding.holds == Holds::unknown ? finding.because : "");
  return finding;
}

bool Evidence::clearly_missed(const Expectation& expectation, Stretch stretch) const {
  const auto measured = measure(expectation.probe, expectation.measure, stretch);
  if (!measured) return false;
  for (const Bound& bound : expectation.bounds) {
    const auto bound_limit = limit(bound, expectation);
    if (bound_limit && !satisfied(bound.comparison, best_end(bound.comparison, *measured), bound_limit->value)) return true;
  }
  return false;
}

}  // namespace capsize
