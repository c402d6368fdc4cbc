// The ops on cgroups: looks, and limits put on a process and taken back.
#pragma once
#include "injector/op_type.h"

namespace capsize {

// {"identities", "controller"} -> {"nonce", "groups": [what placement.h decides from, for the processes that are in one cgroup]}
OpType cgroup_look();
// {"watched": [{"identities", "cgroup", "limit": {"file", "key", "set"}, "devices"?}], "controller", "window_ms"} -> {"window_s", "groups": [...]}: what is used, and
// the limits in place; of those devices how much a second, once a cgroup counts it: {"8:0": {"read", "written"}}
OpType cgroup_usage();
// {"path"?} -> {"disks": [{"device", "name"}]}: that which holds the path, else all
OpType cgroup_disks();
OpType cgroup_limit();    // args: a LimitStep
OpType cgroup_restore();  // its undo

}  // namespace capsize
