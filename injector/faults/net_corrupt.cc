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

NetIntent intent_of(const CorruptParams& params, NetAim&) {
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.corrupt = params.share.value;
  intent.words = fmt::format("are corrupted, {} of them", share_in_words(params.share.value));
  return intent;
}

}  // namespace

FaultType net_corrupt() {
  return net_fault<corrupt_params, intent_of>("net.corrupt", "Some packets arrive with a bit flipped; a checksum catches most, so that they count as lost.", {{"share", "10%"}});
}

}  // namespace capsize
