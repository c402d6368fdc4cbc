// The devices of a network namespace, their queueing disciplines, and the filters that steer packets between them, as the kernel tells
// them. Looks only.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "injector/net/traffic.h"
#include "injector/netlink/netlink_message.h"

namespace capsize {

struct NetworkDevice {
  int index = 0;
  std::string name;
  std::string kind;  // "ifb", "veth", "bridge"; empty: a real one, or lo
  bool up = false;
};

struct QueueDiscipline {
  int device = 0;            // index
  std::string kind;          // "netem", "tbf", "fq_codel"
  std::uint32_t handle = 0;  // 0: the kernel's own default
  std::uint32_t parent = 0;  // kRootParent, or a class of another discipline
  std::string settings;      // of netem and tbf, as people write them: "delay 100ms, loss 2 %"
};
inline constexpr std::uint32_t kRootParent = 0xffffffffu;

struct TrafficFilter {
  int device = 0;
  std::string kind;            // "bpf", "u32", "flower", "matchall"
  std::uint32_t parent = 0;    // what it hangs on: a discipline's handle, or kClsactIn, kClsactOut
  std::uint32_t handle = 0;
  int preference = 0;
  int protocol = 0;            // an ethertype
  int redirects_to = 0;        // index of the device its packets go to instead; 0: nowhere else
  double drops = 0;            // share of its packets, chosen at random, that it drops; 0: none, or all of them on purpose
};
inline constexpr std::uint32_t kClsactIn = 0xfffffff2u;   // tc's words: "ingress" and "egress"
inline constexpr std::uint32_t kClsactOut = 0xfffffff3u;
inline constexpr std::uint32_t kIngress = 0xffff0000u;    // the older discipline "ingress", and clsact itself

std::string show_handle(std::uint32_t handle);  // "8001:", "1:3"

// Payload of one answer; nothing for what is not of that form. Pure.
std::optional<NetworkDevice> parse_device(BytesView payload);
std::optional<QueueDiscipline> parse_discipline(BytesView payload);
std::optional<TrafficFilter> parse_filter(BytesView payload);

struct DisciplineLook {
  std::vector<NetworkDevice> devices;
  std::vector<QueueDiscipline> disciplines;
  std::vector<TrafficFilter> filters;  // of every discipline that the tree of its device shows
};
// Needs no privilege. Throws Error. Thread: any.
DisciplineLook look_at_disciplines(const NetworkNamespace& place);

}  // namespace capsize
