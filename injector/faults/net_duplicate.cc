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

NetIntent intent_of(const DuplicateParams& params, NetAim&) {
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.duplicate = params.share.value;
  intent.words = fmt::format("come twice, {} of them", share_in_words(params.share.value));
  return intent;
}

}  // namespace

FaultType net_duplicate() { return net_fault<duplicate_params, intent_of>("net.duplicate", "Some packets arrive twice.", {{"share", "10%"}}); }

}  // namespace capsize
