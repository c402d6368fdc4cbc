#include "injector/net/packet_rules.h"

#include <fmt/format.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "injector/net/match_rules.h"
#include "injector/net/queue_engine.h"
#include "injector/netlink/network_namespace.h"
#include "injector/netlink/nft_batch.h"
#include "injector/netlink/packet_sink.h"
#include "injector/netlink/retired_sockets.h"
#include "injector/netlink/traffic_control.h"

namespace capsize {
namespace {

using Kind = RuleAction::Kind;

// Packets are met as they are on the wire. Arriving: once whole (fragments are joined at -400), before connection tracking (-200) and
// before it undoes address translation (-100), ahead of anybody's raw rules (-300), so what is lost here was never seen by this host.
constexpr std::int32_t kArrivePriority = -310;
// Leaving: after everybody's filters (0) and, at postrouting, after source address translation (100).
constexpr std::int32_t kLeavePriority = 310;
constexpr std::size_t kMostDevices = 200;  // of one chain; the kernel takes 256

constexpr const char* kMatched = "capsize: matched";
constexpr const char* kActed = "capsize: acted";

struct Point {  // where packets of a Hook are met
  const char* name;
  std::uint32_t number;
  bool has_socket;  // that sends the packet
};
constexpr Point kPrerouting{"prerouting", NF_INET_PRE_ROUTING, false};
constexpr Point kOutput{"output", NF_INET_LOCAL_OUT, true};
constexpr Point kForward{"forward", NF_INET_FORWARD, false};
constexpr Point kPostrouting{"postrouting", NF_INET_POST_ROUTING, true};

bool refuses(Kind kind) { return kind == Kind::reset || kind == Kind::unreachable || kind == Kind::prohibited; }

// A refusal answers the sender, and a cgroup is known, only before postrouting. Each leaving packet passes exactly one of `output` and `forward`.
std::vector<Point> points_of(Hook hook, Kind kind, bool by_cgroup) {
  if (hook == Hook::arrive) return {kPrerouting};
  if (refuses(kind) || by_cgroup) return {kOutput, kForward};
  return {kPostrouting};
}

template <class T>
BytesView bytes_of(const T& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value};
}

// The devices that packets of this host arrive at.
std::vector<std::string> arrival_devices(const NetworkNamespace& place, std::uint32_t except) {
  std::vector<std::string> out;
  for (const Link& link : TrafficControl(place).links()) {
    if (static_cast<std::uint32_t>(link.index) != except && meets_packets(link)) out.push_back(link.name);
  }
  return out;
}

bool is_there(const Impairment& impairment) {
  try {
    return look_for_table(impairment.place, impairment.name).there;
  } catch (const Error&) {
    return false;
  }
}

Error explained(const NetlinkError& error, const Impairment& impairment) {
  switch (error.code()) {
    case EEXIST:
    case EPERM:  // for want of a privilege, or as the table has another owner
      if (is_there(impairment)) return Error(ErrorKind::changed, fmt::format("a table {} is there already", impairment.name), "plan again: names are never used twice");
      return error;
    case ENODEV: return Error(ErrorKind::changed, error.fact() + " (a network device has disappeared)", "plan again");
    case EAFNOSUPPORT:
    case EOPNOTSUPP:
    case EPROTONOSUPPORT:
    case ENOENT: return Error(ErrorKind::unavailable, error.fact(), "the kernel lacks a part of nf_tables that this needs; see what `capsize doctor` and /boot/config say, as a module: modprobe nf_tables nft_reject_inet nft_numgen nft_compat xt_NFQUEUE");
    default: return error;
  }
}

enum class QueueForm { target, native };

// One batch, written anew for each form of queueing.
class TableWriter {
 public:
  TableWriter(const Impairment& impairment, RuleAction action, QueueForm form) : impairment_(impairment), action_(action), form_(form) {}

  NftBatch write_inet(std::uint16_t sink) {
    family_ = NftFamily::inet;
    batch_.table(family_, impairment_.name);
    for (const Hook hook : {Hook::arrive, Hook::leave}) {
      if (!any(hook)) continue;
      const std::string act = hook == Hook::arrive ? "act_arrive" : "act_leave";
      batch_.chain(family_, impairment_.name, act);
      const RuleAction done = hook == Hook::leave && action_.kind == Kind::drop ? RuleAction{Kind::queue, action_.share, sink} : action_;
      write_action(act, done);
      const bool by_cgroup = std::any_of(impairment_.affected.begin(), impairment_.affected.end(), is_by_cgroup) || std::any_of(impairment_.exempt.begin(), impairment_.exempt.end(), is_by_cgroup);
      for (const Point& point : points_of(hook, action_.kind, by_cgroup)) {
        write_matches(hook, point.name, {point.number, hook == Hook::arrive ? kArrivePriority : kLeavePriority, {}}, point.has_socket, act);
      }
    }
    return std::move(batch_);
  }

