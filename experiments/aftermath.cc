#include "experiments/aftermath.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <map>

#include "experiments/recovery.h"

namespace capsize {
namespace {

constexpr double kSlice = 1.0;           // seconds
constexpr std::size_t kFewestSlices = 8; // fewer show no trend
constexpr double kTail = 3.0;            // seconds: what is well over the last of them is on its way
constexpr double kSameLoad = 0.1;        // of the baseline's
constexpr double kShareSlice = 2.0;      // seconds: enough sessions to speak of shares
constexpr double kMovedShares = 0.1;     // a distance that is more than chance

double scheduled_per_second(const Evidence& evidence, const std::string& probe, Stretch stretch) {
  double logins = 0;
  double span = 0;
  for (const Window* window : evidence.windows(probe)) {
    const double from = window->value("from", 0.0);
    const double to = window->value("to", 0.0);
    if ((from + to) / 2 < stretch.from || (from + to) / 2 >= stretch.to) continue;
    logins += window->value("scheduled", 0.0);
    span += to - from;
  }
  return span > 0 ? logins / span : 0;
}

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

// What gets better, in words; empty: nothing.
std::string improving(const Evidence& evidence, Stretch half) {
  const auto better = [&](const std::string& probe, std::string_view measure, bool rising) {
    const auto values = values_of(evidence, probe, measure, half);
    if (values.size() < kFewestSlices) return false;
    const Trend trend = mann_kendall(values);
    return (rising ? trend.p_rising : trend.p_falling) <= kTrendLevel;
  };
  for (const Expectation& expectation : evidence.playbook().steady_state) {
    if (evidence.hold(expectation, half, false).holds == Holds::yes || expectation.bounds.empty()) continue;
    if (better(expectation.probe, expectation.measure, rises_to_good(expectation))) return expectation.name();
  }
  for (const auto& [name, use] : evidence.playbook().probes) {
    const ProbeType* type = find_probe(use.probe);
    if (type == nullptr || find_measure(*type, kBacklogMeasure) == nullptr) continue;
    if (better(name, kBacklogMeasure, false)) return fmt::format("{}.{}", name, kBacklogMeasure);
  }
  return {};
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
    if (std::abs(after - before) > kSameLoad * before) return fmt::format("the load of {} was {:.1f}/s, and {:.1f}/s in the baseline", name, after, before);
  }
  return std::nullopt;
}

using Shares = std::map<std::string, double>;

Shares shares_in(const Evidence& evidence, const std::string& probe, Stretch stretch) {
  std::map<std::string, double> sessions;
  double all = 0;
  for (const Window* window : evidence.windows(probe)) {
    const double middle = (window->value("from", 0.0) + window->value("to", 0.0)) / 2;
    const auto servers = window->find("servers");
    if (middle < stretch.from || middle >= stretch.to || servers == window->end()) continue;
    for (const auto& [name, server] : servers->items()) {
      sessions[name] += server.value("sessions", 0.0);
      all += server.value("sessions", 0.0);
    }
  }
  if (all <= 0) return {};
  for (auto& [name, count] : sessions) count /= all;
  return sessions;
}

double distance(const Shares& a, const Shares& b) {
  double sum = 0;
  for (const auto& [name, share] : a) sum += std::abs(share - (b.contains(name) ? b.at(name) : 0));
  for (const auto& [name, share] : b) sum += a.contains(name) ? 0 : share;
  return sum / 2;
}

}  // namespace

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
  for (const Expectation& expectation : evidence.playbook().steady_state) {
    const Finding finding = evidence.hold(expectation, half, false);
    if (finding.holds != Holds::no) continue;
    out.kind = "metastable";
    out.because = fmt::format("the fault is gone and the load is what it was, yet over the last {} {} and nothing gets better", show_value(MeasureKind::duration, half.to - half.from), finding.because);
    return out;
  }
  out.kind = "late";
  out.because = fmt::format("over the last {} the steady state was met on the whole, but never for long enough", show_value(MeasureKind::duration, half.to - half.from));
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
    if (before.empty() || skewed.empty() || distance(before, skewed) < kMovedShares) continue;
    Rebalance out;
    out.probe = name;
    out.skewed = distance(before, skewed);
    double last_bad = recovery->from;
    bool seen = false;
    for (double at = recovery->from; at + kShareSlice <= recovery->to + 1e-9; at += kSlice / 2) {
      const Shares now = shares_in(evidence, name, {at, at + kShareSlice});
      if (now.empty()) continue;
      seen = true;
      out.at_end = distance(before, now);
      if (out.at_end > out.skewed / 2) last_bad = at + kSlice / 2;
    }
    if (!seen) continue;
    const bool came_back = out.at_end <= out.skewed / 2;
    if (came_back) out.half_life = last_bad - recovery->from;
    out.because = came_back ? fmt::format("{} s after the undo the shares of {} were at most half as far from the baseline's as in the fault", *out.half_life, name)
                            : fmt::format("at the end the shares of {} were still {:.0f} % of the way from the baseline's to the fault's", name, 100 * out.at_end / out.skewed);
    return out;
  }
  return std::nullopt;
}

}  // namespace capsize
