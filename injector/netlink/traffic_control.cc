#include "injector/netlink/traffic_control.h"

#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/gen_stats.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/tc_act/tc_skbedit.h>

#include <cerrno>

namespace capsize {
namespace {

constexpr int kNew = NLM_F_CREATE | NLM_F_EXCL;
constexpr std::uint32_t kIfbQueue = 1000;  // packets on their way through an ifb; with its default of 32 a fast sender stutters
constexpr std::uint32_t kIfbMtu = 1000;    // larger packets pass all the same, but below 1280 it gets no IPv6, and sends nothing of its own
constexpr std::uint32_t kClsactHandle = TC_H_MAKE(TC_H_CLSACT, 0);
constexpr std::uint64_t kOpenRate = 1'000'000'000'000;  // bytes a second

ifinfomsg link_header(int index) {
  ifinfomsg out{};
  out.ifi_index = index;
  return out;
}

tcmsg tc_header(int link, std::uint32_t parent, std::uint32_t handle) {
  tcmsg out{};
  out.tcm_ifindex = link;
  out.tcm_parent = parent;
  out.tcm_handle = handle;
  return out;
}

template <class Header>
std::optional<Header> header_of(const NetlinkReply& reply) {
  if (reply.payload.size() < sizeof(Header)) return std::nullopt;
  Header out;
  std::memcpy(&out, reply.payload.data(), sizeof out);
  return out;
}

Link link_of(const ifinfomsg& header, const Attributes& attributes) {
  Link out;
  out.index = header.ifi_index;
  out.up = (header.ifi_flags & IFF_UP) != 0;
  out.name = attributes.text(IFLA_IFNAME);
  out.alias = attributes.text(IFLA_IFALIAS);
  out.mtu = attributes.value<std::uint32_t>(IFLA_MTU).value_or(0);
  const Attributes info = attributes.nested(IFLA_LINKINFO);
  out.kind = info.text(IFLA_INFO_KIND);
  if (attributes.find(IFLA_MASTER)) out.master_kind = info.find(IFLA_INFO_SLAVE_KIND) ? info.text(IFLA_INFO_SLAVE_KIND) : "unknown";
  return out;
}

QueueCounts counts_of(const Attributes& queue) {
  QueueCounts out;
  const Attributes stats = queue.nested(TCA_STATS2);
  const auto basic = stats.value<gnet_stats_basic>(TCA_STATS_BASIC).value_or(gnet_stats_basic{});
  out.passed_bytes = basic.bytes;
  out.passed = stats.value<std::uint64_t>(TCA_STATS_PKT64).value_or(basic.packets);
  const auto queued = stats.value<gnet_stats_queue>(TCA_STATS_QUEUE).value_or(gnet_stats_queue{});
  out.dropped = queued.drops;
  out.waiting = queued.qlen;
  out.held_back = queued.overlimits;
  return out;
}

std::uint32_t tbf_parent(bool below_netem) { return below_netem ? kInnerParent : TC_H_ROOT; }
std::uint32_t tbf_handle(bool below_netem) { return below_netem ? kInnerHandle : kRootHandle; }

}  // namespace

Bytes redirect_program(std::uint32_t mark) {
  const sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3),  // a packet in a VLAN was met when it entered that
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_MARK)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, mark, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(code);
  return {bytes, bytes + sizeof code};
}

std::vector<Link> TrafficControl::links() {
  NetlinkWriter query;
  query.message(RTM_GETLINK, 0, ifinfomsg{});
  std::vector<Link> out;
  for (const NetlinkReply& reply : socket_.dump(std::move(query), "listing the network devices")) {
    const auto header = header_of<ifinfomsg>(reply);
    if (header && reply.type == RTM_NEWLINK) out.push_back(link_of(*header, reply.attributes<ifinfomsg>()));
  }
  return out;
}

std::optional<Link> TrafficControl::link(const std::string& name) {
  NetlinkWriter query;
  query.message(RTM_GETLINK, 0, ifinfomsg{});
  query.text(IFLA_IFNAME, name);
  try {
    for (const NetlinkReply& reply : socket_.request(std::move(query), "looking for the network device " + name)) {
      const auto header = header_of<ifinfomsg>(reply);
      if (header && reply.type == RTM_NEWLINK) return link_of(*header, reply.attributes<ifinfomsg>());
    }
  } catch (const NetlinkError& error) {
    if (error.code() != ENODEV) throw;
  }
  return std::nullopt;
}

