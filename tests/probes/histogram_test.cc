#include "probes/load/histogram.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "injector/base/error.h"
#include "injector/base/rng.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

std::vector<std::int64_t> some_latencies(std::uint64_t seed, std::size_t n) {
  Rng rng(seed);
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < n; ++i) out.push_back(static_cast<std::int64_t>(std::exp(std::log(1e3) + rng.uniform() * std::log(1e8))));
  return out;
}

LatencyHistogram of(const std::vector<std::int64_t>& values) {
  LatencyHistogram out;
  for (const std::int64_t value : values) out.record(Duration(value));
  return out;
}

}  // namespace

TEST_CASE("every value falls into a bucket that begins at most 1/128 below it", "[histogram]") {
  for (std::uint64_t base = 1; base < (1ull << 42); base *= 2) {
    for (const std::uint64_t value : {base - 1, base, base + 1, base + base / 3, base + base / 2}) {
      const int bucket = LogLinearAxis::bucket_of(value);
      const std::uint64_t floor = LogLinearAxis::floor_of(bucket);
      REQUIRE(floor <= value);
      REQUIRE(LogLinearAxis::floor_of(bucket + 1) > value);
      REQUIRE(static_cast<double>(value - floor) <= static_cast<double>(value) / 128);
    }
  }
  CHECK(LogLinearAxis::bucket_of(UINT64_MAX) == LogLinearAxis().size() - 1);
}

TEST_CASE("quantiles are within 1 % of the exact ones", "[histogram]") {
  auto values = some_latencies(3, 5000);
  const LatencyHistogram histogram = of(values);
  std::sort(values.begin(), values.end());
  for (const double q : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto exact = static_cast<double>(values[static_cast<std::size_t>(std::ceil(q * 5000)) - 1]);
    INFO("q " << q);
    CHECK(static_cast<double>(histogram.quantile(q).count()) == Approx(exact).epsilon(0.01));
  }
  CHECK(histogram.max() == histogram.quantile(1));
}

TEST_CASE("merging histograms equals recording everything in one", "[histogram]") {
  const auto values = some_latencies(4, 1000);
  const std::vector<std::int64_t> front(values.begin(), values.begin() + 300);
  const std::vector<std::int64_t> back(values.begin() + 300, values.end());
  LatencyHistogram merged = of(front);
  merged.merge(of(back));
  CHECK(merged == of(values));
  CHECK(merged.count() == 1000);
}

TEST_CASE("a histogram survives its JSON, which lists only what was counted", "[histogram]") {
  const LatencyHistogram histogram = of({5, 5, 1'000'000'000});
  CHECK(histogram.to_json().size() == 2);
  CHECK(histogram.to_json()[0] == Json::array({5, 2}));
  const LatencyHistogram back = LatencyHistogram::from_json(histogram.to_json());
  CHECK(back == histogram);
  CHECK(back.count() == 3);
  CHECK(LatencyHistogram().to_json() == Json::array());
}

TEST_CASE("what is not a histogram's JSON is an error, not a crash", "[histogram]") {
  for (const char* text : {"{}", "3", "[3]", "[[1]]", "[[1,-2]]", "[[99999,1]]", "[[-1,1]]", "[[1.5,1]]", "[[\"1\",1]]"}) {
    INFO(text);
    CHECK_THROWS_AS(LatencyHistogram::from_json(Json::parse(text)), Error);
  }
}

TEST_CASE("count_at_most tells how many were fast enough", "[histogram]") {
  const LatencyHistogram histogram = of({1'000'000, 2'000'000, 100'000'000});
  CHECK(histogram.count_at_most(0ms) == 0);
  CHECK(histogram.count_at_most(1ms) == 1);
  CHECK(histogram.count_at_most(50ms) == 2);
  CHECK(histogram.count_at_most(1h) == 3);
  CHECK(histogram.count_at_most(-1ms) == 0);
}

TEST_CASE("a p99 of too few samples has no upper bound", "[histogram]") {
  LatencyHistogram histogram;
  for (int i = 0; i < 367; ++i) histogram.record(10ms);
  CHECK(std::isinf(quantile(histogram, 0.99).high));
  CHECK(quantile(histogram, 0.99).value == Approx(0.010).epsilon(0.01));
  histogram.record(10ms);  // 0.99^368 is the first power below 2.5 %
  CHECK(quantile(histogram, 0.99).high == Approx(0.010).epsilon(0.01));
  CHECK(quantile(LatencyHistogram(), 0.5).samples == 0);
}

TEST_CASE("a quantile's interval has the ranks that the binomial tables give", "[histogram]") {
  LatencyHistogram histogram;
  for (int i = 1; i <= 100; ++i) histogram.record(i * 1s);
  const Measured median = quantile(histogram, 0.5);  // the classic: ranks 40 and 61 of 100
  CHECK(median.value == Approx(50).epsilon(0.01));
  CHECK(median.low == Approx(40).epsilon(0.01));
  CHECK(median.high == Approx(61).epsilon(0.01));
  CHECK(median.samples == 100);
  CHECK(median.kind == MeasureKind::duration);
}

TEST_CASE("the interval of a quantile covers the truth about as often as it says", "[histogram]") {
  int covered = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    Rng rng(seed);
    LatencyHistogram histogram;
    for (int i = 0; i < 500; ++i) histogram.record(from_seconds(rng.uniform()));
    const Measured p90 = quantile(histogram, 0.9);
    if (p90.low <= 0.905 && p90.high >= 0.895) ++covered;
  }
  CHECK(covered >= 376);  // 95 % of 400 is 380; the buckets are counted in the truth's favour
}