  NftBatch write_ingress(const std::vector<std::string>& devices) {
    family_ = NftFamily::netdev;
    batch_.table(family_, impairment_.name);
    batch_.chain(family_, impairment_.name, "act_arrive");
    write_action("act_arrive", action_);
    for (std::size_t first = 0; first < devices.size(); first += kMostDevices) {
      const auto from = devices.begin() + static_cast<std::ptrdiff_t>(first);
      const auto to = devices.begin() + static_cast<std::ptrdiff_t>(std::min(devices.size(), first + kMostDevices));
      write_matches(Hook::arrive, fmt::format("ingress{}", first / kMostDevices), {NF_NETDEV_INGRESS, kArrivePriority, {from, to}}, false, "act_arrive");
    }
    return std::move(batch_);
  }

 private:
  static bool is_by_cgroup(const PacketMatch& match) { return match.hook == Hook::leave && match.cgroup.has_value(); }
  bool any(Hook hook) const {
    return std::any_of(impairment_.affected.begin(), impairment_.affected.end(), [&](const PacketMatch& match) { return match.hook == hook; });
  }

  // What the matches need comes before them in the batch.
  void write_matches(Hook hook, const std::string& chain, const NftHook& where, bool has_socket, const std::string& act) {
    batch_.chain(family_, impairment_.name, chain, where);
    MatchRules& matches = rules_.try_emplace(family_, family_).first->second;
    std::vector<NftExpressions> rules;
    if (family_ == NftFamily::netdev) rules.push_back(MatchRules::in_vlan().verdict(NFT_RETURN));
    rules.push_back(MatchRules::neighbour_discovery().verdict(NFT_RETURN));
    if (refuses(action_.kind)) {
      for (NftExpressions& rule : MatchRules::answers_of_refusals()) rules.push_back(std::move(rule.verdict(NFT_RETURN)));
    }
    if (action_.kind == Kind::queue) rules.push_back(std::move(NftExpressions().meta(NFT_META_MARK).equals(bytes_of(impairment_.mark)).verdict(NFT_RETURN)));
    const auto add = [&](const std::vector<PacketMatch>& list, std::int32_t verdict, const std::string& to) {
      for (const PacketMatch& match : list) {
        if (match.hook != hook || (!has_socket && (match.user || match.cgroup))) continue;
        for (NftExpressions& rule : matches.write(match)) rules.push_back(std::move(rule.verdict(verdict, to)));
      }
    };
    add(impairment_.exempt, NFT_RETURN, "");
    add(impairment_.affected, NFT_GOTO, act);
    for (; sets_written_ < matches.sets().size(); ++sets_written_) batch_.set(family_, impairment_.name, matches.sets()[sets_written_]);
    for (const NftExpressions& rule : rules) batch_.rule(family_, impairment_.name, chain, rule);
  }

  void write_action(const std::string& chain, const RuleAction& action) {
    batch_.rule(family_, impairment_.name, chain, NftExpressions().counter(), kMatched);
    const auto act = [&](NftExpressions rule) { batch_.rule(family_, impairment_.name, chain, rule, kActed); };
    const auto chosen = [&] { return std::move(NftExpressions().chance(action.share).counter()); };
    switch (action.kind) {
      case Kind::drop: return act(chosen().verdict(NF_DROP));
      case Kind::unreachable: return act(chosen().reject(NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_HOST_UNREACH));
      case Kind::prohibited: return act(chosen().reject(NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED));
      case Kind::mark: return act(chosen().load(bytes_of(action.value)).set_meta(NFT_META_MARK));
      case Kind::forward: return act(chosen().load(bytes_of(action.value)).forward());
      case Kind::queue: {
        const auto number = static_cast<std::uint16_t>(action.value);
        return act(form_ == QueueForm::target ? chosen().queue(number) : chosen().native_queue(number));
      }
      case Kind::reset: {
        const Bytes tcp = {IPPROTO_TCP};
        act(NftExpressions().meta(NFT_META_L4PROTO).equals(tcp).chance(action.share).counter().reject(NFT_REJECT_TCP_RST, 0));
        return act(NftExpressions().meta(NFT_META_L4PROTO).compare(NFT_CMP_NEQ, tcp).chance(action.share).counter().reject(NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_PORT_UNREACH));
      }
    }
  }

  const Impairment& impairment_;
  RuleAction action_;
  QueueForm form_;
  NftFamily family_ = NftFamily::inet;
  NftBatch batch_;
  std::map<NftFamily, MatchRules> rules_;
  std::size_t sets_written_ = 0;
};

void check_is_possible(const Impairment& impairment, const RuleAction& action) {
  if (impairment.affected.empty()) throw Error(ErrorKind::bug, "an impairment of no packets");
  for (const auto* list : {&impairment.affected, &impairment.exempt}) {
    for (const PacketMatch& match : *list) {
      if (match.hook == Hook::arrive && (match.user || match.cgroup)) throw Error(ErrorKind::bug, "no user or cgroup is known of an arriving packet: " + describe(match));
    }
  }
  for (const PacketMatch& match : impairment.affected) {
    if (match.hook == Hook::leave && action.kind == Kind::forward) throw Error(ErrorKind::bug, "only arriving packets are forwarded by rules: " + describe(match));
  }
}

}  // namespace

