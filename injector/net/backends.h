// The three ways to carry out an Impairment. Each holds an nftables table with the OWNER flag through a socket of its own, so the kernel
// ends the fault when its holder dies, however it dies.
#pragma once
#include <memory>

#include "injector/net/impairment.h"
#include "injector/op_type.h"

namespace capsize {

// What an impairment in force has done so far, for the proof that it bites.
struct ImpairCounts {
  std::uint64_t matched = 0;     // packets that matched and were not exempt
  std::uint64_t matched_bytes = 0;
  std::uint64_t dropped = 0;     // by loss, rate, refusal or dns; 0 when the back end cannot tell
  std::uint64_t delayed = 0;     // packets held and let go again (queue back end)
  std::uint64_t duplicated = 0, corrupted = 0, reordered = 0, answered = 0;
  std::uint64_t overflowed = 0;  // let through untouched because a queue of ours was full: a run with any is suspect
  std::uint64_t lost_by_us = 0;  // held packets that the kernel dropped, as when anybody deletes a chain in the namespace: suspect too
  double mean_delay_ms = 0;      // measured, of `delayed`
  std::uint64_t passed_bytes = 0;  // of a rate: what it let through
  std::uint64_t held_back = 0;     // of a rate: times that packets had to wait for it
};
Json to_json(const ImpairCounts& counts);

// An impairment in force. release() lets held packets go, then takes the table away, then whatever is left; it must not throw.
class HeldImpairment : public Held {
 public:
  virtual ImpairCounts counts() = 0;  // throws Error when the kernel does not answer, or `changed` when the table is not there any more
};

// All throw Error before anything is left behind: privilege (CAP_NET_ADMIN), unavailable (what the kernel lacks, with the module or
// package that brings it), changed (the namespace or a device is another one now). Thread: control. Millisecond calls, not coroutines.
std::unique_ptr<HeldImpairment> hold_by_rules(const Impairment& impairment);
std::unique_ptr<HeldImpairment> hold_by_queue(const Impairment& impairment);
std::unique_ptr<HeldImpairment> hold_by_device(const Impairment& impairment);

// Removes what an impairment left that is inert but visible: its ifb devices, which a release leaves too as packets may wait there, and its
// filters. Says what was found. Idempotent.
UndoResult sweep_device(const Impairment& impairment);

// Packets that an impairment by device, already ended, has not let go yet: sweep_device() would drop them. Throws Error.
std::uint64_t packets_waiting(const Impairment& impairment);

}  // namespace capsize
