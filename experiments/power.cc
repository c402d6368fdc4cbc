#include "experiments/power.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <charconv>
#include <cmath>

#include "experiments/evidence.h"
#include "experiments/guardrail.h"

namespace capsize {
namespace {

constexpr std::uint64_t kMostSamples = std::uint64_t{1} << 40;

// P(at most k of n).
double at_most(std::uint64_t k, std::uint64_t n, double p) {
  if (p <= 0 || k >= n) return 1;
  if (p >= 1) return 0;
  return boost::math::cdf(boost::math::binomial_distribution<>(static_cast<double>(n), p), static_cast<double>(k));
}

// An upper bound is the lower bound of what is left: 5 % failures at most are 95 % successes at least.
double as_lower(bool wants_much, double limit) { return wants_much ? limit : 1 - limit; }

// The most successes of n whose whole interval still lies below the limit; nothing where even none of them does.
std::optional<std::uint64_t> most_that_refute(double limit, std::uint64_t n) {
  // The interval of k ends below the limit where so few as k are less likely than kEachSide at the limit: no root to find.
  if (at_most(0, n, limit) >= kEachSide) return std::nullopt;
  std::uint64_t good = 0;
  std::uint64_t bad = n;  // all of n have the interval's end at 1, which is below no limit
  while (bad - good > 1) {
    const std::uint64_t middle = good + (bad - good) / 2;
    (at_most(middle, n, limit) < kEachSide ? good : bad) = middle;
  }
  return good;
}

std::optional<Json> parameter(const ProbeUse& use, const ProbeType& type, const char* name) {
  if (use.params.contains(name)) return use.params[name];
  for (const FieldInfo& field : type.spec().fields()) {
    if (field.name == name && !field.default_value.is_null()) return field.default_value;
  }
  return std::nullopt;
}

// Where in the load something is expected. Longer than `lasting`: somewhere in it.
struct PlannedSpan {
  Duration from{};
  Duration to{};
  Duration lasting{};
};

PlannedSpan span_of(const Playbook& playbook, const Expectation& expectation) {
  const Duration baseline = playbook.timing.baseline;
  const Duration faults_end = baseline + playbook.fault_phase();
  const auto all_of = [](Duration from, Duration to) { return PlannedSpan{from, to, to - from}; };
  if (expectation.during_fault) {
    const PlannedFault& fault = playbook.faults.at(*expectation.during_fault);
    return all_of(baseline + fault.at, baseline + fault.at + fault.lasting);
  }
  switch (expectation.during) {
    case Span::baseline: return all_of(Duration::zero(), baseline);
    case Span::fault: return all_of(baseline, faults_end);
    case Span::recovery: return {faults_end, faults_end + std::max(playbook.timing.recovery, playbook.timing.settle), playbook.timing.settle};  // the run may end as soon as it has settled
    case Span::run: break;
  }
  return all_of(Duration::zero(), faults_end);
}

bool wants_much(const Bound& bound) { return bound.comparison == Comparison::at_least || bound.comparison == Comparison::above; }

std::string in_words(const Planned& planned) { return fmt::format("at {}{:.4g}/s for {}", planned.rate.varies() ? "a mean " : "", planned.per_second, show(planned.lasting)); }

std::string more_samples(std::uint64_t wanted, const Planned& planned) {
  if (planned.most > 0 && planned.most < wanted) return fmt::format("it takes {} users", wanted);
  return fmt::format("it takes {}: raise the rate, or let it last {}", wanted, show(std::chrono::seconds(static_cast<std::int64_t>(std::ceil(static_cast<double>(wanted) / planned.counted_per_second)))));
}

}  // namespace

std::optional<double> quantile_of(std::string_view measure) {
  const std::size_t at = measure.rfind(".p");
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view digits = measure.substr(at + 2);
  int value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) return std::nullopt;
  return value / std::pow(10, static_cast<double>(digits.size()));
}