struct PacketRules::Impl {
  std::string name;
  NftFamily family = NftFamily::inet;
  std::optional<NetlinkSocket> socket;
  std::optional<std::uint16_t> sink;
  std::optional<RuleCounts> last;  // of when it was disarmed
  std::uint64_t place = 0;         // inode of the network namespace

  void add(const Impairment& impairment, const RuleAction& action) {
    const std::string what = fmt::format("adding the nftables table {}", name);
    if (action.kind == Kind::forward) {
      const std::vector<std::string> devices = arrival_devices(impairment.place, action.value);
      if (devices.empty()) throw Error(ErrorKind::unavailable, "there is no network device for packets to arrive at", "name another network namespace");
      socket.emplace(NETLINK_NETFILTER, impairment.place);
      family = NftFamily::netdev;
      return TableWriter(impairment, action, QueueForm::native).write_ingress(devices).commit(*socket, what);
    }
    socket.emplace(NETLINK_NETFILTER, impairment.place);
    const bool swallows = action.kind == Kind::drop && std::any_of(impairment.affected.begin(), impairment.affected.end(), [](const PacketMatch& match) { return match.hook == Hook::leave; });
    if (swallows) sink = bind_packet_sink(*socket, impairment.mark);
    const auto write = [&](QueueForm form) { TableWriter(impairment, action, form).write_inet(sink.value_or(0)).commit(*socket, what); };
    if (!swallows && action.kind != Kind::queue) return write(QueueForm::native);
    // Tried once: asking for a form that is not there may have the kernel look for a module each time.
    static std::optional<QueueForm> known;
    if (known) return write(*known);
    try {
      write(QueueForm::native);
      known = QueueForm::native;
      return;
    } catch (const NetlinkError& error) {
      if (error.code() != ENOENT && error.code() != EOPNOTSUPP) throw;
    }
    write(QueueForm::target);
    known = QueueForm::target;
  }
};

PacketRules::PacketRules(const Impairment& impairment, RuleAction action) : impl_(std::make_unique<Impl>()) {
  check_is_possible(impairment, action);
  impl_->name = impairment.name;
  impl_->place = look_up_network_namespace(impairment.place.path).inode;
  close_retired();
  try {
    impl_->add(impairment, action);
  } catch (const NetlinkError& error) {
    throw explained(error, impairment);
  }
}

PacketRules::~PacketRules() { remove(); }

RuleCounts PacketRules::counts() {
  if (impl_->last) return *impl_->last;
  RuleCounts out;
  bool there = false;
  if (impl_->socket) {
    for (const NftCount& count : read_counters(*impl_->socket, impl_->family, impl_->name)) {
      if (count.comment == kActed) out.acted += count.packets;
      if (count.comment != kMatched) continue;
      there = true;
      out.matched += count.packets;
      out.matched_bytes += count.bytes;
    }
  }
  if (!there) throw Error(ErrorKind::changed, fmt::format("the table {} is gone", impl_->name), "its network namespace has ended, or it was removed");
  return out;
}

void PacketRules::disarm() noexcept {
  if (!impl_->socket || impl_->last) return;
  try {
    impl_->last = counts();
    NftBatch batch;
    batch.delete_rules(impl_->family, impl_->name);
    batch.commit(*impl_->socket, "removing the rules of the nftables table " + impl_->name);
  } catch (const std::exception&) {
    impl_->last.emplace();  // the table is gone, and its rules with it; or it goes next, with remove()
  }
}

void PacketRules::remove() noexcept {
  if (!impl_->socket) return;
  const QueuesGiveWay nothing_is_held(impl_->place);
  try {
    NftBatch batch;
    batch.delete_table(impl_->family, impl_->name);
    batch.commit(*impl_->socket, "removing the nftables table " + impl_->name);
    if (impl_->sink) unbind_packet_sink(*impl_->socket, *impl_->sink);
    retire(std::move(*impl_->socket));
  } catch (const std::exception&) {
    // Then it goes with the socket.
  }
  impl_->socket.reset();
}

TableLook look_for_table(const NetworkNamespace& place, const std::string& name) {
  NetlinkSocket socket(NETLINK_NETFILTER, place);
  for (const NftFamily family : {NftFamily::inet, NftFamily::netdev}) {
    if (const auto owner = owner_of_table(socket, family, name)) return {true, *owner};
  }
  return {};
}

}  // namespace capsize
