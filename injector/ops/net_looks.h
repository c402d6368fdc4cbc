// Looks at the network that the faults net.* plan and prove themselves by, for the table in op_catalog.cc.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "injector/op_type.h"
#include "injector/targets/process.h"

namespace capsize {

OpType net_resolve();
OpType net_control_path();
OpType net_watch();

// The connections by which process `self` is controlled; `ssh_session`: as sshd sets SSH_CONNECTION, or empty.
Json find_control_path(const ProcFs& proc, int self, const std::string& ssh_session);

// The nameservers of a resolv.conf. Total.
std::vector<std::string> parse_nameservers(std::string_view text);

}  // namespace capsize
