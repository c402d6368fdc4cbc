#include "injector/netlink/ruleset_look.h"

#include <netinet/in.h>
#include <unistd.h>
// The kernel's headers come behind libc's, which they then take care not to repeat.
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "injector/netlink/netlink_socket.h"
#include "injector/netlink/network_namespace.h"

namespace capsize {
namespace {

constexpr std::uint8_t kIpSetProtocol = 6;  // every kernel that has ipset speaks it
constexpr int kChangedMeanwhile = 5;        // attempts at a dump that a change interrupts

NetlinkWriter nft_request(int type) {
  NetlinkWriter out;
  out.message(NFNL_SUBSYS_NFTABLES << 8 | type, 0, nfgenmsg{NFPROTO_UNSPEC, NFNETLINK_V0, 0});
  return out;
}

template <class Parse, class Out>
void collect(NetlinkSocket& socket, int type, const std::string& what, Parse parse, std::vector<Out>& into) {
  for (int attempt = 1;; ++attempt) {
    try {
      for (const NetlinkReply& reply : socket.dump(nft_request(type), what)) {
        if (auto item = parse(BytesView(reply.payload))) into.push_back(std::move(*item));
      }
      return;
    } catch (const NetlinkError& error) {
      if (error.code() != EINTR || attempt == kChangedMeanwhile) throw;
      into.clear();
    }
  }
}

// The inode of the netlink socket with that port id: "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode".
std::string socket_inode(std::uint32_t port_id) {
  std::ifstream file("/proc/thread-self/net/netlink");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string pointer, groups, receive, send, dump, locks, drops, inode;
    int protocol = -1;
    std::uint32_t port = 0;
    if (!(words >> pointer >> protocol >> port >> groups >> receive >> send >> dump >> locks >> drops >> inode)) continue;
    if (protocol == NETLINK_NETFILTER && port == port_id) return inode;
  }
  return "";
}

bool has_open(const std::filesystem::path& descriptors, const std::string& link) {
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(descriptors, problem)) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone) == link) return true;
  }
  return false;
}

}  // namespace

PacketRuleset look_at_nftables(const NetworkNamespace& place) {
  NetlinkSocket socket(NETLINK_NETFILTER, place);
  PacketRuleset out;
  collect(socket, NFT_MSG_GETTABLE, "listing the tables of nftables", parse_table, out.tables);
  collect(socket, NFT_MSG_GETCHAIN, "listing the chains of nftables", parse_chain, out.chains);
  collect(socket, NFT_MSG_GETRULE, "listing the rules of nftables", parse_rule, out.rules);
  return out;
}

std::vector<std::string> look_at_ip_sets(const NetworkNamespace& place) {
  NetlinkSocket socket(NETLINK_NETFILTER, place);
  NetlinkWriter message;
  message.message(NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST, 0, nfgenmsg{NFPROTO_IPV4, NFNETLINK_V0, 0});
  message.value(IPSET_ATTR_PROTOCOL, kIpSetProtocol);
  message.be32(IPSET_ATTR_FLAGS | NLA_F_NET_BYTEORDER, IPSET_FLAG_LIST_SETNAME);
  std::vector<std::string> out;
  try {
    for (const NetlinkReply& reply : socket.dump(std::move(message), "listing the sets of ipset")) {
      if (auto name = parse_ip_set(BytesView(reply.payload))) out.push_back(std::move(*name));
    }
  } catch (const NetlinkError& error) {
    if (error.kind() == ErrorKind::privilege) throw;
    out.clear();  // no ipset in this kernel
  }
  return out;
}

std::uint32_t owner_process(const NetworkNamespace& place, std::uint32_t port_id) {
  std::string inode;
  in_network_namespace(place, [&] { inode = socket_inode(port_id); });
  if (inode.empty()) return 0;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", problem)) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") == std::string::npos && has_open(entry.path() / "fd", "socket:[" + inode + "]")) return static_cast<std::uint32_t>(std::stoul(name));
  }
  return 0;
}

}  // namespace capsize
