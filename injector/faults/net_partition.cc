// net.partition: two sets of machines do not reach each other.
#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {
namespace {

struct PartitionParams {
  Direction direction = Direction::both;
};

const Spec<PartitionParams>& partition_params() {
  static const auto spec = Spec<PartitionParams>().optional("direction", &PartitionParams::direction, kDirectionDoc);
  return spec;
}

NetIntent intent_of(const PartitionParams& params, NetAim& aim) {
  if (aim.peers.empty()) throw Error(ErrorKind::refused, "a partition is from somebody: the target has no \"peers\"", "add \"peers\" to the target, or use net.blackhole");
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.refusal = Refusal::silent;
  intent.words = "are cut off, silently";
  return intent;
}

}  // namespace

FaultType net_partition() {
  FaultType type = net_fault<partition_params, intent_of>("net.partition", "Machines do not reach each other, one way or both: packets between two sets of addresses vanish.",
                                                          {{"target", "database"}});
  type.target_types = {"network", "container"};
  return type;
}

}  // namespace capsize
