#include "injector/net/socket_holder.h"

#include <linux/netlink.h>

#include <fstream>
#include <sstream>

#include "injector/netlink/network_namespace.h"
#include "injector/targets/process.h"

namespace capsize {
namespace {

// The socket's inode, by the kernel's list of the namespace that the thread is in; 0: not in it.
std::uint64_t inode_of_socket(std::uint32_t port) {
  std::ifstream list("/proc/thread-self/net/netlink");
  std::string line;
  std::getline(list, line);  // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
  while (std::getline(list, line)) {
    std::istringstream words(line);
    std::string address, groups, received, written, dump, locks, drops;
    int protocol = -1;
    std::uint32_t found = 0;
    std::uint64_t inode = 0;
    words >> address >> protocol >> found >> groups >> received >> written >> dump >> locks >> drops >> inode;
    if (words && protocol == NETLINK_NETFILTER && found == port) return inode;
  }
  return 0;
}

}  // namespace

SocketHolder find_netlink_holder(const NetworkNamespace& place, std::uint32_t port) {
  std::uint64_t inode = 0;
  in_network_namespace(place, [&] { inode = inode_of_socket(port); });
  if (inode == 0) return {};
  const ProcFs proc;
  for (const int pid : proc.pids()) {
    if (!proc.open_files(pid).holds_socket(inode)) continue;
    const auto look = proc.stat(pid);
    return {pid, look ? look->comm : ""};
  }
  return {};
}

}  // namespace capsize
