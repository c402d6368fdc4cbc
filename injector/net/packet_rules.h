// The nftables table of one impairment: which packets are met, and what the kernel does with them. Applied as one transaction, owned by
// one socket: whatever closes that socket removes the table.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "injector/net/impairment.h"

namespace capsize {

struct RuleAction {
  enum class Kind { drop, reset, unreachable, prohibited, mark, queue, forward };
  Kind kind = Kind::drop;
  double share = 1;          // of the packets, chosen independently; below 1 only where a drop is faithful
  std::uint32_t value = 0;   // mark: the mark; queue: the queue's number; forward: the index of a device
  // Packets that carry the impairment's mark already are let by `queue`: they are copies and answers of our own. Its rule passes packets
  // on when nobody serves the queue (bypass).
};

struct RuleCounts {
  std::uint64_t matched = 0;        // packets
  std::uint64_t matched_bytes = 0;
  std::uint64_t acted = 0;          // packets that the action was done to
};

class PacketRules {
 public:
  // One action for every affected packet that is not exempt, at the hook its match names. Throws as hold_by_rules() does.
  PacketRules(const Impairment& impairment, RuleAction action);
  ~PacketRules();  // removes the table and closes its socket
  PacketRules(const PacketRules&) = delete;
  PacketRules& operator=(const PacketRules&) = delete;

  // Throws Error `changed` when the table is gone.
  RuleCounts counts();
  // Takes the rules away but leaves their chains, so that packets pass untouched: deleting a base chain makes the kernel drop whatever
  // the queues of the namespace hold. Idempotent.
  void disarm() noexcept;
  void remove() noexcept;  // idempotent

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Whether a table of this name is there, in any family, and whose: its owner's port id; 0: nobody's.
struct TableLook {
  bool there = false;
  std::uint32_t owner = 0;
};
TableLook look_for_table(const NetworkNamespace& place, const std::string& name);

}  // namespace capsize