std::optional<double> ratio_resolution(bool wants_much, double limit, std::uint64_t samples) {
  const double lower = as_lower(wants_much, limit);
  if (samples == 0 || lower <= 0) return std::nullopt;
  const auto most = most_that_refute(lower, samples);
  if (!most) return std::nullopt;
  double small = 0;
  double large = lower;
  for (int i = 0; i < 50; ++i) {
    const double middle = (small + large) / 2;
    (at_most(*most, samples, lower - middle) >= kPower ? large : small) = middle;
  }
  return large;
}

bool tells(double limit, double move, std::uint64_t samples) {
  const auto most = samples == 0 || limit <= 0 ? std::nullopt : most_that_refute(limit, samples);
  return most && at_most(*most, samples, limit - move) >= kPower;
}

bool can_be_held(bool wants_much, double limit, std::uint64_t samples) { return clopper_pearson(samples, samples).low >= as_lower(wants_much, limit); }

std::uint64_t samples_to_hold(bool wants_much, double limit) {
  const double lower = as_lower(wants_much, limit);
  if (lower <= 0) return 1;
  if (lower >= 1) return kMostSamples;
  return static_cast<std::uint64_t>(std::ceil(std::log(kEachSide) / std::log(lower)));
}

std::uint64_t samples_to_bound(double quantile, double each_side) { return static_cast<std::uint64_t>(std::ceil(std::log(each_side) / std::log(quantile))); }

std::optional<Duration> looks_every(const ProbeUse& use, const ProbeType& probe) {
  const auto every = parameter(use, probe, "every");
  if (!every || !every->is_string()) return std::nullopt;
  const auto parsed = parse_duration(every->get<std::string>());
  return std::holds_alternative<Duration>(parsed) ? std::optional(std::get<Duration>(parsed)) : std::nullopt;
}

std::optional<Planned> planned_samples(const Playbook& playbook, const ProbeType& probe, const Expectation& expectation) {
  const auto use = playbook.probes.find(expectation.probe);
  if (use == playbook.probes.end()) return std::nullopt;
  const auto rate = parameter(use->second, probe, "rate");
  if (!rate) return std::nullopt;
  auto parsed = ParamTraits<LoadRate>::parse(*rate);
  if (!std::holds_alternative<LoadRate>(parsed)) return std::nullopt;
  Planned out;
  out.rate = std::get<LoadRate>(std::move(parsed));
  for (const char* control : {"wrong_password_share", "unknown_user_share", "expired_token_share"}) {
    const auto written = parameter(use->second, probe, control);
    if (!written || !written->is_string()) continue;
    const auto parsed_share = parse_share(written->get<std::string>());
    if (const Share* value = std::get_if<Share>(&parsed_share)) out.counted -= value->value;
  }
  out.counted = std::max(out.counted, 0.0);
  const PlannedSpan span = span_of(playbook, expectation);
  out.lasting = span.lasting;
  const double logins = out.rate.fewest(seconds(span.from), seconds(span.to), seconds(span.lasting));
  if (span.lasting > Duration::zero()) out.per_second = logins / seconds(span.lasting);
  out.counted_per_second = out.per_second * out.counted;
  out.samples = static_cast<std::uint64_t>(out.counted * logins);
  if (const auto users = parameter(use->second, probe, "users"); expectation.measure == "users_affected" && users && users->is_number_unsigned()) {
    out.most = users->get<std::uint64_t>();  // it counts people, not their logins
    out.samples = std::min(out.samples, out.most);
  }
  return out;
}

double fewest_planned(const Planned& planned, double from, double to, double length) { return planned.counted * planned.rate.fewest(from, to, length); }

double most_planned(const Planned& planned, double from, double to, double length) { return planned.counted * planned.rate.fullest(from, to, length); }

