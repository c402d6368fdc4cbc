// What becomes of each packet: the dice of an impairment that the queue back end throws itself. Pure, and repeated by the seed; each
// effect has a stream of its own, so that adding one does not change what the others draw.
#pragma once
#include <cstdint>

#include "injector/base/rng.h"
#include "injector/net/impairment.h"

namespace capsize {

// Loss, packet by packet: independent, or in bursts by the chain of Gilbert and Elliott, which begins in the good state.
class LossDice {
 public:
  LossDice(LossEffect effect, Rng rng) : effect_(effect), rng_(rng) {}
  bool lost();

 private:
  LossEffect effect_;
  Rng rng_;
  bool bad_ = false;
};

// Delays of one packet after the other. Each alone has the distribution asked for (mean `delay`, spread `jitter` as DelayEffect says, cut
// at 0); neighbours are tied through a Gaussian copula of that correlation, so that correlation does not narrow the spread.
//   pareto: shape 3, cut at 4.9 deviations above the mean, which is netem's table brought to mean 0 and deviation 1.
//   paretonormal: a quarter normal and three quarters pareto of the same quantile, likewise.
class DelayDice {
 public:
  DelayDice(DelayEffect effect, Rng rng) : effect_(effect), rng_(rng) {}
  Duration next();

 private:
  double normal();

  DelayEffect effect_;
  Rng rng_;
  double last_ = 0;
  bool begun_ = false;
};
double deviate(DelayDistribution distribution, double normal);  // of mean 0; deviation 1, but for `uniform`: in [-1, 1]

struct PacketFate {
  bool lost = false;
  bool corrupted = false;
  bool duplicated = false;
  TimePoint due{};       // no later than `now` of the packet: at once
  TimePoint copy_due{};  // of its duplicate
};

class PacketDice {
 public:
  PacketDice(const PacketEffect& effect, std::uint64_t seed);
  // Of a packet that arrives `now`: no earlier than the one before. A lost packet draws no delay; it goes when those before it go.
  PacketFate next(TimePoint now);

 private:
  TimePoint due(TimePoint now);

  PacketEffect effect_;
  LossDice loss_;
  DelayDice delay_;
  Rng duplicate_, corrupt_, reorder_;
  TimePoint latest_{};  // due of those that may not be overtaken
};

// An upper bound of what DelayDice and reordering add, but for one packet in ten thousand; sizes queues.
Duration longest_delay(const PacketEffect& effect);

}  // namespace capsize
