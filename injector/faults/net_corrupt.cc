// net.corrupt: some packets arrive with a bit flipped.
#include <fmt/format.h>

#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {
namespace {

struct CorruptParams {
  Share share{};
  Direction direction = Direction::in;
};

const Spec<CorruptParams>& corrupt_params() {
  static const auto spec = Spec<CorruptParams>().required("share", &CorruptParams::share, "share of packets with one bit flipped behind the transport header", some_share()).optional("direction", &CorruptParams::direction, kDirectionDoc);
  return spec;
}

const AnySpec& corrupt_spec() { return corrupt_params(); }

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const CorruptParams params = corrupt_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.corrupt = params.share.value;
  intent.words = fmt::format("are corrupted, {} of them", share_in_words(params.share.value));
  auto planned = co_await plan_net(std::move(intent), std::move(aim), std::move(request), host);
  co_return planned;
}

}  // namespace

FaultType net_corrupt() {
  FaultType type;
  type.name = "net.corrupt";
  type.doc = "Some packets arrive with a bit flipped; a checksum catches most, so that they count as lost.";
  type.target_types = {"service", "network", "container"};
  type.spec = corrupt_spec;
  type.example = {{"fault", "net.corrupt"}, {"target", "auth1"}, {"share", "10%"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan;
  type.effect = judge_net;
  type.undo_doc = kNetUndoDoc;
  type.stacks = true;
  return type;
}

}  // namespace capsize
