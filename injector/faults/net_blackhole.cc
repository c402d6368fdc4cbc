// net.blackhole: packets vanish and nobody is told, as behind a firewall or a dead router.
#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {
namespace {

struct BlackholeParams {
  Direction direction = Direction::in;
};

const Spec<BlackholeParams>& blackhole_params() {
  static const auto spec = Spec<BlackholeParams>().optional("direction", &BlackholeParams::direction, kDirectionDoc);
  return spec;
}

NetIntent intent_of(const BlackholeParams& params, NetAim&) {
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.refusal = Refusal::silent;
  intent.words = "vanish, silently";
  return intent;
}

}  // namespace

FaultType net_blackhole() { return net_fault<blackhole_params, intent_of>("net.blackhole", "Packets vanish and nobody is told: connections hang instead of failing.", Json::object()); }

}  // namespace capsize
