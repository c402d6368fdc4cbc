// Which process has a netlink socket: the kernel names the owner of an nftables table by the socket's port.
#pragma once
#include <cstdint>
#include <string>

#include "injector/net/traffic.h"

namespace capsize {

struct SocketHolder {
  int pid = 0;  // 0: not to be seen from here
  std::string name;
};
// The first process with that socket open, by /proc.
SocketHolder find_netlink_holder(const NetworkNamespace& place, std::uint32_t port);

}  // namespace capsize
