#include "probes/load/histogram.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <cmath>
#include <limits>
#include <memory>

#include "injector/base/error.h"

namespace capsize {
namespace {

Duration middle_of(int bucket) {
  const std::uint64_t floor = LogLinearAxis::floor_of(bucket);
  const std::uint64_t next = LogLinearAxis::floor_of(bucket + 1);
  return Duration(static_cast<std::int64_t>(floor + (next - floor) / 2));
}

std::uint64_t nanoseconds(Duration duration) { return static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0)); }

struct Ranks {
  std::uint64_t low;   // 0: not bounded from below
  std::uint64_t high;  // above n: not bounded from above
};

// How many of n values lie below the q-quantile is binomial(n, q). `each_side` is left on each side.
Ranks quantile_ranks(std::uint64_t n, double q, double each_side) {
  const boost::math::binomial_distribution<> below(static_cast<double>(n), q);
  const auto cdf = [&](std::uint64_t k) { return boost::math::cdf(below, static_cast<double>(k)); };
  Ranks ranks{0, n + 1};
  std::uint64_t step = std::bit_floor(n);
  for (std::uint64_t s = step; s > 0; s /= 2) {  // the largest rank with P(fewer than rank below) <= each_side
    if (ranks.low + s <= n && cdf(ranks.low + s - 1) <= each_side) ranks.low += s;
  }
  for (std::uint64_t s = step; s > 0; s /= 2) {  // the smallest rank with P(fewer than rank below) >= 1 - each_side
    if (ranks.high > s && cdf(ranks.high - s - 1) >= 1 - each_side) ranks.high -= s;
  }
  return ranks;
}

Interval quantile_interval(const LatencyHistogram& histogram, double q, double each_side) {
  const Ranks ranks = quantile_ranks(histogram.count(), q, each_side);
  Interval out{0, std::numeric_limits<double>::infinity()};
  if (ranks.low >= 1) out.low = seconds(histogram.at_rank(ranks.low));
  if (ranks.high <= histogram.count()) out.high = seconds(histogram.at_rank(ranks.high));
  return out;
}

}  // namespace

LatencyHistogram::LatencyHistogram() : counts_(std::tuple<LogLinearAxis>()) {}

void LatencyHistogram::record(Duration latency) {
  counts_(nanoseconds(latency));
  ++count_;
}

void LatencyHistogram::merge(const LatencyHistogram& other) {
  counts_ += other.counts_;
  count_ += other.count_;
}

Duration LatencyHistogram::quantile(double q) const {
  if (count_ == 0) return Duration::zero();
  const auto rank = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(count_)));
  return at_rank(std::clamp<std::uint64_t>(rank, 1, count_));
}

Duration LatencyHistogram::at_rank(std::uint64_t rank) const {
  CAPSIZE_CHECK(rank >= 1 && rank <= count_);
  std::uint64_t seen = 0;
  int bucket = -1;
  while (seen < rank) seen += counts_.at(++bucket);
  return middle_of(bucket);
}

std::uint64_t LatencyHistogram::count_at_most(Duration limit) const {
  if (limit < Duration::zero()) return 0;
  const int last = LogLinearAxis::bucket_of(nanoseconds(limit));
  std::uint64_t seen = 0;
  for (int bucket = 0; bucket <= last; ++bucket) seen += counts_.at(bucket);
  return seen;
}

Json LatencyHistogram::to_json() const {
  Json out = Json::array();
  for (int bucket = 0; bucket < counts_.axis().size(); ++bucket) {
    const std::uint64_t count = counts_.at(bucket);
    if (count > 0) out.push_back(Json::array({static_cast<std::uint64_t>(bucket), count}));
  }
  return out;
}

LatencyHistogram LatencyHistogram::from_json(const Json& json) {
  LatencyHistogram out;
  const auto fail = [] { throw Error(ErrorKind::unavailable, "a recorded histogram is not a list of [bucket, count]", "the timeline is damaged: run again"); };
  if (!json.is_array()) fail();
  for (const Json& pair : json) {
    const bool good = pair.is_array() && pair.size() == 2 && pair[0].is_number_unsigned() && pair[1].is_number_unsigned();
    if (!good || pair[0].get<std::uint64_t>() >= static_cast<std::uint64_t>(out.counts_.axis().size())) fail();
    const auto count = pair[1].get<std::uint64_t>();
    out.counts_.at(pair[0].get<int>()) += count;
    out.count_ += count;
  }
  return out;
}

Measured quantile(const LatencyHistogram& histogram, double q) {
  Measured out;
  out.kind = MeasureKind::duration;
  out.samples = histogram.count();
  out.high = std::numeric_limits<double>::infinity();
  if (out.samples == 0) return out;
  out.value = seconds(histogram.quantile(q));
  const Interval interval = quantile_interval(histogram, q, kEachSide);
  out.low = interval.low;
  out.high = interval.high;
  out.interval = [shared = std::make_shared<const LatencyHistogram>(histogram), q](double each_side) { return quantile_interval(*shared, q, each_side); };
  return out;
}

Measured largest(const LatencyHistogram& histogram) {
  Measured out;
  out.kind = MeasureKind::duration;
  out.samples = histogram.count();
  out.value = out.low = out.high = seconds(histogram.max());
  return out;
}

}  // namespace capsize
