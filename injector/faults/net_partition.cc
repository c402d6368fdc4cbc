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

const AnySpec& partition_spec() { return partition_params(); }

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const PartitionParams params = partition_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  if (aim.peers.empty()) throw Error(ErrorKind::refused, "a partition is from somebody: the target has no \"peers\"", "add \"peers\" to the target, or use net.blackhole");
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.refusal = Refusal::silent;
  intent.words = "are cut off, silently";
  auto planned = co_await plan_net(std::move(intent), std::move(aim), std::move(request), host);
  co_return planned;
}

}  // namespace

FaultType net_partition() {
  FaultType type;
  type.name = "net.partition";
  type.doc = "Machines do not reach each other, one way or both: packets between two sets of addresses vanish.";
  type.target_types = {"network", "container"};
  type.spec = partition_spec;
  type.example = {{"fault", "net.partition"}, {"target", "database"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan;
  type.effect = judge_net;
  type.undo_doc = kNetUndoDoc;
  type.stacks = true;
  return type;
}

}  // namespace capsize
