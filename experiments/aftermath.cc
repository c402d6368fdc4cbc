#include "experiments/aftermath.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <map>
#include <numeric>

#include "experiments/recovery.h"

namespace capsize {
namespace {

constexpr double kSlice = 1.0;           // seconds
constexpr std::size_t kFewestSlices = 8; // fewer show no trend
static_assert(kWatchedForKind == std::chrono::seconds(2 * kFewestSlices));
constexpr double kTail = 3.0;            // seconds: what is well over the last of them is on its way
constexpr double kSameLoad = 0.1;        // of the baseline's
constexpr double kShareSlice = 2.0;      // seconds: the shortest that may have enough sessions to speak of shares
constexpr double kMovedShares = 0.1;     // a distance that counts
constexpr double kShareChance = 0.01;    // how often chance is taken for a distance, at most

std::vector<double> values_of(const Evidence& evidence, const std::string& probe, std::string_view measure, Stretch stretch) {
  std::vector<double> out;
  for (double at = stretch.from; at + kSlice <= stretch.to + 1e-9; at += kSlice) {
    if (const auto measured = evidence.measure(probe, measure, {at, at + kSlice})) out.push_back(measured->value);
  }
  return out;
}

bool rises_to_good(const Expectation& expectation) {
  const Comparison comparison = expectation.bounds.front().comparison;
  return comparison == Comparison::at_least || comparison == Comparison::above;
}

bool well_at_the_end(const Evidence& evidence, double until) {
  for (const Expectation& expectation : evidence.playbook().steady_state) {
    if (evidence.hold(expectation, {until - kTail, until}, false).holds != Holds::yes) return false;
  }
  return true;
}

std::optional<std::string> other_load(const Evidence& evidence, Stretch baseline, Stretch half) {
  for (const auto& [name, use] : evidence.playbook().probes) {
    const double before = scheduled_per_second(evidence, name, baseline);
    if (before <= 0) continue;
    const double after = scheduled_per_second(evidence, name, half);
    // Whole logins are counted: at either end of a stretch one may be on this side or on that.
    const double grain = 1 / (baseline.to - baseline.from) + 1 / (half.to - half.from);
    // Of Poisson arrivals as many come as chance has it: by four standard deviations of the difference.
    const bool by_chance = use.params.value("arrivals", "") == "poisson";
    const double chance = by_chance ? 4 * std::sqrt(before * grain) : 0;
    if (std::abs(after - before) > kSameLoad * before + grain + chance) return fmt::format("the load of {} was {:.1f}/s, and {:.1f}/s in the baseline", name, after, before);
  }
  return std::nullopt;
}

struct Shares {
  std::map<std::string, double> of;  // of all, by server
  double sessions = 0;
};

Shares shares_in(const Evidence& evidence, const std::string& probe, Stretch stretch) {
  Shares out;
  for (const Window* window : evidence.windows(probe, stretch)) {
    const auto servers = window->find("servers");
    if (servers == window->end()) continue;
    for (const auto& [name, server] : servers->items()) {
      out.of[name] += server.value("sessions", 0.0);
      out.sessions += server.value("sessions", 0.0);
    }
  }
  for (auto& [name, count] : out.of) count = out.sessions > 0 ? count / out.sessions : 0;
  return out;
}

double distance(const Shares& a, const Shares& b) {
  double sum = 0;
  for (const auto& [name, share] : a.of) sum += std::abs(share - (b.of.contains(name) ? b.of.at(name) : 0));
  for (const auto& [name, share] : b.of) sum += a.of.contains(name) ? 0 : share;
  return sum / 2;
}

// How far apart the shares of two stretches are by chance, where a balancer gives each session to any server: at most so far but for
// kShareChance. The mean is at most the first term (by Cauchy and Schwarz); beyond it, McDiarmid's inequality.
double chance_distance(const Shares& a, const Shares& b) {
  if (a.sessions <= 0 || b.sessions <= 0) return 1;
  const double servers = static_cast<double>(std::max(a.of.size(), b.of.size()));
  return std::sqrt(1 / a.sessions + 1 / b.sessions) * (std::sqrt(servers - 1) / 2 + std::sqrt(std::log(1 / kShareChance) / 2));
}

// How long a slice has to be so that half of the skew is more than chance; nothing where none that is short enough to date anything is.
std::optional<double> share_slice(const Evidence& evidence, const std::string& probe, const Shares& before, double skewed, Stretch recovery) {
  for (double slice = kShareSlice; slice <= (recovery.to - recovery.from) / 2; slice *= 2) {
    const Shares any = shares_in(evidence, probe, {recovery.to - slice, recovery.to});
    if (chance_distance(before, any) <= skewed / 2) return slice;
  }
  return std::nullopt;
}

void date_half_life(const Evidence& evidence, const Shares& before, Stretch recovery, Rebalance& out) {
  const auto slice = share_slice(evidence, out.probe, before, out.skewed, recovery);
  if (!slice) {
    out.because = fmt::format("the fault moved the shares of {}; too few sessions came after it to tell when they were right again", out.probe);
    return;
  }
  double last_bad = recovery.from;
  for (double at = recovery.from; at + *slice <= recovery.to + 1e-9; at += kSlice / 2) {
    const Shares now = shares_in(evidence, out.probe, {at, at + *slice});
    if (now.sessions <= 0) continue;
    out.at_end = distance(before, now);
    if (out.at_end > std::max(out.skewed / 2, chance_distance(before, now))) last_bad = at + kSlice / 2;
  }
  const bool came_back = out.at_end <= out.skewed / 2;
  if (came_back) out.half_life = last_bad - recovery.from;
  out.because = came_back ? fmt::format("{} s after the undo the shares of {} were at most half as far from the baseline's as in the fault", *out.half_life, out.probe)
                          : fmt::format("at the end the shares of {} were still {:.0f} % of the way from the baseline's to the fault's", out.probe, 100 * out.at_end / out.skewed);
}

// Empty where clients do not try again, or not much more than before.
std::string storm_words(const Evidence& evidence) {
  constexpr double kStorm = 1.2;  // times the attempts of the baseline
  const auto storm = retry_amplification(evidence);
  if (!storm || storm->after <= kStorm * storm->baseline) return {};
  return fmt::format("; clients of {} make {:.1f} attempts a login, {:.1f} in the baseline", storm->probe, storm->after, storm->baseline);
}

}  // namespace

// And by enough to get there one day.
std::string improving(const Evidence& evidence, Stretch half) {
  const auto better = [&](const std::string& probe, std::string_view measure, bool rising, double good) {
    const auto values = values_of(evidence, probe, measure, half);
    if (values.size() < kFewestSlices) return false;
    const Trend trend = mann_kendall(values);
    if ((rising ? trend.p_rising : trend.p_falling) > kTrendLevel) return false;
    const auto third = static_cast<std::ptrdiff_t>(values.size() / 3);
    const double first = std::accumulate(values.begin(), values.begin() + third, 0.0) / static_cast<double>(third);
    const double last = std::accumulate(values.end() - third, values.end(), 0.0) / static_cast<double>(third);
    return std::abs(last - first) >= kImproved * std::abs(good - first);
  };
  for (const Expectation& expectation : evidence.playbook().steady_state) {
    if (evidence.hold(expectation, half, false).holds == Holds::yes || expectation.bounds.empty()) continue;
    if (better(expectation.probe, expectation.measure, rises_to_good(expectation), expectation.bounds.front().value)) return expectation.name();
  }
  const auto baseline = evidence.span(Span::baseline);
  for (const auto& [name, use] : evidence.playbook().probes) {
    const ProbeType* type = find_probe(use.probe);
    if (type == nullptr || find_measure(*type, kBacklogMeasure) == nullptr) continue;
    const auto before = baseline ? evidence.measure(name, kBacklogMeasure, *baseline) : std::nullopt;
    if (better(name, kBacklogMeasure, false, before ? before->value : 0)) return fmt::format("{}.{}", name, kBacklogMeasure);
  }
  return {};
}

double scheduled_per_second(const Evidence& evidence, const std::string& probe, Stretch stretch) {
  double logins = 0;
  double span = 0;
  for (const Window* window : evidence.windows(probe, stretch)) {
    logins += window->value("scheduled", 0.0);
    span += window->value("to", 0.0) - window->value("from", 0.0);
  }
  return span > 0 ? logins / span : 0;
}

Trend mann_kendall(const std::vector<double>& values) {
  const std::size_t n = values.size();
  Trend out;
  if (n < 3) return out;
  double score = 0;
  std::map<double, double> ties;
  for (std::size_t i = 0; i < n; ++i) {
    ++ties[values[i]];
    for (std::size_t j = i + 1; j < n; ++j) score += values[j] > values[i] ? 1 : values[j] < values[i] ? -1 : 0;
  }
  const auto term = [](double t) { return t * (t - 1) * (2 * t + 5); };
  double variance = term(static_cast<double>(n));
  for (const auto& [value, count] : ties) variance -= term(count);
  variance /= 18;
  if (variance <= 0) return out;  // all the same
  const boost::math::normal_distribution<> normal(0, std::sqrt(variance));
  out.p_rising = boost::math::cdf(boost::math::complement(normal, score - 1));  // 1: for continuity
  out.p_falling = boost::math::cdf(normal, score + 1);
  return out;
}

Unrecovered why_unrecovered(const Evidence& evidence) {
  Unrecovered out;
  const auto baseline = evidence.span(Span::baseline);
  const auto recovery = evidence.span(Span::recovery);
  if (!baseline || !recovery) return out;
  const double until = std::min(recovery->to, evidence.complete_until());
  const Stretch half{(recovery->from + until) / 2, until};
  if (half.to - half.from < static_cast<double>(kFewestSlices) * kSlice) {
    out.because = "the recovery was watched too briefly to see a trend";
    return out;
  }
  if (const auto changed = other_load(evidence, *baseline, half)) {
    out.because = *changed + ": that it stays bad may be the load's doing";
    return out;
  }
  if (well_at_the_end(evidence, until)) {
    out.kind = "late";
    out.because = fmt::format("over the last {} the steady state was met, but not for long enough", show_value(MeasureKind::duration, kTail));
    return out;
  }
  const std::string better = improving(evidence, half);
  if (!better.empty()) {
    out.kind = "late";
    out.because = fmt::format("{} was getting better when the recovery ended", better);
    return out;
  }
  std::string unknown;
  for (const Expectation& expectation : evidence.playbook().steady_state) {
    const Finding finding = evidence.hold(expectation, half, false);
    if (finding.holds == Holds::unknown) unknown = finding.because;
    if (finding.holds != Holds::no) continue;
    out.kind = "metastable";
    out.because = fmt::format("the fault is gone and the load is what it was, yet over the last {} {} and nothing gets better{}", show_value(MeasureKind::duration, half.to - half.from), finding.because,
                              storm_words(evidence));
    return out;
  }
  if (!unknown.empty()) {
    out.because = unknown;
    return out;
  }
  out.kind = "late";
  out.because = fmt::format("over the last {} the steady state was met on the whole, but never for long enough", show_value(MeasureKind::duration, half.to - half.from));
  return out;
}

std::optional<RetryAmplification> retry_amplification(const Evidence& evidence) {
  std::optional<RetryAmplification> out;
  // Of several the one that goes on after the fault: that it was worse in the fault tells less.
  const auto most = [](const RetryAmplification& one) { return std::pair(one.after, one.fault); };
  for (const auto& [name, use] : evidence.playbook().probes) {
    const auto& windows = evidence.windows(name);
    if (std::none_of(windows.begin(), windows.end(), [](const Window* window) { return window->contains("attempts"); })) continue;
    RetryAmplification seen;
    seen.probe = name;
    const auto over = [&](Stretch stretch) {
      const auto measured = evidence.measure(name, "retry_amplification", stretch);
      return measured ? measured->value : 0;
    };
    if (const auto baseline = evidence.span(Span::baseline)) seen.baseline = over(*baseline);
    if (const auto fault = evidence.span(Span::fault)) seen.fault = over(*fault);
    if (const auto recovery = evidence.span(Span::recovery)) {
      const double until = std::min(recovery->to, evidence.complete_until());
      seen.after = over({(recovery->from + until) / 2, until});
    }
    if (!out || most(seen) > most(*out)) out = seen;
  }
  return out;
}

std::optional<Rebalance> rebalance(const Evidence& evidence) {
  const auto baseline = evidence.span(Span::baseline);
  const auto fault = evidence.span(Span::fault);
  const auto recovery = evidence.span(Span::recovery);
  if (!baseline || !fault || !recovery) return std::nullopt;
  for (const auto& [name, use] : evidence.playbook().probes) {
    const ProbeType* type = find_probe(use.probe);
    if (type == nullptr || find_measure(*type, "max_share") == nullptr) continue;
    const Shares before = shares_in(evidence, name, *baseline);
    const Shares skewed = shares_in(evidence, name, {std::max(fault->from, fault->to - 2 * kShareSlice), fault->to});
    Rebalance out;
    out.probe = name;
    out.skewed = distance(before, skewed);
    if (out.skewed < std::max(kMovedShares, chance_distance(before, skewed))) continue;
    if (shares_in(evidence, name, *recovery).sessions <= 0) continue;
    date_half_life(evidence, before, *recovery, out);
    return out;
  }
  return std::nullopt;
}

}  // namespace capsize
