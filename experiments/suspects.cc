#include "experiments/suspects.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/hypergeometric.hpp>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <map>
#include <numeric>

#include "probes/load/histogram.h"

namespace capsize {
namespace {

constexpr std::uint64_t kFewest = 10;        // in either phase: fewer say nothing
constexpr double kHalfSide = kEachSide / 2;  // two intervals together

struct Phase {
  std::optional<Measured> success;
  std::optional<Measured> median;
  LatencyHistogram timed;
};

Phase phase_of(const Evidence& evidence, const std::string& probe, Stretch stretch) {
  Phase out;
  out.success = evidence.measure(probe, "success_ratio", stretch);
  out.median = evidence.measure(probe, "latency.p50", stretch);
  for (const Window* window : evidence.windows(probe, stretch)) {
    if (const auto latency = window->find("latency"); latency != window->end()) out.timed.merge(LatencyHistogram::from_json(*latency));
  }
  return out;
}

std::vector<Counted> counted(const LatencyHistogram& histogram) {
  std::vector<Counted> out;
  for (const Json& pair : histogram.to_json()) out.push_back({pair.at(0).get<double>(), pair.at(1).get<double>()});  // buckets rise with what is in them
  return out;
}

std::uint64_t failed(const Measured& success) { return success.samples - static_cast<std::uint64_t>(std::llround(success.value * static_cast<double>(success.samples))); }

bool enough(const Phase& phase) { return phase.success && phase.success->samples >= kFewest && phase.success->interval; }

double p_of_failures(const Phase& before, const Phase& after) {
  if (!enough(before) || !enough(after)) return 1;
  return fisher_more(failed(*before.success), before.success->samples, failed(*after.success), after.success->samples);
}

double p_of_latency(const Phase& before, const Phase& after) { return !enough(before) || !enough(after) ? 1 : rank_sum_larger(counted(before.timed), counted(after.timed)); }

// Answered well, and in time: the share of it, so that one answer in three that hangs is not hidden by a median that does not.
Measured in_time(const Phase& phase, Duration late_after) {
  const std::uint64_t good = phase.success->samples - failed(*phase.success);
  return ratio(std::min(good, phase.timed.count_at_most(late_after)), phase.success->samples);  // what timed out may have been timed, but is not good
}

struct Move {
  double failures = 0;       // more of all, 0 to 1
  double worse_most = 1;     // more of all failed or came late, at the far end
  double late_after = 0;     // seconds
  double longer = 0;         // seconds, of the median
  bool slower = false;       // by what counts as a move
  bool slower_ruled_out = false;
};

Move move_of(const Phase& before, const Phase& after) {
  Move out;
  out.failures = before.success->value - after.success->value;
  const Duration late_after = std::chrono::duration_cast<Duration>(before.timed.quantile(0.9) * kRuledOutFactor + std::chrono::duration<double>(kRuledOutSeconds));
  out.late_after = seconds(late_after);
  out.worse_most = in_time(before, late_after).interval(kHalfSide).high - in_time(after, late_after).interval(kHalfSide).low;
  if (!after.median) {  // nothing came back to be timed: the failures say it
    out.slower_ruled_out = false;
    return out;
  }
  if (!before.median || !before.median->interval || !after.median->interval) return out;
  out.longer = after.median->value - before.median->value;
  out.slower = after.median->value > kMovedFactor * before.median->value && out.longer > kMovedSeconds;
  out.slower_ruled_out = after.median->interval(kHalfSide).high <= kRuledOutFactor * before.median->interval(kHalfSide).low + kRuledOutSeconds;
  return out;
}

std::string words_of(const Move& move, const Phase& before, const Phase& after) {
  std::string out = fmt::format("{} failed of {}, and {} of {} in the baseline", failed(*after.success), after.success->samples, failed(*before.success), before.success->samples);
  if (before.median && after.median) {
    out += fmt::format("; the median answer took {}, and {} in the baseline", show_value(MeasureKind::duration, after.median->value), show_value(MeasureKind::duration, before.median->value));
  }
  return out + fmt::format(" (at most {:.0f} points more fail, or take over {})", std::max(0.0, 100 * move.worse_most), show_value(MeasureKind::duration, move.late_after));
}

void judge_line(SuspectLine& line, const Phase& before, const Phase& after) {
  if (!enough(before) || !enough(after)) {
    line.because = fmt::format("{} asked it fewer than {} times in the baseline or in the fault", line.probe, kFewest);
    return;
  }
  const Move move = move_of(before, after);
  line.because = words_of(move, before, after);
  // Each test speaks for its own size.
  const bool failed_more = line.p_failures <= kSuspectLevel && move.failures >= kMovedFailures;
  const bool took_longer = line.p_latency <= kSuspectLevel && move.slower;
  if (failed_more || took_longer) line.word = SuspectWord::moved;
  else if (move.worse_most <= kRuledOutFailures && move.slower_ruled_out) line.word = SuspectWord::ruled_out;
  line.evidence = {{"p", line.p}, {"p_failures", line.p_failures}, {"p_latency", line.p_latency}, {"more_failed", move.failures}};
  line.evidence["worse_at_most"] = move.worse_most;
  line.evidence["late_after"] = move.late_after;
  line.evidence["median_longer"] = move.longer;
  line.evidence["baseline"] = to_json(*before.success);
  line.evidence["fault"] = to_json(*after.success);
  if (before.median) line.evidence["baseline_median"] = to_json(*before.median);
  if (after.median) line.evidence["fault_median"] = to_json(*after.median);
}

}  // namespace

std::string_view to_string(SuspectWord word) {
  return word == SuspectWord::ruled_out ? "ruled out" : word == SuspectWord::moved ? "moved" : "cannot tell";
}

Json to_json(const SuspectLine& line) {
  return {{"suspect", line.suspect}, {"probe", line.probe}, {"word", to_string(line.word)}, {"because", line.because}, {"evidence", line.evidence}};
}

double fisher_more(std::uint64_t failed_before, std::uint64_t before, std::uint64_t failed_after, std::uint64_t after) {
  const std::uint64_t failed_in_all = failed_before + failed_after;
  if (failed_after == 0 || before == 0 || after == 0) return 1;
  const auto narrow = [](std::uint64_t count) { return static_cast<unsigned>(std::min<std::uint64_t>(count, 1u << 30)); };
  const boost::math::hypergeometric_distribution<> chance(narrow(failed_in_all), narrow(after), narrow(before + after));
  const std::uint64_t least = failed_in_all > before ? failed_in_all - before : 0;
  if (failed_after <= least) return 1;
  return boost::math::cdf(boost::math::complement(chance, narrow(failed_after - 1)));
}

double rank_sum_larger(const std::vector<Counted>& before, const std::vector<Counted>& after) {
  std::map<double, std::pair<double, double>> counts;
  for (const Counted& one : before) counts[one.value].first += one.count;
  for (const Counted& one : after) counts[one.value].second += one.count;
  double n = 0;
  double m = 0;
  double wins = 0;  // of `after` over `before`; a tie is half of one
  double ties = 0;
  for (const auto& [value, pair] : counts) {
    wins += pair.second * (n + pair.first / 2);
    n += pair.first;
    m += pair.second;
    const double t = pair.first + pair.second;
    ties += t * t * t - t;
  }
  const double all = n + m;
  if (n < 8 || m < 8) return 1;
  const double variance = n * m / 12 * ((all + 1) - ties / (all * (all - 1)));
  if (variance <= 0) return 1;
  const boost::math::normal_distribution<> normal;
  return boost::math::cdf(boost::math::complement(normal, (wins - n * m / 2 - 0.5) / std::sqrt(variance)));
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> out(p.size(), 1);
  double most = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    most = std::max(most, std::min(1.0, p[order[i]] * static_cast<double>(order.size() - i)));
    out[order[i]] = most;
  }
  return out;
}

std::vector<SuspectLine> suspects(const Evidence& evidence) {
  const auto baseline = evidence.span(Span::baseline);
  const auto fault = evidence.span(Span::fault);
  std::vector<SuspectLine> out;
  if (!baseline || !fault) return out;
  std::vector<std::pair<Phase, Phase>> phases;
  std::vector<double> p;
  for (const auto& [name, use] : evidence.playbook().probes) {
    if (use.suspect.empty()) continue;
    SuspectLine line;
    line.suspect = use.suspect;
    line.probe = name;
    out.push_back(std::move(line));
    phases.emplace_back(phase_of(evidence, name, *baseline), phase_of(evidence, name, *fault));
    p.push_back(p_of_failures(phases.back().first, phases.back().second));
    p.push_back(p_of_latency(phases.back().first, phases.back().second));
  }
  const auto corrected = holm(p);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].p_failures = corrected[2 * i];
    out[i].p_latency = corrected[2 * i + 1];
    out[i].p = std::min(out[i].p_failures, out[i].p_latency);
    judge_line(out[i], phases[i].first, phases[i].second);
  }
  return out;
}

}  // namespace capsize
