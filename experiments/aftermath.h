// What a run shows about the time after its faults: whether a system that did not come back is on its way (late) or stuck in a state that
// keeps itself going (metastable), and how long the balancer's shares stayed skewed. Pure, from the evidence alone.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "experiments/evidence.h"

namespace capsize {

struct Unrecovered {
  std::string kind;  // "late", "metastable"; empty: the evidence does not say
  std::string because;
};

// Of a system whose steady state had not come back when the recovery ended. Metastable: the fault is verified gone, the load is what it
// was, and of what is still bad nothing gets better. Late: something does, or the last seconds were well. The trend is Mann-Kendall's test over slices of a second of the
// second half of the recovery, at kTrendLevel for each measure that is missed, and for the backlog where a probe sees it.
Unrecovered why_unrecovered(const Evidence& evidence);

inline constexpr Duration kWatchedForKind = std::chrono::seconds(16);  // of a recovery: in a shorter one no trend is seen
inline constexpr double kTrendLevel = 0.01;
inline constexpr double kImproved = 0.1;  // of what is missing: less than that, from the first to the last third, is no improvement

struct Trend {
  double p_rising = 1;   // how likely so much rise is by chance; exact enough from 8 values up
  double p_falling = 1;
};
Trend mann_kendall(const std::vector<double>& values);

// The shares that a balancer gave its servers after the weights were right again. Distance: half the sum of the differences to the
// baseline's shares (0: the same; 1: nothing in common).
struct Rebalance {
  std::string probe;
  double skewed = 0;               // distance over the last seconds of the fault
  double at_end = 0;               // over the last seconds of the recovery
  std::optional<double> half_life; // seconds after the verified undo from which on the distance was at most half of `skewed`; nothing: never,
                                   // or too few sessions to date it
  std::string because;
};
// Nothing without a probe that sees shares, or where the fault did not move them by more than chance does at so few sessions.
std::optional<Rebalance> rebalance(const Evidence& evidence);

// What of the steady state, or of a backlog, is amiss over the stretch and gets better in it by more than chance; empty: nothing.
std::string improving(const Evidence& evidence, Stretch stretch);

// Logins that were due, per second, over the complete windows of the stretch.
double scheduled_per_second(const Evidence& evidence, const std::string& probe, Stretch stretch);

// How many attempts clients made for each login, where they try again. A healthy system sees about 1; what keeps a retry storm going sees more.
struct RetryAmplification {
  std::string probe;
  double baseline = 0;
  double fault = 0;
  double after = 0;  // over the second half of the recovery
};
// Of the probe whose clients retried most; nothing where no probe's clients ever did.
std::optional<RetryAmplification> retry_amplification(const Evidence& evidence);

}  // namespace capsize
