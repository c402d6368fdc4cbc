// net.duplicate: some packets arrive twice.
#include <fmt/format.h>

#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {
namespace {

struct DuplicateParams {
  Share share{};
  Direction direction = Direction::in;
};

const Spec<DuplicateParams>& duplicate_params() {
  static const auto spec = Spec<DuplicateParams>().required("share", &DuplicateParams::share, "share of packets that come twice", some_share()).optional("direction", &DuplicateParams::direction, kDirectionDoc);
  return spec;
}

const AnySpec& duplicate_spec() { return duplicate_params(); }

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const DuplicateParams params = duplicate_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.duplicate = params.share.value;
  intent.words = fmt::format("come twice, {} of them", share_in_words(params.share.value));
  auto planned = co_await plan_net(std::move(intent), std::move(aim), std::move(request), host);
  co_return planned;
}

}  // namespace

FaultType net_duplicate() {
  FaultType type;
  type.name = "net.duplicate";
  type.doc = "Some packets arrive twice.";
  type.target_types = {"service", "network", "container"};
  type.spec = duplicate_spec;
  type.example = {{"fault", "net.duplicate"}, {"target", "auth1"}, {"share", "10%"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan;
  type.effect = judge_net;
  type.undo_doc = kNetUndoDoc;
  type.stacks = true;
  return type;
}

}  // namespace capsize
