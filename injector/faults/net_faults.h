// The faults of the network, for the table of faults.
#pragma once
#include <string>

#include "injector/base/spec.h"
#include "injector/fault.h"

namespace capsize {

FaultType backend_latency();
FaultType net_delay();
FaultType net_partition();
FaultType net_blackhole();
FaultType net_reject();
FaultType net_loss();
FaultType net_rate();
FaultType net_duplicate();
FaultType net_corrupt();
FaultType net_reorder();
FaultType net_dns();
FaultType net_cut_fault();  // net_cut() is the op

inline constexpr const char* kNetUndoDoc =
    "lets packets that are held go, and takes the rules away; by itself the kernel does so as soon as the agent is gone, however it dies";

std::string share_in_words(double share);              // "10%"
Rule<Share> some_share();                              // more than none
std::string late_by(Duration delay, Duration jitter);  // "200ms late, give or take 20ms"

}  // namespace capsize
