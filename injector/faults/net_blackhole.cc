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

const AnySpec& blackhole_spec() { return blackhole_params(); }

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const BlackholeParams params = blackhole_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.refusal = Refusal::silent;
  intent.words = "vanish, silently";
  auto planned = co_await plan_net(std::move(intent), std::move(aim), std::move(request), host);
  co_return planned;
}

}  // namespace

FaultType net_blackhole() {
  FaultType type;
  type.name = "net.blackhole";
  type.doc = "Packets vanish and nobody is told: connections hang instead of failing.";
  type.target_types = {"service", "network", "container"};
  type.spec = blackhole_spec;
  type.example = {{"fault", "net.blackhole"}, {"target", "auth1"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan;
  type.effect = judge_net;
  type.undo_doc = kNetUndoDoc;
  type.stacks = true;
  return type;
}

}  // namespace capsize
