// What the tests on the device back end share: impairments at either end of a wire, and what is left of a host's devices and filters.
#pragma once
#include "tests/system/net_hold.h"

namespace capsize::net_test {

// Of packets to that port, met at `hook`: as `near` sends them, or as `far` receives them.
inline Impairment at(const NetPair& net, Hook hook, const PacketEffect& effect, Protocol protocol = Protocol::udp, std::uint16_t port = kPort) {
  Impairment out = impairment(hook == Hook::leave ? net.near : net.far, effect, protocol, port);
  out.backend = ImpairBackend::device;
  out.affected.front().hook = hook;
  return out;
}

inline PacketEffect rate_of(std::uint64_t bytes_per_second) {
  PacketEffect effect;
  effect.rate = RateEffect{bytes_per_second, 20'000, std::chrono::milliseconds(200)};
  return effect;
}

// What a program prints.
inline std::string output_of(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen");
  std::string out;
  std::array<char, 4096> buffer{};
  for (std::size_t size; (size = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), size);
  if (::pclose(pipe) != 0) throw std::runtime_error("failed: " + command);
  return out;
}

inline std::string tc(const NetworkNamespace& place, const std::string& words) { return output_of("tc -n " + name_of(place) + " " + words); }

// A wire whose ends are seen to be up: an operator's look at them changes no more by itself.
struct Wire : NetPair {
  Wire() {
    for (const NetworkNamespace& place : {near, far}) {
      must(eventually([&] { return output_of("ip -n " + name_of(place) + " -brief link show v0").find(" UP ") != std::string::npos; }), "the wire did not come up");
    }
  }
};

// All that an operator can see of devices, disciplines, filters and rules there.
inline std::string messy_look(const NetworkNamespace& place) {
  const std::string in = name_of(place);
  // Without the address that the kernel is still trying out when the wire is new.
  std::string out = output_of("ip -n " + in + " -details addr show | sed '/inet6 fe80/,+1d'");
  out += tc(place, "qdisc show") + tc(place, "class show dev v0");
  if (tc(place, "qdisc show dev v0").find("clsact") != std::string::npos) out += tc(place, "filter show dev v0 egress") + tc(place, "filter show dev v0 ingress");
  in_network_namespace(place, [&] { out += output_of("nft list ruleset"); });
  return out;
}

}  // namespace capsize::net_test
