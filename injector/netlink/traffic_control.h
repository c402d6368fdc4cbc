// Devices, queueing disciplines and filters, in the kernel's own words: what a device fault puts in place, reads back and takes away. Each call is one
// request, or one dump, to one network namespace. Nothing here replaces what is there: additions are exclusive, removals name one thing.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "injector/netlink/discipline_look.h"  // kRootParent
#include "injector/netlink/netlink_socket.h"
#include "injector/netlink/queue_options.h"

namespace capsize {

struct Link {
  int index = 0;
  std::string name;
  std::string kind;         // "ifb", "veth"; empty for hardware and loopback
  std::string alias;
  std::string master_kind;  // of what took it over: "bridge", "bond", "vrf"; empty: nothing
  std::uint32_t mtu = 0;
  bool up = false;
};
// Whether packets are to be met at it: not where a bridge, a bond or another master has taken it over, as they are met there again (a VRF
// only routes them), and not where it exists to delay packets.
inline bool meets_packets(const Link& link) { return link.kind != "ifb" && (link.master_kind.empty() || link.master_kind == "vrf"); }

struct QueueCounts {
  std::uint64_t passed = 0;  // packets
  std::uint64_t passed_bytes = 0;
  std::uint64_t dropped = 0;
  std::uint64_t waiting = 0;
  std::uint64_t held_back = 0;  // times that a rate let nothing go yet
};

struct Queue {  // a queueing discipline
  int link = 0;
  std::string kind;
  std::uint32_t handle = 0;
  std::uint32_t parent = 0;
  Bytes options;
  QueueCounts counts;
};

inline constexpr std::uint32_t kRootHandle = 0x10000;      // 1:, of the disciplines on a device of ours
inline constexpr std::uint32_t kInnerHandle = 0x20000;     // 2:, below it
inline constexpr std::uint32_t kInnerParent = 0x10001;     // 1:1

struct EgressFilter {
  std::string kind;
  std::uint16_t priority = 0;
  std::uint16_t protocol = 0;  // ETH_P_*, host order
  std::uint32_t handle = 0;
  bool decides = false;  // a BPF program whose answer is the verdict
  Bytes program;         // classic BPF
};

// All throw NetlinkError, with ENODEV when the device is gone. Thread: one at a time.
class TrafficControl {
 public:
  explicit TrafficControl(const NetworkNamespace& place) : socket_(NETLINK_ROUTE, place) {}

  std::vector<Link> links();
  std::optional<Link> link(const std::string& name);

  int create_ifb(const std::string& name, const std::string& alias);  // its index; not yet up
  void set_alias(int link, const std::string& alias);
  void bring_up(int link);
  void remove_link(int link);

  void add_netem(int link, const NetemOptions& options, DelayDistribution distribution, std::uint64_t seed);  // at the root
  void add_tbf(int link, const TbfOptions& options, bool below_netem);
  void open_tbf(int link, const TbfOptions& options, bool below_netem);  // lets what waits there go at once
  std::vector<Queue> queues();  // of all devices

  bool add_clsact(int link);  // false: one was there
  void remove_clsact(int link);
  std::vector<EgressFilter> egress_filters(int link);  // of a device with clsact, as they are asked
  bool has_filters(int link);                          // of either direction
  // A packet with this mark goes to the device `to`; with `unmark` it loses the mark on its way, so that it is met once.
  void add_redirect(int link, std::uint16_t priority, std::uint32_t mark, int to, bool unmark);
  void remove_redirect(int link, std::uint16_t priority, std::uint32_t mark);

 private:
  std::vector<NetlinkReply> filters(int link, std::uint32_t parent);
  NetlinkSocket socket_;
};

// The classic BPF program of a redirect: by it a filter is known as ours.
Bytes redirect_program(std::uint32_t mark);

}  // namespace capsize
