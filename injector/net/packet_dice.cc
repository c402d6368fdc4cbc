#include "injector/net/packet_dice.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace capsize {
namespace {

// Of min((1-u)^(-1/3), 4.5), u uniform: netem's pareto.
constexpr double kParetoShape = 3;
constexpr double kParetoCut = 4.5;
constexpr double kParetoMean = 1.4753086419753085;
constexpr double kParetoDeviation = 0.6156459749470682;
constexpr double kParetoNormalDeviation = 0.9676839517895971;  // of (normal + 3 pareto) / 4

double upper_tail(double normal) { return 0.5 * std::erfc(normal / std::numbers::sqrt2); }

double pareto(double normal) {
  const double tail = upper_tail(normal);
  const double value = tail > 0 ? std::min(std::pow(tail, -1 / kParetoShape), kParetoCut) : kParetoCut;
  return (value - kParetoMean) / kParetoDeviation;
}

Rng stream(std::uint64_t seed, std::string_view name) { return Rng(seed).stream(name); }

}  // namespace

double deviate(DelayDistribution distribution, double normal) {
  switch (distribution) {
    case DelayDistribution::constant: return 0;
    case DelayDistribution::uniform: return 1 - 2 * upper_tail(normal);
    case DelayDistribution::normal: return normal;
    case DelayDistribution::pareto: return pareto(normal);
    case DelayDistribution::paretonormal: return (normal + 3 * pareto(normal)) / 4 / kParetoNormalDeviation;
  }
  return 0;
}

bool LossDice::lost() {
  if (!effect_.burst) return rng_.chance(effect_.share);
  const LossEffect::Burst& chain = *effect_.burst;
  const bool lost = rng_.chance(bad_ ? chain.loss_in_bad : chain.loss_in_good);
  if (rng_.chance(bad_ ? chain.leave : chain.enter)) bad_ = !bad_;
  return lost;
}

double DelayDice::normal() {
  const double radius = std::sqrt(-2 * std::log1p(-rng_.uniform()));
  const double fresh = radius * std::cos(2 * std::numbers::pi * rng_.uniform());
  const double tie = begun_ ? effect_.correlation : 0;
  begun_ = true;
  last_ = tie * last_ + std::sqrt(1 - tie * tie) * fresh;
  return last_;
}

Duration DelayDice::next() {
  if (effect_.distribution == DelayDistribution::constant || effect_.jitter <= Duration::zero()) return effect_.delay;
  const double spread = deviate(effect_.distribution, normal()) * static_cast<double>(effect_.jitter.count());
  return std::max(Duration::zero(), effect_.delay + Duration(std::llround(spread)));
}

PacketDice::PacketDice(const PacketEffect& effect, std::uint64_t seed)
    : effect_(effect),
      loss_(effect.loss.value_or(LossEffect{}), stream(seed, "loss")),
      delay_(effect.delay.value_or(DelayEffect{}), stream(seed, "delay")),
      duplicate_(stream(seed, "duplicate")),
      corrupt_(stream(seed, "corrupt")),
      reorder_(stream(seed, "reorder")) {}

TimePoint PacketDice::due(TimePoint now) {
  TimePoint due = now;
  if (effect_.delay) {
    due += delay_.next();
    if (!effect_.delay->may_reorder) latest_ = due = std::max(due, latest_);
  }
  if (effect_.reorder && !reorder_.chance(effect_.reorder->share)) due += effect_.reorder->delay;
  return due;
}

PacketFate PacketDice::next(TimePoint now) {
  PacketFate fate;
  fate.lost = effect_.loss && loss_.lost();
  fate.due = std::max(now, latest_);  // lost in its turn: the kernel finds a packet fastest at the head of its queue
  if (fate.lost) return fate;
  fate.duplicated = effect_.duplicate && duplicate_.chance(*effect_.duplicate);
  fate.corrupted = effect_.corrupt && corrupt_.chance(*effect_.corrupt);
  fate.due = due(now);
  if (fate.duplicated) fate.copy_due = due(now);
  return fate;
}

Duration longest_delay(const PacketEffect& effect) {
  constexpr int kDeviations = 5;
  Duration longest{};
  if (effect.delay) longest += effect.delay->delay + (effect.delay->distribution == DelayDistribution::constant ? Duration::zero() : kDeviations * effect.delay->jitter);
  if (effect.reorder) longest += effect.reorder->delay;
  if (effect.dns && effect.dns->answer == DnsAnswer::delay) longest = std::max(longest, effect.dns->delay);
  return longest;
}

}  // namespace capsize
