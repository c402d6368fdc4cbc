// Which packets a network fault concerns. Plain data: names are resolved by the time one of these exists, so a plan prints what is hit.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/json.h"
#include "injector/base/param_types.h"

namespace capsize {

struct AddressBlock {  // "10.0.0.7", "10.0.0.0/8", "fd00::/8"; the bits beyond the prefix are 0
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};  // an IPv4 address is in the first four
  int prefix = 0;
  friend auto operator<=>(const AddressBlock&, const AddressBlock&) = default;
};
Parsed<AddressBlock> parse_address_block(std::string_view text);
std::string show(const AddressBlock& block);
bool contains(const AddressBlock& block, const AddressBlock& inner);

struct PortRange {  // "8080", "8000-8100"
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  friend auto operator<=>(const PortRange&, const PortRange&) = default;
};
Parsed<PortRange> parse_port_range(std::string_view text);
std::string show(const PortRange& range);

enum class Protocol { any, tcp, udp, icmp };  // icmp: of both families

struct Side {  // one end of a packet; an empty list admits any
  std::vector<AddressBlock> addresses;
  std::vector<PortRange> ports;  // only where the protocol is tcp or udp; with `any` they select tcp and udp packets
  friend bool operator==(const Side&, const Side&) = default;
};

// Where a packet is met.
enum class Hook {
  arrive,  // when it is received: before routing (prerouting), so forwarded ones and those over loopback are met too
  leave,   // when it is sent: after routing (postrouting), or at the device's egress. A packet over loopback leaves and arrives.
};

struct PacketMatch {
  Hook hook = Hook::arrive;
  Side source;
  Side destination;
  Protocol protocol = Protocol::any;
  std::optional<std::uint32_t> user;   // of the socket that sends; only with `leave`
  std::optional<std::string> cgroup;   // path below the cgroup 2 mount, of the socket that sends; only with `leave`
  friend bool operator==(const PacketMatch&, const PacketMatch&) = default;
};
Json to_json(const PacketMatch& match);
PacketMatch packet_match_from_json(const Json& json);  // throws Error::bug for what is not one
std::string describe(const PacketMatch& match);        // "tcp packets to 127.0.0.1:8081 arriving"

// The network namespace that packets are met in. Proven by its inode before anything is done there.
struct NetworkNamespace {
  std::string path;         // "/proc/123/ns/net", "/run/netns/blue"; empty: that of the agent
  std::uint64_t inode = 0;  // of the namespace; 0: not yet looked up
  friend bool operator==(const NetworkNamespace&, const NetworkNamespace&) = default;
};
Json to_json(const NetworkNamespace& place);
NetworkNamespace network_namespace_from_json(const Json& json);  // throws Error::bug

}  // namespace capsize