int TrafficControl::create_ifb(const std::string& name, const std::string& alias) {
  const std::string what = "adding the ifb device " + name;
  NetlinkWriter message;
  message.message(RTM_NEWLINK, kNew, ifinfomsg{});
  message.text(IFLA_IFNAME, name);
  message.value(IFLA_TXQLEN, kIfbQueue);
  message.value(IFLA_MTU, kIfbMtu);
  message.nest(IFLA_LINKINFO, [&] { message.text(IFLA_INFO_KIND, "ifb"); });
  socket_.request(std::move(message), what);
  const auto made = link(name);
  if (!made) throw NetlinkError(ENODEV, what + ": it is gone again", "something on this host removes unknown network devices");
  set_alias(made->index, alias);
  return made->index;
}

void TrafficControl::set_alias(int link, const std::string& alias) {
  NetlinkWriter message;
  message.message(RTM_SETLINK, 0, link_header(link));
  message.data(IFLA_IFALIAS, {reinterpret_cast<const std::uint8_t*>(alias.data()), alias.size()});
  socket_.request(std::move(message), "naming our ifb device");
}

void TrafficControl::bring_up(int link) {
  ifinfomsg header = link_header(link);
  header.ifi_flags = IFF_UP;
  header.ifi_change = IFF_UP;
  NetlinkWriter message;
  message.message(RTM_SETLINK, 0, header);
  socket_.request(std::move(message), "bringing our ifb device up");
}

void TrafficControl::remove_link(int link) {
  NetlinkWriter message;
  message.message(RTM_DELLINK, 0, link_header(link));
  socket_.request(std::move(message), "removing our ifb device");
}

void TrafficControl::add_netem(int link, const NetemOptions& options, DelayDistribution distribution, std::uint64_t seed) {
  NetlinkWriter message;
  message.message(RTM_NEWQDISC, kNew, tc_header(link, TC_H_ROOT, kRootHandle));
  message.text(TCA_KIND, "netem");
  message.data(TCA_OPTIONS, encode(options, distribution, seed));
  socket_.request(std::move(message), "adding netem to our ifb device");
}

void TrafficControl::add_tbf(int link, const TbfOptions& options, bool below_netem) {
  NetlinkWriter message;
  // Below netem there is a default one, of ours: that is replaced.
  message.message(RTM_NEWQDISC, below_netem ? NLM_F_CREATE | NLM_F_REPLACE : kNew, tc_header(link, tbf_parent(below_netem), tbf_handle(below_netem)));
  message.text(TCA_KIND, "tbf");
  message.data(TCA_OPTIONS, encode(options));
  socket_.request(std::move(message), "adding tbf to our ifb device");
}

void TrafficControl::open_tbf(int link, const TbfOptions& options, bool below_netem) {
  TbfOptions open = options;
  open.rate = kOpenRate;
  NetlinkWriter message;
  message.message(RTM_NEWQDISC, 0, tc_header(link, tbf_parent(below_netem), tbf_handle(below_netem)));
  message.text(TCA_KIND, "tbf");
  message.data(TCA_OPTIONS, encode(open));
  socket_.request(std::move(message), "opening tbf on our ifb device");
}

std::vector<Queue> TrafficControl::queues() {
  NetlinkWriter query;
  query.message(RTM_GETQDISC, 0, tcmsg{});
  std::vector<Queue> out;
  for (const NetlinkReply& reply : socket_.dump(std::move(query), "listing the queueing disciplines")) {
    const auto header = header_of<tcmsg>(reply);
    if (!header || reply.type != RTM_NEWQDISC) continue;
    const Attributes queue = reply.attributes<tcmsg>();
    const BytesView options = queue.find(TCA_OPTIONS).value_or(BytesView());
    out.push_back({header->tcm_ifindex, queue.text(TCA_KIND), header->tcm_handle, header->tcm_parent, Bytes(options.begin(), options.end()), counts_of(queue)});
  }
  return out;
}

bool TrafficControl::add_clsact(int link) {
  NetlinkWriter message;
  message.message(RTM_NEWQDISC, kNew, tc_header(link, TC_H_CLSACT, kClsactHandle));
  message.text(TCA_KIND, "clsact");
  try {
    socket_.request(std::move(message), fmt::format("adding clsact to network device {}", link));
    return true;
  } catch (const NetlinkError& error) {
    if (error.code() != EEXIST) throw;
    return false;
  }
}

