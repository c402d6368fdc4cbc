#include <catch2/catch.hpp>

#include <cmath>

#include "injector/net/packet_dice.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kSeed = 20261123;
constexpr int kDraws = 200'000;
const TimePoint kStart{1h};

struct Moments {
  double mean = 0, deviation = 0, neighbours = 0;  // in milliseconds; neighbours: correlation of one with the next
};

Moments moments(const std::vector<double>& values) {
  Moments out;
  for (const double value : values) out.mean += value;
  out.mean /= static_cast<double>(values.size());
  double square = 0;
  double product = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    square += (values[i] - out.mean) * (values[i] - out.mean);
    if (i > 0) product += (values[i] - out.mean) * (values[i - 1] - out.mean);
  }
  out.deviation = std::sqrt(square / static_cast<double>(values.size()));
  out.neighbours = product / square;
  return out;
}

Moments draw(const DelayEffect& effect) {
  DelayDice dice(effect, Rng(kSeed));
  std::vector<double> values;
  for (int i = 0; i < kDraws; ++i) values.push_back(seconds(dice.next()) * 1e3);
  return moments(values);
}

PacketEffect delayed(Duration delay, Duration jitter, bool may_reorder) {
  PacketEffect effect;
  effect.delay = DelayEffect{delay, jitter, jitter > Duration::zero() ? DelayDistribution::normal : DelayDistribution::constant, 0, may_reorder};
  return effect;
}

}  // namespace

TEST_CASE("each delay distribution has the mean and the spread that it is asked for", "[packet_dice]") {
  const auto [distribution, deviation] = GENERATE(table<DelayDistribution, double>({{DelayDistribution::constant, 0},
                                                                                   {DelayDistribution::uniform, 5 / std::sqrt(3.0)},
                                                                                   {DelayDistribution::normal, 5},
                                                                                   {DelayDistribution::pareto, 5},
                                                                                   {DelayDistribution::paretonormal, 5}}));
  const double correlation = GENERATE(0.0, 0.5);
  INFO("distribution " << static_cast<int>(distribution) << " correlation " << correlation);
  const Moments got = draw({100ms, 5ms, distribution, correlation, false});
  CHECK(got.mean == Approx(100).margin(0.1));
  CHECK(got.deviation == Approx(deviation).epsilon(0.02).margin(1e-9));
}

TEST_CASE("a uniform delay stays within its width, and a skewed one never falls far below its mean", "[packet_dice]") {
  DelayDice uniform({20ms, 10ms, DelayDistribution::uniform, 0, false}, Rng(kSeed));
  DelayDice pareto({20ms, 10ms, DelayDistribution::pareto, 0, false}, Rng(kSeed));
  for (int i = 0; i < 10'000; ++i) {
    const Duration flat = uniform.next();
    REQUIRE(flat >= 10ms);
    REQUIRE(flat <= 30ms);
    const Duration skewed = pareto.next();
    REQUIRE(skewed >= 20ms - 10ms * 0.78);
    REQUIRE(skewed <= 20ms + 10ms * 4.92);
  }
}

TEST_CASE("neighbouring delays are tied as the correlation says, without a narrower spread", "[packet_dice]") {
  const double correlation = GENERATE(0.0, 0.3, 0.9);
  const Moments got = draw({100ms, 5ms, DelayDistribution::normal, correlation, false});
  CHECK(got.neighbours == Approx(correlation).margin(0.02));
  CHECK(got.deviation == Approx(5).epsilon(0.05));
}

