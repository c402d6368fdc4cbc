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

NetIntent intent_of(const RejectParams& params, NetAim&) {
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.refusal = params.with;
  intent.words = params.with == Refusal::tcp_reset ? "are refused with a reset" : params.with == Refusal::unreachable ? "are refused as unreachable" : "are refused as prohibited";
  return intent;
}

}  // namespace

FaultType net_reject() {
  return net_fault<reject_params, intent_of>("net.reject", "Packets are refused and the sender is told at once: connections fail fast instead of hanging.", {{"with", "tcp_reset"}});
}

}  // namespace capsize
