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

const AnySpec& delay_spec() { return delay_params(); }

NetIntent intent_of(const DelayParams& params) {
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

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const DelayParams params = delay_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  auto planned = co_await plan_net(intent_of(params), std::move(aim), std::move(request), host);
  co_return planned;
}

}  // namespace

std::string late_by(Duration delay, Duration jitter) {
  return jitter.count() > 0 ? fmt::format("{} late, give or take {}", show(delay), show(jitter)) : fmt::format("{} late", show(delay));
}

Rule<Share> some_share() {
  return {[](const Share& share) -> std::optional<Mistake> {
            if (share.value > 0) return std::nullopt;
            return Mistake{"a share of nothing", "write more than \"0%\""};
          },
          {{"anyOf", Json::array({{{"pattern", "[1-9]"}}, {{"pattern", "\\$\\{"}}})}}};
}

FaultType net_delay() {
  FaultType type;
  type.name = "net.delay";
  type.doc = "Packets are late, as over a long or busy line.";
  type.target_types = {"service", "network", "container"};
  type.spec = delay_spec;
  type.example = {{"fault", "net.delay"}, {"target", "auth1"}, {"delay", "200ms"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan;
  type.effect = judge_net;
  type.undo_doc = kNetUndoDoc;
  type.stacks = true;
  return type;
}

}  // namespace capsize
