// What a probe can say about a span of time, with how sure it is. Pure: computed from recorded windows only, never from a clock.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/json.h"

namespace capsize {

enum class MeasureKind { ratio, duration, rate, count, number };
std::string_view to_string(MeasureKind kind);

// What a measure is about: a span of time, or how long something took since the fault, or since its end. The latter are no business of a
// probe, which knows nothing of faults: who judges them (experiments/detection.h) reads the probe's windows.
enum class MeasureOf { span, since_fault, since_undo };

struct MeasureInfo {
  std::string name;   // "success_ratio", "latency.p99", "share.auth1"
  MeasureKind kind;
  std::string doc;    // one sentence, with the unit
  MeasureOf of = MeasureOf::span;
};

struct Interval {
  double low;
  double high;
};

inline constexpr double kEachSide = 0.025;  // of the 95 % interval: how likely the truth lies beyond each of its ends

struct Measured {
  MeasureKind kind = MeasureKind::number;
  double value = 0;         // ratio: 0 to 1; duration: seconds; rate: per second
  double low = 0;           // 95 % confidence interval (Clopper-Pearson for ratios, order statistics for quantiles);
  double high = 0;          //   equal to value where it was counted, not sampled; high is infinite where the samples cannot bound it
  std::uint64_t samples = 0;
  // The interval with this much of the truth's chances left beyond each end. Empty where it was counted.
  std::function<Interval(double each_side)> interval;
};
Json to_json(const Measured& measured);

// Clopper-Pearson interval of k of n, 95 % by default. n == 0 gives [0, 1].
Interval clopper_pearson(std::uint64_t k, std::uint64_t n, double each_side = kEachSide);
Measured ratio(std::uint64_t k, std::uint64_t n);

}  // namespace capsize
