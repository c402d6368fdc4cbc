// The faults of the network, for the table of faults.
#pragma once
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

}  // namespace capsize
