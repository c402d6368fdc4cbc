// net.reject: packets are refused, and the sender is told at once.
#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {

template <>
struct EnumWords<Refusal> {
  static constexpr std::array<std::pair<Refusal, std::string_view>, 3> words = {
      {{Refusal::tcp_reset, "tcp_reset"}, {Refusal::unreachable, "unreachable"}, {Refusal::prohibited, "prohibited"}}};
};

namespace {

struct RejectParams {
  Refusal with = Refusal::tcp_reset;
  Direction direction = Direction::in;
};

const Spec<RejectParams>& reject_params() {
  static const auto spec = Spec<RejectParams>()
                               .optional("with", &RejectParams::with, "\"tcp_reset\": connections are reset and new ones refused (other protocols: ICMP port unreachable); \"unreachable\": ICMP host "
                                                                      "unreachable; \"prohibited\": ICMP administratively prohibited")
                               .optional("direction", &RejectParams::direction, kDirectionDoc);
  return spec;
}

const AnySpec& reject_spec() { return reject_params(); }

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const RejectParams params = reject_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.refusal = params.with;
  intent.words = params.with == Refusal::tcp_reset ? "are refused with a reset" : params.with == Refusal::unreachable ? "are refused as unreachable" : "are refused as prohibited";
  auto planned = co_await plan_net(std::move(intent), std::move(aim), std::move(request), host);
  co_return planned;
}

}  // namespace

FaultType net_reject() {
  FaultType type;
  type.name = "net.reject";
  type.doc = "Packets are refused and the sender is told at once: connections fail fast instead of hanging.";
  type.target_types = {"service", "network", "container"};
  type.spec = reject_spec;
  type.example = {{"fault", "net.reject"}, {"target", "auth1"}, {"with", "tcp_reset"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan;
  type.effect = judge_net;
  type.undo_doc = kNetUndoDoc;
  type.stacks = true;
  return type;
}

}  // namespace capsize
