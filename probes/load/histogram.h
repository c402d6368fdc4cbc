// Latencies as counts in log-linear buckets: any quantile within 0.4 % of the recorded value, at a fixed size, mergeable without loss.
// Percentiles are taken from merged histograms, never averaged.
#pragma once
#include <bit>
#include <boost/histogram/histogram.hpp>
#include <boost/histogram/storage_adaptor.hpp>
#include <cstdint>
#include <tuple>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/json.h"
#include "probes/measure.h"

namespace capsize {

// Boost.Histogram's axis: 128 buckets to every doubling, so a bucket is at most 1/128 as wide as the values in it. Values in nanoseconds;
// the last bucket takes everything from 2^42 ns (73 minutes) up.
class LogLinearAxis {
 public:
  static constexpr int kSubBits = 7;
  static constexpr int kTopBit = 42;

  static constexpr int bucket_of(std::uint64_t value) {
    if (value < (1u << kSubBits)) return static_cast<int>(value);
    const int shift = static_cast<int>(std::bit_width(value)) - 1 - kSubBits;
    const int bucket = (shift << kSubBits) + static_cast<int>(value >> shift);
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
  // The smallest value of a bucket.
  static constexpr std::uint64_t floor_of(int bucket) {
    if (bucket < (1 << kSubBits)) return static_cast<std::uint64_t>(bucket);
    const int shift = (bucket >> kSubBits) - 1;
    return (static_cast<std::uint64_t>(bucket) - (static_cast<std::uint64_t>(shift) << kSubBits)) << shift;
  }

  int index(std::uint64_t value) const { return bucket_of(value); }
  std::uint64_t value(int bucket) const { return floor_of(bucket); }
  int size() const { return kBuckets; }
  bool operator==(const LogLinearAxis&) const { return true; }

 private:
  static constexpr int kBuckets = ((kTopBit - kSubBits + 1) << kSubBits) + 1;
};

class LatencyHistogram {
 public:
  LatencyHistogram();

  void record(Duration latency);  // below zero counts as zero
  void merge(const LatencyHistogram& other);

  std::uint64_t count() const { return count_; }
  // The value at rank ceil(q * count()), as the middle of its bucket; zero when empty. q in [0, 1].
  Duration quantile(double q) const;
  // The value at a rank from 1 to count().
  Duration at_rank(std::uint64_t rank) const;
  // How many values are at most `limit` (the bucket that holds `limit` counts as a whole).
  std::uint64_t count_at_most(Duration limit) const;
  Duration max() const { return quantile(1); }

  // Sparse: [[bucket, count], ...] in rising order, only buckets that count something. Exact both ways.
  Json to_json() const;
  static LatencyHistogram from_json(const Json& json);  // throws Error for what to_json did not write

  friend bool operator==(const LatencyHistogram& a, const LatencyHistogram& b) { return a.counts_ == b.counts_; }

 private:
  using Counts = boost::histogram::histogram<std::tuple<LogLinearAxis>, boost::histogram::dense_storage<std::uint64_t>>;
  Counts counts_;
  std::uint64_t count_ = 0;
};

// A quantile with its distribution-free 95 % confidence interval: the order statistics whose ranks are the exact binomial bounds. `high` is
// infinite where there are too few samples to bound it from above (p99 needs 368), `low` zero where too few to bound it from below.
Measured quantile(const LatencyHistogram& histogram, double q);
// The largest value seen: counted, not estimated, so without an interval.
Measured largest(const LatencyHistogram& histogram);

}  // namespace capsize
