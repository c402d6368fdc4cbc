// net.reorder: some packets overtake others.
#include <fmt/format.h>

#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {
namespace {

struct ReorderParams {
  Share share{};
  Duration delay = std::chrono::milliseconds(10);
  Direction direction = Direction::in;
};

const Spec<ReorderParams>& reorder_params() {
  static const auto spec = Spec<ReorderParams>()
                               .required("share", &ReorderParams::share, "share of packets that are not delayed, and so overtake the others", some_share())
                               .optional("delay", &ReorderParams::delay, "how late the others are, one way", more_than_zero())
                               .optional("direction", &ReorderParams::direction, kDirectionDoc);
  return spec;
}

const AnySpec& reorder_spec() { return reorder_params(); }

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const ReorderParams params = reorder_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  if (params.share.value >= 1) throw Error(ErrorKind::refused, "when all packets overtake, none does", "write a share below \"100%\"");
  ReorderEffect reorder;
  reorder.share = params.share.value;
  reorder.delay = params.delay;
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.reorder = reorder;
  intent.words = fmt::format("are reordered: {} of them overtake the others, which are {} late", share_in_words(params.share.value), show(params.delay));
  auto planned = co_await plan_net(std::move(intent), std::move(aim), std::move(request), host);
  co_return planned;
}

}  // namespace

FaultType net_reorder() {
  FaultType type;
  type.name = "net.reorder";
  type.doc = "Some packets overtake others.";
  type.target_types = {"service", "network", "container"};
  type.spec = reorder_spec;
  type.example = {{"fault", "net.reorder"}, {"target", "auth1"}, {"share", "25%"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan;
  type.effect = judge_net;
  type.undo_doc = kNetUndoDoc;
  type.stacks = true;
  return type;
}

}  // namespace capsize
