#include "injector/netlink/kernel_features.h"

#include <netinet/in.h>

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/inet_diag.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>

#include <cerrno>
#include <functional>

#include "injector/netlink/ifb_module.h"
#include "injector/netlink/netlink_socket.h"
#include "injector/netlink/nft_batch.h"

namespace capsize {
namespace {

constexpr int kLoopback = 1;  // its index, in every network namespace
constexpr int kNew = NLM_F_CREATE | NLM_F_EXCL;

// Removes what it made, so that each is tried on its own.
void try_discipline(const char* kind, std::uint32_t parent, const std::function<void(NetlinkWriter&)>& options) {
  NetlinkSocket socket(NETLINK_ROUTE);
  tcmsg where{};
  where.tcm_ifindex = kLoopback;
  where.tcm_parent = parent;
  where.tcm_handle = parent == TC_H_CLSACT ? TC_H_MAKE(TC_H_CLSACT, 0) : TC_H_MAKE(0x10000u, 0u);
  NetlinkWriter add;
  add.message(RTM_NEWQDISC, kNew, where);
  add.text(TCA_KIND, kind);
  options(add);
  socket.request(std::move(add), std::string("adding the queueing discipline ") + kind);
  NetlinkWriter remove;
  remove.message(RTM_DELQDISC, 0, where);
  socket.request(std::move(remove), std::string("removing the queueing discipline ") + kind);
}

}  // namespace

void try_ifb() {
  const IfbModuleGifts gifts;
  NetlinkSocket socket(NETLINK_ROUTE);
  NetlinkWriter add;
  add.message(RTM_NEWLINK, kNew, ifinfomsg{});
  add.text(IFLA_IFNAME, "capsize-try");
  add.nest(IFLA_LINKINFO, [&] { add.text(IFLA_INFO_KIND, "ifb"); });
  socket.request(std::move(add), "making an ifb device");
}

void try_clsact() {
  try_discipline("clsact", TC_H_CLSACT, [](NetlinkWriter&) {});
}

void try_netem() {
  try_discipline("netem", TC_H_ROOT, [](NetlinkWriter& out) {
    tc_netem_qopt options{};
    options.limit = 1000;
    out.value(TCA_OPTIONS, options);
  });
}

void try_tbf() {
  try_discipline("tbf", TC_H_ROOT, [](NetlinkWriter& out) {
    tc_tbf_qopt options{};
    options.rate.rate = 1'000'000;
    options.limit = 100'000;
    options.buffer = 1'000'000;
    options.rate.linklayer = TC_LINKLAYER_ETHERNET;
    out.nest(TCA_OPTIONS, [&] {
      out.value(TCA_TBF_PARMS, options);
      out.value(TCA_TBF_BURST, std::uint32_t{10'000});
    });
  });
}

void try_sock_destroy() {
  NetlinkSocket socket(NETLINK_SOCK_DIAG);
  inet_diag_req_v2 nobody{};
  nobody.sdiag_family = AF_INET;
  nobody.sdiag_protocol = IPPROTO_TCP;
  nobody.idiag_states = 1u << 1;  // established
  nobody.id.idiag_sport = nobody.id.idiag_dport = htons(1);
  nobody.id.idiag_cookie[0] = nobody.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  NetlinkWriter destroy;
  destroy.message(SOCK_DESTROY, 0, nobody);
  try {
    socket.request(std::move(destroy), "closing a connection by SOCK_DESTROY");
  } catch (const NetlinkError& error) {
    if (error.code() != ENOENT) throw;  // it could, had there been one
  }
}

void try_ipv6() {
  NetlinkSocket socket(NETLINK_ROUTE);
  NetlinkWriter add;
  ifaddrmsg header{};
  header.ifa_family = AF_INET6;
  header.ifa_prefixlen = 128;
  header.ifa_index = kLoopback;
  add.message(RTM_NEWADDR, kNew, header);
  const in6_addr address{{{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}};
  add.value(IFA_LOCAL, address);
  add.value(IFA_ADDRESS, address);
  socket.request(std::move(add), "adding an IPv6 address");
}

void try_administration() {
  NetlinkSocket socket(NETLINK_NETFILTER);
  owner_of_table(socket, NftFamily::inet, "capsize_try");
}

}  // namespace capsize
