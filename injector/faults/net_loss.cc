// net.loss: some packets never arrive, one by one or in bursts.
#include <fmt/format.h>

#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {
namespace {

struct LossParams {
  std::optional<Share> share;
  std::optional<Share> enter_bad;
  std::optional<Share> leave_bad;
  Share loss_in_good{0};
  Share loss_in_bad{1};
  Direction direction = Direction::in;
};

const Spec<LossParams>& loss_params() {
  static const auto spec = Spec<LossParams>()
                               .optional("share", &LossParams::share, "share of packets lost, each by its own chance")
                               .optional("enter_bad", &LossParams::enter_bad, "loss in bursts (Gilbert-Elliott): the chance of each packet to begin a bad stretch")
                               .optional("leave_bad", &LossParams::leave_bad, "the chance of each packet to end one; required with \"enter_bad\"")
                               .optional("loss_in_good", &LossParams::loss_in_good, "share lost in good stretches")
                               .optional("loss_in_bad", &LossParams::loss_in_bad, "share lost in bad stretches")
                               .optional("direction", &LossParams::direction, kDirectionDoc)
                               .exactly_one_of({"share", "enter_bad"});
  return spec;
}

const AnySpec& loss_spec() { return loss_params(); }

LossEffect effect_of(const LossParams& params) {
  LossEffect out;
  if (params.share) {
    if (params.leave_bad) throw Error(ErrorKind::refused, "\"leave_bad\" without \"enter_bad\"", "write \"enter_bad\" instead of \"share\", or leave \"leave_bad\" out");
    out.share = params.share->value;
  } else {
    if (!params.leave_bad || params.leave_bad->value <= 0) throw Error(ErrorKind::refused, "a bad stretch that never ends: \"leave_bad\" is missing or 0%", "add \"leave_bad\", as \"25%\" for stretches of 4 packets in the mean");
    LossEffect::Burst burst;
    burst.enter = params.enter_bad->value;
    burst.leave = params.leave_bad->value;
    burst.loss_in_good = params.loss_in_good.value;
    burst.loss_in_bad = params.loss_in_bad.value;
    out.share = (burst.enter * burst.loss_in_bad + burst.leave * burst.loss_in_good) / (burst.enter + burst.leave);
    out.burst = burst;
  }
  if (out.share <= 0) throw Error(ErrorKind::refused, "a loss of nothing", "write more than \"0%\"");
  return out;
}

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const LossParams params = loss_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.loss = effect_of(params);
  const std::string lost = share_in_words(intent.effect.loss->share);
  intent.words = intent.effect.loss->burst ? fmt::format("are lost in bursts, {} of them in the long run", lost) : fmt::format("are lost, {} of them", lost);
  auto planned = co_await plan_net(std::move(intent), std::move(aim), std::move(request), host);
  co_return planned;
}

}  // namespace

std::string share_in_words(double share) { return show(Share{share}); }

FaultType net_loss() {
  FaultType type;
  type.name = "net.loss";
  type.doc = "Some packets never arrive, one by one or in bursts.";
  type.target_types = {"service", "network", "container"};
  type.spec = loss_spec;
  type.example = {{"fault", "net.loss"}, {"target", "auth1"}, {"share", "10%"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan;
  type.effect = judge_net;
  type.undo_doc = kNetUndoDoc;
  type.stacks = true;
  return type;
}

}  // namespace capsize
