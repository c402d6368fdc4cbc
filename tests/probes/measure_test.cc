#include "probes/measure.h"

#include "injector/base/rng.h"

using namespace capsize;

TEST_CASE("the interval of a ratio is the exact one of the tables", "[measure]") {
  CHECK(clopper_pearson(8, 10).low == Approx(0.4439).epsilon(1e-3));
  CHECK(clopper_pearson(8, 10).high == Approx(0.9748).epsilon(1e-3));
  CHECK(clopper_pearson(0, 20).low == 0);
  CHECK(clopper_pearson(0, 20).high == Approx(0.1684).epsilon(1e-3));
  CHECK(clopper_pearson(20, 20).high == 1);
  CHECK(clopper_pearson(0, 0).low == 0);
  CHECK(clopper_pearson(0, 0).high == 1);
}

TEST_CASE("the interval of a ratio holds the truth at least 95 times in 100", "[measure]") {
  int held = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    Rng rng(seed);
    std::uint64_t successes = 0;
    for (int i = 0; i < 60; ++i) successes += rng.chance(0.9) ? 1 : 0;
    const Measured measured = ratio(successes, 60);
    if (measured.low <= 0.9 && 0.9 <= measured.high) ++held;
  }
  CHECK(held >= 945);
}

TEST_CASE("an infinite bound is null in JSON", "[measure]") {
  Measured measured;
  measured.kind = MeasureKind::duration;
  measured.high = std::numeric_limits<double>::infinity();
  CHECK(to_json(measured).at("high").is_null());
  CHECK(to_json(ratio(1, 2)).at("kind") == "ratio");
}
