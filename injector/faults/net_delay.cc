// net.delay: packets are late, as over a long or busy line.
#include <fmt/format.h>

#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {

template <>
struct EnumWords<DelayDistribution> {
  static constexpr std::array<std::pair<DelayDistribution, std::string_view>, 4> words = {{{DelayDistribution::uniform, "uniform"},
                                                                                           {DelayDistribution::normal, "normal"},
                                                                                           {DelayDistribution::pareto, "pareto"},
                                                                                           {DelayDistribution::paretonormal, "paretonormal"}}};
};

namespace {

struct DelayParams {
  Duration delay{};
  Duration jitter{};
  DelayDistribution distribution = DelayDistribution::normal;
  Share correlation{0};
  bool reorder = false;
  Direction direction = Direction::in;
};

const Spec<DelayParams>& delay_params() {
  static const auto spec = Spec<DelayParams>()
                               .required("delay", &DelayParams::delay, "how late each packet is, one way", more_than_zero())
                               .optional("jitter", &DelayParams::jitter, "how much that varies: half the width of \"uniform\", the standard deviation of the others")
                               .optional("distribution", &DelayParams::distribution, "of the jitter")
                               .optional("correlation", &DelayParams::correlation, "of one packet's jitter with that of the packet before")
                               .optional("reorder", &DelayParams::reorder, "packets may overtake each other; without it none does, which lengthens the mean where there is jitter")
                               .optional("direction", &DelayParams::direction, kDirectionDoc);
  return spec;
}

NetIntent intent_of(const DelayParams& params, NetAim&) {
  if (params.jitter.count() > 0 && params.jitter > params.delay && params.distribution == DelayDistribution::uniform) {
    throw Error(ErrorKind::refused, fmt::format("a uniform jitter of {} reaches below zero at a delay of {}", show(params.jitter), show(params.delay)), "make the jitter at most the delay");
  }
  DelayEffect delay;
  delay.delay = params.delay;
  delay.jitter = params.jitter;
  if (params.jitter.count() > 0) delay.distribution = params.distribution;
  delay.correlation = params.correlation.value;
  delay.may_reorder = params.reorder;
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.delay = delay;
  intent.words = "are " + late_by(params.delay, params.jitter) + (params.direction == Direction::both ? ", each way" : "");
  return intent;
}

}  // namespace

FaultType net_delay() { return net_fault<delay_params, intent_of>("net.delay", "Packets are late, as over a long or busy line.", {{"delay", "200ms"}}); }

}  // namespace capsize