void TrafficControl::remove_clsact(int link) {
  NetlinkWriter message;
  message.message(RTM_DELQDISC, 0, tc_header(link, TC_H_CLSACT, kClsactHandle));
  message.text(TCA_KIND, "clsact");
  socket_.request(std::move(message), fmt::format("removing our clsact from network device {}", link));
}

std::vector<NetlinkReply> TrafficControl::filters(int link, std::uint32_t parent) {
  NetlinkWriter query;
  query.message(RTM_GETTFILTER, 0, tc_header(link, parent, 0));
  auto out = socket_.dump(std::move(query), fmt::format("listing the filters of network device {}", link));
  // One with handle 0 stands for all of its priority.
  std::erase_if(out, [](const NetlinkReply& reply) { return reply.type != RTM_NEWTFILTER || header_of<tcmsg>(reply).value_or(tcmsg{}).tcm_handle == 0; });
  return out;
}

bool TrafficControl::has_filters(int link) { return !filters(link, kClsactOut).empty() || !filters(link, kClsactIn).empty(); }

std::vector<EgressFilter> TrafficControl::egress_filters(int link) {
  std::vector<EgressFilter> out;
  for (const NetlinkReply& reply : filters(link, kClsactOut)) {
    const auto header = header_of<tcmsg>(reply);
    const Attributes filter = reply.attributes<tcmsg>();
    const Attributes options = filter.nested(TCA_OPTIONS);
    EgressFilter one;
    one.kind = filter.text(TCA_KIND);
    one.priority = static_cast<std::uint16_t>(TC_H_MAJ(header->tcm_info) >> 16);
    one.protocol = ntohs(static_cast<std::uint16_t>(TC_H_MIN(header->tcm_info)));
    one.handle = header->tcm_handle;
    if (one.kind == "bpf") {
      one.decides = (options.value<std::uint32_t>(TCA_BPF_FLAGS).value_or(0) & TCA_BPF_FLAG_ACT_DIRECT) != 0;
      const BytesView program = options.find(TCA_BPF_OPS).value_or(BytesView());
      one.program.assign(program.begin(), program.end());
    }
    out.push_back(std::move(one));
  }
  return out;
}

void TrafficControl::add_redirect(int link, std::uint16_t priority, std::uint32_t mark, int to, bool unmark) {
  tcmsg header = tc_header(link, kClsactOut, mark);
  header.tcm_info = TC_H_MAKE(std::uint32_t{priority} << 16, htons(ETH_P_ALL));
  const Bytes program = redirect_program(mark);
  NetlinkWriter message;
  message.message(RTM_NEWTFILTER, kNew, header);
  message.text(TCA_KIND, "bpf");
  int order = 0;
  const auto action = [&](const char* kind, int type, const auto& parameters, const auto& more) {
    message.nest(++order, [&] {
      message.text(TCA_ACT_KIND, kind);
      message.nest(TCA_ACT_OPTIONS, [&] {
        message.value(type, parameters);
        more();
      });
    });
  };
  message.nest(TCA_OPTIONS, [&] {
    message.nest(TCA_BPF_ACT, [&] {
      tc_skbedit edit{};
      edit.action = TC_ACT_PIPE;
      if (unmark) action("skbedit", TCA_SKBEDIT_PARMS, edit, [&] { message.value(TCA_SKBEDIT_MARK, std::uint32_t{0}); });
      tc_mirred redirect{};
      redirect.action = TC_ACT_STOLEN;
      redirect.eaction = TCA_EGRESS_REDIR;
      redirect.ifindex = static_cast<std::uint32_t>(to);
      action("mirred", TCA_MIRRED_PARMS, redirect, [] {});
    });
    message.value(TCA_BPF_OPS_LEN, static_cast<std::uint16_t>(program.size() / sizeof(sock_filter)));
    message.data(TCA_BPF_OPS, program);
  });
  socket_.request(std::move(message), fmt::format("adding a filter to network device {}", link));
}

void TrafficControl::remove_redirect(int link, std::uint16_t priority, std::uint32_t mark) {
  tcmsg header = tc_header(link, kClsactOut, mark);
  header.tcm_info = TC_H_MAKE(std::uint32_t{priority} << 16, htons(ETH_P_ALL));
  NetlinkWriter message;
  message.message(RTM_DELTFILTER, 0, header);
  message.text(TCA_KIND, "bpf");
  socket_.request(std::move(message), fmt::format("removing our filter from network device {}", link));
}

}  // namespace capsize
