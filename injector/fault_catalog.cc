// THE table of faults. Adding one is one file in faults/, one test, one page in docs/faults/, one line here.
#include "injector/fault.h"

#include <algorithm>

#include "injector/faults/balancer.h"
#include "injector/faults/host_faults.h"
#include "injector/faults/net_faults.h"

namespace capsize {

FaultType process_kill();
FaultType process_pause();
FaultType process_cpu();
FaultType process_memory();
FaultType process_io();
FaultType process_fds();
FaultType process_restart();
FaultType process_stutter_fault();
FaultType process_syscall();

const std::vector<FaultType>& fault_catalog() {
  static const std::vector<FaultType> table = {
      balancer_skew(),
      balancer_weight(),
      balancer_drain(),
      process_kill(),
      process_restart(),
      process_pause(),
      process_cpu(),
      process_memory(),
      process_io(),
      process_fds(),
      process_stutter_fault(),
      process_syscall(),
      backend_latency(),
      net_delay(),
      net_partition(),
      net_blackhole(),
      net_reject(),
      net_loss(),
      net_rate(),
      net_duplicate(),
      net_corrupt(),
      net_reorder(),
      net_dns(),
      net_cut_fault(),
      host_cpu(),
      host_memory(),
      host_disk(),
      host_io(),
      host_clock(),
  };
  return table;
}

const FaultType* find_fault(std::string_view name) {
  for (const FaultType& type : fault_catalog()) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

bool accepts(const FaultType& fault, std::string_view target_type) {
  return std::find(fault.target_types.begin(), fault.target_types.end(), target_type) != fault.target_types.end();
}

}  // namespace capsize
