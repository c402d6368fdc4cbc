// THE table of ops: the only effects capsize has. Adding one is one file in ops/, one test, one line here.
#include "injector/op_type.h"
#include "injector/ops/cgroup_ops.h"
#include "injector/ops/descriptor_ops.h"
#include "injector/ops/haproxy_ops.h"
#include "injector/ops/host_ops.h"
#include "injector/ops/net_cut.h"
#include "injector/ops/net_looks.h"
#include "injector/ops/net_ops.h"
#include "injector/ops/process_ops.h"
#include "injector/ops/syscall_ops.h"

namespace capsize {

const std::vector<OpType>& op_catalog() {
  static const std::vector<OpType> table = {
      haproxy_servers(),     haproxy_weights(), haproxy_restore_weights(), haproxy_admin_state(), haproxy_restore_admin_state(),
      container_identify(), process_identify(), process_state(), process_hold(), process_release(), process_stop(), process_continue(),
      cgroup_disks(), cgroup_look(), cgroup_usage(), cgroup_limit(), cgroup_restore(),
      process_descriptors(), process_limit_descriptors(), process_restore_descriptors(),
      process_signal(), process_fate(), process_revive(), process_stutter(), process_rhythm(),
      process_syscalls(), process_tamper_syscalls(),
      net_resolve(), net_control_path(), net_watch(),
      net_capabilities(), net_impair(), net_restore(),
      net_connections(), net_cut(), net_cut_done(),
      host_cpu_use(), host_memory_use(), host_space(), host_disk_use(), host_clock_use(), host_burden(), host_unburden(),
  };
  return table;
}

}  // namespace capsize
