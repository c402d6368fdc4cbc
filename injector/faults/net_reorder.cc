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

NetIntent intent_of(const ReorderParams& params, NetAim&) {
  if (params.share.value >= 1) throw Error(ErrorKind::refused, "when all packets overtake, none does", "write a share below \"100%\"");
  ReorderEffect reorder;
  reorder.share = params.share.value;
  reorder.delay = params.delay;
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.reorder = reorder;
  intent.words = fmt::format("are reordered: {} of them overtake the others, which are {} late", share_in_words(params.share.value), show(params.delay));
  return intent;
}

}  // namespace

FaultType net_reorder() { return net_fault<reorder_params, intent_of>("net.reorder", "Some packets overtake others.", {{"share", "25%"}}); }

}  // namespace capsize
