// The back end that brings packets to us: a rule sends them to a queue of the kernel, an engine of ours holds, drops and changes them.
#include <fmt/format.h>

#include <algorithm>

#include "injector/base/error.h"
#include "injector/net/backends.h"
#include "injector/net/packet_rules.h"
#include "injector/net/queue_engine.h"
#include "injector/netlink/network_namespace.h"

namespace capsize {
namespace {

bool is_dns_only(const PacketEffect& effect) {
  return effect.dns && !effect.delay && !effect.loss && !effect.duplicate && !effect.corrupt && !effect.reorder;
}

void refuse_what_it_cannot(const Impairment& impairment) {
  const PacketEffect& effect = impairment.effect;
  if (effect.rate) throw Error(ErrorKind::refused, "a queue of packets cannot limit their rate", "use the back end `device`");
  if (effect.refusal) throw Error(ErrorKind::refused, "a queue of packets cannot refuse them", "use the back end `rules`");
  const bool leaves = std::any_of(impairment.affected.begin(), impairment.affected.end(), [](const PacketMatch& match) { return match.hook == Hook::leave; });
  // A packet held on its way out stays on its sender's account, which stops a TCP connection. Queries are small and few.
  if (leaves && !is_dns_only(effect)) {
    throw Error(ErrorKind::refused, "a queue would hold packets that leave, which starves the sockets that send them", "meet them where they arrive, or use the back end `device`");
  }
}

// Spread by name, so that two faults seldom meet, and high, where people do not put queues of their own.
std::uint16_t first_queue_number(const std::string& name) { return static_cast<std::uint16_t>(0x8000 | (Rng(1).stream(name).next() & 0x7fff)); }

class HeldQueue final : public HeldImpairment {
 public:
  explicit HeldQueue(const Impairment& impairment) {
    const PacketEffect& effect = impairment.effect;
    PacketQueue queue(impairment.place, queue_setup(effect), first_queue_number(impairment.name));
    std::unique_ptr<PacketSender> sender;
    if (effect.duplicate || effect.dns) sender = std::make_unique<PacketSender>(impairment.place, impairment.mark);
    RuleAction action;
    action.kind = RuleAction::Kind::queue;
    action.value = queue.number();
    engine_ = std::make_unique<QueueEngine>(QueuePlan{effect, impairment.seed, most_held(effect), look_up_network_namespace(impairment.place.path).inode}, std::move(queue), std::move(sender));
    rules_ = std::make_unique<PacketRules>(impairment, action);
  }
  ~HeldQueue() override { let_go(); }

  ImpairCounts counts() override {
    const RuleCounts met = rules_->counts();
    const EngineCounts done = engine_->counts();
    ImpairCounts counts;
    counts.matched = met.matched;
    counts.matched_bytes = met.matched_bytes;
    counts.dropped = done.dropped;
    counts.delayed = done.delayed;
    counts.duplicated = done.duplicated;
    counts.corrupted = done.corrupted;
    counts.reordered = done.reordered;
    counts.answered = done.answered;
    counts.overflowed = done.overflowed;
    counts.lost_by_us = done.lost_by_us;
    if (done.delayed > 0) counts.mean_delay_ms = seconds(done.delay_sum) * 1e3 / static_cast<double>(done.delayed);
    return counts;
  }

  void release() noexcept override { let_go(); }

 private:
  // In this order no packet is lost, and none that was held is overtaken: what is held goes, then the rules send no more, then what was on its way goes. Only
  // then the chains, since the kernel drops what is in any queue of the namespace when a chain is deleted.
  void let_go() noexcept {
    if (!engine_ || !rules_) return;
    engine_->pass_through();
    rules_->disarm();
    engine_->stop();
    rules_->remove();
  }

  std::unique_ptr<QueueEngine> engine_;
  std::unique_ptr<PacketRules> rules_;
};

}  // namespace

std::unique_ptr<HeldImpairment> hold_by_queue(const Impairment& impairment) {
  refuse_what_it_cannot(impairment);
  return std::make_unique<HeldQueue>(impairment);
}

}  // namespace capsize