TEST_CASE("a delay is never negative", "[packet_dice]") {
  DelayDice dice({1ms, 50ms, DelayDistribution::normal, 0, false}, Rng(kSeed));
  for (int i = 0; i < 10'000; ++i) REQUIRE(dice.next() >= Duration::zero());
}

TEST_CASE("independent loss loses its share", "[packet_dice]") {
  LossDice dice({0.1, {}}, Rng(kSeed));
  int lost = 0;
  for (int i = 0; i < kDraws; ++i) lost += dice.lost();
  CHECK(lost / double(kDraws) == Approx(0.1).margin(0.004));  // six deviations
}

TEST_CASE("bursts of loss have the mean length and the long-run share of the chain", "[packet_dice]") {
  const LossEffect::Burst chain{0.02, 0.2, 0, 1};
  LossDice dice({0.02 / 0.22, chain}, Rng(kSeed));
  int lost = 0;
  int bursts = 0;
  bool before = false;
  for (int i = 0; i < kDraws; ++i) {
    const bool now = dice.lost();
    lost += now;
    bursts += now && !before;
    before = now;
  }
  CHECK(lost / double(kDraws) == Approx(0.02 / 0.22).epsilon(0.05));
  CHECK(double(lost) / bursts == Approx(5).epsilon(0.05));
}

TEST_CASE("both states of the loss chain may lose a part of their packets", "[packet_dice]") {
  LossDice dice({0, LossEffect::Burst{0.5, 0.5, 0.1, 0.5}}, Rng(kSeed));
  int lost = 0;
  for (int i = 0; i < kDraws; ++i) lost += dice.lost();
  CHECK(lost / double(kDraws) == Approx(0.3).epsilon(0.03));
}

TEST_CASE("without leave to reorder, no packet is due before one that came earlier", "[packet_dice]") {
  PacketDice dice(delayed(10ms, 5ms, false), kSeed);
  TimePoint latest{};
  for (int i = 0; i < 10'000; ++i) {
    const TimePoint now = kStart + i * 100us;
    const PacketFate fate = dice.next(now);
    REQUIRE(fate.due >= latest);
    REQUIRE(fate.due >= now);
    latest = fate.due;
  }
}

TEST_CASE("with leave to reorder, jitter makes packets overtake and leaves the mean alone", "[packet_dice]") {
  PacketDice dice(delayed(50ms, 5ms, true), kSeed);
  TimePoint latest{};
  int overtook = 0;
  double sum = 0;
  constexpr int kPackets = 20'000;
  for (int i = 0; i < kPackets; ++i) {
    const TimePoint now = kStart + i * 1ms;
    const TimePoint due = dice.next(now).due;
    overtook += due < latest;
    latest = std::max(latest, due);
    sum += seconds(due - now) * 1e3;
  }
  CHECK(overtook > kPackets / 10);
  CHECK(sum / kPackets == Approx(50).margin(0.3));
}

TEST_CASE("reordering lets a share of the packets skip the delay of the others", "[packet_dice]") {
  PacketEffect effect;
  effect.reorder = ReorderEffect{0.25, 10ms};
  PacketDice dice(effect, kSeed);
  int skipped = 0;
  for (int i = 0; i < 10'000; ++i) {
    const TimePoint due = dice.next(kStart).due;
    REQUIRE((due == kStart || due == kStart + 10ms));
    skipped += due == kStart;
  }
  CHECK(skipped / 10'000.0 == Approx(0.25).margin(0.03));
}

TEST_CASE("duplicates and corrupted packets come in their shares, and lost packets are neither", "[packet_dice]") {
  PacketEffect effect;
  effect.duplicate = 0.2;
  effect.corrupt = 0.1;
  effect.loss = LossEffect{0.5, {}};
  PacketDice dice(effect, kSeed);
  int duplicated = 0, corrupted = 0, lost = 0;
  for (int i = 0; i < kDraws; ++i) {
    const PacketFate fate = dice.next(kStart);
    lost += fate.lost;
    duplicated += fate.duplicated;
    corrupted += fate.corrupted;
    REQUIRE_FALSE((fate.lost && (fate.duplicated || fate.corrupted)));
  }
  CHECK(duplicated / double(kDraws) == Approx(0.1).margin(0.005));
  CHECK(corrupted / double(kDraws) == Approx(0.05).margin(0.004));
  CHECK(lost / double(kDraws) == Approx(0.5).margin(0.008));
}

TEST_CASE("the seed repeats every packet's fate, and one effect does not change the dice of another", "[packet_dice]") {
  PacketEffect loss;
  loss.loss = LossEffect{0.3, {}};
  PacketEffect both = loss;
  both.delay = DelayEffect{10ms, 2ms, DelayDistribution::normal, 0, false};
  PacketDice first(loss, 7), again(loss, 7), with_delay(both, 7), other(loss, 8);
  int differs = 0;
  for (int i = 0; i < 1000; ++i) {
    const bool lost = first.next(kStart).lost;
    REQUIRE(again.next(kStart).lost == lost);
    REQUIRE(with_delay.next(kStart).lost == lost);
    differs += other.next(kStart).lost != lost;
  }
  CHECK(differs > 0);
}

TEST_CASE("the longest delay covers nearly all that the dice give", "[packet_dice]") {
  PacketEffect effect = delayed(10ms, 3ms, true);
  effect.reorder = ReorderEffect{0.1, 5ms};
  const Duration longest = longest_delay(effect);
  PacketDice dice(effect, kSeed);
  int beyond = 0;
  for (int i = 0; i < kDraws; ++i) beyond += dice.next(kStart).due - kStart > longest;
  CHECK(beyond <= kDraws / 10'000);
  CHECK(longest_delay({}) == Duration::zero());
}
