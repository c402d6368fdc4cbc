#include "injector/netlink/ruleset_look.h"

#include <netinet/in.h>
// The kernel's headers come behind libc's, which they then take care not to repeat.
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "injector/netlink/netlink_socket.h"

namespace capsize {
namespace {

constexpr std::uint8_t kIpSetProtocol = 6;  // every kernel that has ipset speaks it

NetlinkWriter nft_request(int type) {
  NetlinkWriter out;
  out.message(NFNL_SUBSYS_NFTABLES << 8 | type, 0, nfgenmsg{NFPROTO_UNSPEC, NFNETLINK_V0, 0});
  return out;
}

template <class Parse, class Out>
void collect(NetlinkSocket& socket, int type, const std::string& what, Parse parse, std::vector<Out>& into) {
  for (const NetlinkReply& reply : socket.dump(nft_request(type), what)) {
    if (auto item = parse(BytesView(reply.payload))) into.push_back(std::move(*item));
  }
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

}  // namespace capsize
