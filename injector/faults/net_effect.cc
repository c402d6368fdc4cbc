// The proof that a fault of the network bites: what the back end counted, and what an echo of our own saw before and during it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "injector/faults/net.h"

namespace capsize {
namespace {

constexpr double kEnoughToJudge = 5;        // expected packets of the rarer kind
constexpr double kSigmas = 4;               // of the binomial interval: one in 16,000 is wrongly outside
constexpr double kBurstFactor = 3;          // bursts come in few runs: their share may be off by this factor
constexpr double kGrossly = 3;              // an echo more than this many times the intended delay ...
constexpr double kGrosslyMs = 250;          // ... and this, has another cause
constexpr double kRateTolerance = 1.25;     // a rate may seem higher by this: what passed last is counted, but not the time it took
constexpr double kLargestPacket = 65554;    // bytes: a token bucket that could not let this through at once would drop such packets always
constexpr double kOverflowAllowed = 0.05;   // share of packets that passed untouched because a queue of ours was full

struct Counted {
  double matched = 0, bytes = 0, dropped = 0, delayed = 0, duplicated = 0, corrupted = 0, reordered = 0, answered = 0, overflowed = 0, lost = 0;
  double timed = 0;       // of `delayed`, those whose delay was measured: a device holds packets and does not say for how long
  double delay_sum = 0;   // of these, their mean times their number
  double others = 0;      // of `matched`, those that were not our own echo's
  double passed_bytes = 0, held_back = 0;  // of a rate
  double held_seconds = 0;
  std::string problem;    // why nothing is known; empty: it is
};

double number(const Json& json, const char* key) { return json.is_object() && json.contains(key) && json[key].is_number() ? json[key].get<double>() : 0; }

Counted count(const Json& after) {
  Counted out;
  const Json list = after.value("impairments", Json::array());
  if (list.empty()) out.problem = "nothing was counted";
  for (const Json& one : list) {
    const Json counts = one.value("counts", Json());
    if (!counts.is_object()) {
      out.problem = one.value("problem", "it is not in force");
      return out;
    }
    out.matched += number(counts, "matched");
    out.bytes += number(counts, "matched_bytes");
    out.dropped += number(counts, "dropped");
    out.delayed += number(counts, "delayed");
    out.duplicated += number(counts, "duplicated");
    out.corrupted += number(counts, "corrupted");
    out.reordered += number(counts, "reordered");
    out.answered += number(counts, "answered");
    out.overflowed += number(counts, "overflowed");
    out.lost += number(counts, "lost_by_us");
    out.passed_bytes += number(counts, "passed_bytes");
    out.held_back += number(counts, "held_back");
    if (const double mean = number(counts, "mean_delay_ms"); mean > 0) {
      out.timed += number(counts, "delayed");
      out.delay_sum += mean * number(counts, "delayed");
    }
    out.others += number(one, "others");
    out.held_seconds = std::max(out.held_seconds, number(one, "held_ms") / 1000);
  }
  return out;
}

struct Echo {
  bool there = false;
  std::string where;
  double attempts = 0, connected = 0, refused = 0, timed_out = 0, p50_ms = 0, min_ms = 0, limit_ms = 0;
};

Echo echo_of(const Json& look) {
  Echo out;
  const Json list = look.value("echo", Json::array());
  if (list.empty()) return out;
  const Json& one = list[0];
  out.there = number(one, "attempts") > 0;
  out.where = one.value("connect", "");
  out.attempts = number(one, "attempts");
  out.connected = number(one, "connected");
  out.refused = number(one, "refused");
  out.timed_out = number(one, "timed_out");
  out.p50_ms = number(one, "p50_ms");
  out.min_ms = number(one, "min_ms");
  out.limit_ms = number(one, "limit_ms");
  return out;
}

struct Verdict {
  bool bites = false;
  std::string because;
};

// Of an echo that connected before. Nothing where it says nothing.
std::optional<Verdict> echo_of_delay(const Echo& before, const Echo& after, double intended) {
  if (!before.there || !after.there || before.connected == 0) return std::nullopt;
  if (after.connected == 0) {
    if (after.timed_out == 0) return std::nullopt;
    const bool long_enough = after.limit_ms - before.p50_ms >= intended / 2;
    return Verdict{long_enough, fmt::format("our own connections to {} took {:.1f} ms before and do not come about within {:.0f} ms now", after.where, before.p50_ms, after.limit_ms)};
  }
  const double more = after.p50_ms - before.p50_ms;
  std::string words = fmt::format("our own connections to {} take {:.1f} ms instead of {:.1f} ms ({:.0f} ms more intended)", after.where, after.p50_ms, before.p50_ms, intended);
  if (more < intended / 2) return Verdict{false, words + ": less than half of it"};
  if (after.min_ms - before.min_ms > kGrossly * intended + kGrosslyMs) return Verdict{false, words + ": far more than it, so something else is slow"};
  return Verdict{true, std::move(words)};
}

Verdict judge_delay(const Json& intended, const Counted& counted, const Echo& before, const Echo& after) {
  const double one_way = number(intended, "delay_ms");
  std::string held;
  bool enough = counted.timed > 0;
  if (enough) {
    const double mean = counted.delay_sum / counted.timed;
    enough = mean >= one_way / 2;
    held = fmt::format("held {:.1f} ms in the mean ({:.0f} ms intended)", mean, one_way);
  }
  const auto echo = echo_of_delay(before, after, number(intended, "round_trip_ms"));
  if (echo) return {echo->bites && (held.empty() || enough), held.empty() ? echo->because : held + "; " + echo->because};
  if (!held.empty()) return {enough, held};
  const bool counts = intended.value("counted", true);
  return {!counts, counts ? "none was held yet" : "how late they are is not counted here, and there is nowhere for an echo of our own"};
}

// Wilson's interval of the share, at kSigmas.
std::pair<double, double> interval(double hits, double all) {
  const double share = hits / all;
  const double z = kSigmas * kSigmas;
  const double middle = (share + z / (2 * all)) / (1 + z / all);
  const double half = kSigmas / (1 + z / all) * std::sqrt(share * (1 - share) / all + z / (4 * all * all));
  return {middle - half, middle + half};
}

std::string percent(double share) { return fmt::format("{:.2f} %", 100 * share); }

Verdict judge_share(const Json& intended, double hits, double all, const char* done) {
  const double share = number(intended, "share");
  const bool counts = intended.value("counted", true);
  std::string words = counts ? fmt::format("{:.0f} {}, {} ({} intended)", hits, done, percent(hits / all), percent(share))
                             : fmt::format("{} of them intended to be {}; this back end does not count them", percent(share), done);
  if (counts && hits == 0) return {false, words + ": none yet"};
  if (all * share < kEnoughToJudge) return {false, words + ": too few to tell"};
  if (!counts) return {true, std::move(words)};
  if (intended.value("bursts", false)) {
    const bool near = hits / all >= share / kBurstFactor && hits / all <= std::min(1.0, share * kBurstFactor);
    return {near, words + (near ? "" : ": not what was intended, even for bursts")};
  }
  const auto [least, most] = interval(hits, all);
  const bool within = share >= least - 1e-9 && share <= most + 1e-9;
  words += fmt::format(", interval {} to {}", percent(std::max(0.0, least)), percent(std::min(1.0, most)));
  return {within, words + (within ? "" : ": not what was intended")};
}

Verdict judge_rate(const Json& intended, const Counted& counted) {
  const double limit = number(intended, "bytes_per_second");
  if (counted.held_seconds <= 0) return {false, "it has just begun"};
  const double most = limit * counted.held_seconds + std::max(kLargestPacket, number(intended, "burst_bytes"));
  std::string words = fmt::format("in {:.1f} s {:.0f} kB came and {:.0f} kB passed (at most {:.0f} kB intended), {:.0f} packets dropped", counted.held_seconds, counted.bytes / 1000, counted.passed_bytes / 1000,
                                  most / 1000, counted.dropped);
  if (counted.passed_bytes > kRateTolerance * most) return {false, words + ": more than was intended"};
  const bool felt = counted.dropped > 0 || counted.held_back > 0;
  return {felt, words + (felt ? "" : ": so little traffic that the limit was not felt")};
}

Verdict judge_refusal(const Counted& counted, const Echo& before, const Echo& after) {
  std::string words = fmt::format("{:.0f} of them dropped", counted.dropped);
  if (before.there && after.there && before.connected > 0) {
    words += fmt::format("; of our own connections to {} {:.0f} of {:.0f} come about (before: {:.0f} of {:.0f})", after.where, after.connected, after.attempts, before.connected, before.attempts);
    if (after.connected > 0) return {false, std::move(words)};
  }
  return {counted.dropped > 0, std::move(words)};
}

Verdict judge_dns(const Counted& counted) {
  const double done = counted.answered + counted.dropped + counted.delayed;
  return {done > 0, fmt::format("{:.0f} answered by us, {:.0f} dropped, {:.0f} delayed", counted.answered, counted.dropped, counted.delayed) + (done > 0 ? "" : ": nobody asked for these names")};
}

Verdict judge_kind(const Json& intended, const Counted& counted, const Echo& before, const Echo& after) {
  const std::string kind = intended.value("kind", "");
  if (kind == "delay") return judge_delay(intended, counted, before, after);
  if (kind == "loss") return judge_share(intended, counted.dropped, counted.matched, "dropped");
  if (kind == "duplicate") return judge_share(intended, counted.duplicated, counted.matched, "doubled");
  if (kind == "corrupt") return judge_share(intended, counted.corrupted, counted.matched, "corrupted");
  if (kind == "rate") return judge_rate(intended, counted);
  if (kind == "refusal") return judge_refusal(counted, before, after);
  if (kind == "dns") return judge_dns(counted);
  if (kind != "reorder") return {false, "it is not known what was intended"};
  const bool counts = intended.value("counted", true);
  return {!counts || counted.reordered > 0, counts ? fmt::format("{:.0f} overtook others", counted.reordered) : "how many overtook others is not counted here"};
}

Json shown_echo(const Json& look) { return look.value("echo", Json::array()); }

}  // namespace

Effect judge_net(const FaultPlan& plan, const Json& before, const Json& after) {
  Effect effect;
  effect.intended = plan.intended;
  const Counted counted = count(after);
  effect.measured = {{"impairments", after.value("impairments", Json::array())}, {"echo", {{"before", shown_echo(before)}, {"during", shown_echo(after)}}}};
  if (!counted.problem.empty()) {
    effect.because = "it cannot be told: " + counted.problem;
    return effect;
  }
  if (counted.matched == 0) {
    effect.because = "no packet has matched: nothing that it selects is sent";
    return effect;
  }
  const Verdict verdict = judge_kind(plan.intended, counted, echo_of(before), echo_of(after));
  effect.because = fmt::format("{:.0f} packets met: {}", counted.matched, verdict.because);
  effect.bites = verdict.bites;
  if (counted.others <= 0) {
    effect.bites = false;
    effect.because += "; but no traffic other than our own echo has met it";
  }
  if (const double spoilt = counted.overflowed + counted.lost; spoilt > 0) {
    effect.because += fmt::format("; {:.0f} packets passed or were lost because a queue of ours was full", spoilt);
    if (spoilt > kOverflowAllowed * counted.matched) effect.bites = false;
  }
  return effect;
}

}  // namespace capsize
