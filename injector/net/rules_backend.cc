// The back end that needs nothing but an nftables table: packets refused, or lost independently of each other.
#include "injector/net/backends.h"
#include "injector/net/packet_rules.h"

#include "injector/base/error.h"

namespace capsize {
namespace {

class HeldRules final : public HeldImpairment {
 public:
  HeldRules(const Impairment& impairment, RuleAction action) : rules_(impairment, action) {}
  void release() noexcept override { rules_.remove(); }
  ImpairCounts counts() override {
    const RuleCounts rules = rules_.counts();
    ImpairCounts out;
    out.matched = rules.matched;
    out.matched_bytes = rules.matched_bytes;
    out.dropped = rules.acted;
    return out;
  }

 private:
  PacketRules rules_;
};

RuleAction action_of(const PacketEffect& effect) {
  PacketEffect rest = effect;
  rest.loss.reset();
  rest.refusal.reset();
  const bool one = effect.loss.has_value() != effect.refusal.has_value();
  if (!one || rest != PacketEffect() || (effect.loss && effect.loss->burst)) {
    throw Error(ErrorKind::bug, "rules alone can refuse packets, or lose them independently of each other, and nothing else");
  }
  using Kind = RuleAction::Kind;
  if (effect.loss) return {Kind::drop, effect.loss->share, 0};
  switch (*effect.refusal) {
    case Refusal::silent: return {Kind::drop, 1, 0};
    case Refusal::tcp_reset: return {Kind::reset, 1, 0};
    case Refusal::unreachable: return {Kind::unreachable, 1, 0};
    case Refusal::prohibited: break;
  }
  return {Kind::prohibited, 1, 0};
}

}  // namespace

std::unique_ptr<HeldImpairment> hold_by_rules(const Impairment& impairment) {
  return std::make_unique<HeldRules>(impairment, action_of(impairment.effect));
}

}  // namespace capsize