std::optional<Mistake> power_warning(const Playbook& playbook, const ProbeType& probe, const MeasureInfo& measure, const Expectation& expectation, const Bound& bound) {
  const auto planned = planned_samples(playbook, probe, expectation);
  if (!planned || planned->counted_per_second <= 0) return std::nullopt;
  const std::uint64_t samples = planned->samples;
  if (samples < kFewestToClaim && measure.kind != MeasureKind::number) {
    return Mistake{fmt::format("{} there are {} samples, and nothing is claimed from fewer than {}: it cannot be shown to hold", in_words(*planned), samples, kFewestToClaim), more_samples(kFewestToClaim, *planned)};
  }
  const double each_side = bound.relative_to_baseline ? kEachSide / 2 : kEachSide;
  if (const auto quantile = quantile_of(measure.name); quantile && !wants_much(bound) && samples < samples_to_bound(*quantile, each_side)) {
    return Mistake{fmt::format("{} there are {} samples, which cannot bound {} from above: it cannot be shown to hold", in_words(*planned), samples, printable(expectation.name(), 60)),
                   more_samples(samples_to_bound(*quantile, each_side), *planned)};
  }
  if (measure.kind != MeasureKind::ratio || bound.relative_to_baseline || bound.value <= 0 || bound.value >= 1) return std::nullopt;
  const bool much = wants_much(bound);
  if (!can_be_held(much, bound.value, samples)) {
    return Mistake{fmt::format("{} there are {} samples, which cannot show {} {}, even if none is amiss", in_words(*planned), samples, to_string(bound.comparison), printable(bound.written, 60)),
                   more_samples(samples_to_hold(much, bound.value), *planned)};
  }
  const auto size = ratio_resolution(much, bound.value, samples);
  if (!size) return Mistake{fmt::format("{} nothing can tell that it is missed", in_words(*planned)), "raise the rate, or let it last longer"};
  if (*size <= std::max(kCoarseResolution, (1 - as_lower(much, bound.value)) / 2)) return std::nullopt;
  return Mistake{fmt::format("{} a {} below {:.2g} % cannot be told from none", in_words(*planned), much ? "drop" : "rise", *size * 100), "raise the rate, or let it last longer; else it may end inconclusive"};
}

std::optional<Mistake> guardrail_warning(const Playbook& playbook, const ProbeType& probe, const MeasureInfo& measure, const Guardrail& guardrail) {
  const Duration phase = playbook.fault_phase();
  if (phase <= Duration::zero() || guardrail.breach.bounds.empty()) return std::nullopt;
  const Duration lasting = std::max<Duration>(guardrail.lasting, std::chrono::seconds(1));
  if (lasting > phase) return Mistake{fmt::format("it has to last for {}, and the faults are over after {}: it never stops the run", show(lasting), show(phase)), "make \"for\" shorter"};
  const auto use = playbook.probes.find(guardrail.breach.probe);
  const auto every = use == playbook.probes.end() ? std::nullopt : looks_every(use->second, probe);
  if (every && *every > lasting) return Mistake{fmt::format("its probe looks every {}: it stops the run when two looks agree, which takes longer than {}", show(*every), show(lasting)), "let the probe look oftener (\"every\"), or make \"for\" longer"};
  const Bound& bound = guardrail.breach.bounds.front();
  const auto planned = planned_samples(playbook, probe, guardrail.breach);
  if (measure.kind != MeasureKind::ratio || bound.relative_to_baseline || !planned) return std::nullopt;
  const GuardrailWatch watch(guardrail, phase);
  const double from = seconds(playbook.timing.baseline);
  double samples = std::floor(most_planned(*planned, from, from + seconds(phase), watch.longest(phase)));
  if (planned->most > 0) samples = std::min(samples, static_cast<double>(planned->most));
  // The end of the interval of none of so many, or of all of them: as far beyond the bound as can be.
  const double room = wants_much(bound) ? 1 - bound.value : bound.value;
  if (samples >= 1 && 1 - std::pow(watch.level(), 1 / samples) < room) return std::nullopt;
  return Mistake{fmt::format("at {:.4g}/s for {} even the worst there can be cannot be told from chance: it never stops the run", planned->per_second, show(phase)),
                 "raise the rate, or write a bound that is easier to be beyond"};
}

}  // namespace capsize
