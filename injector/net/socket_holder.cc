#include "injector/net/socket_holder.h"

#include <fmt/format.h>
#include <linux/netlink.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "injector/netlink/network_namespace.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

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

bool has_open(const fs::path& process, const std::string& wanted) {
  std::error_code problem;
  for (fs::directory_iterator it(process / "fd", problem), end; !problem && it != end; it.increment(problem)) {
    std::error_code gone;
    if (fs::read_symlink(it->path(), gone) == wanted && !gone) return true;
  }
  return false;
}

}  // namespace

SocketHolder find_netlink_holder(const NetworkNamespace& place, std::uint32_t port) {
  std::uint64_t inode = 0;
  in_network_namespace(place, [&] { inode = inode_of_socket(port); });
  if (inode == 0) return {};
  const std::string wanted = fmt::format("socket:[{}]", inode);
  std::error_code problem;
  for (fs::directory_iterator it("/proc", problem), end; !problem && it != end; it.increment(problem)) {
    const std::string name = it->path().filename().string();
    int pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size() || !has_open(it->path(), wanted)) continue;
    SocketHolder holder{pid, {}};
    std::ifstream comm(it->path() / "comm");
    std::getline(comm, holder.name);
    return holder;
  }
  return {};
}

}  // namespace capsize
