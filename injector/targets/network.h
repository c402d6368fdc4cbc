// What a network fault is aimed at, as a playbook says it: a service (an address), or a network (sets of addresses, ports and senders).
// Names are still names here; they become addresses when a fault is planned.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/spec.h"
#include "injector/net/traffic.h"
#include "injector/targets/process.h"

namespace capsize {

struct NetworkPeer {  // an address, a block, or a host name
  std::string text;
  friend bool operator==(const NetworkPeer&, const NetworkPeer&) = default;
};
struct UserRef {  // a user's number or name
  std::string text;
  friend bool operator==(const UserRef&, const UserRef&) = default;
};
struct ProcessRef {  // a pid, or the absolute path of a pid file
  std::string text;
  friend bool operator==(const ProcessRef&, const ProcessRef&) = default;
};

#define CAPSIZE_NETWORK_PARAM(Type)              \
  template <>                                    \
  struct ParamTraits<Type> {                     \
    static std::string name();                   \
    static Parsed<Type> parse(const Json& json); \
    static Json schema();                        \
    static Json show(const Type& value);         \
  }
CAPSIZE_NETWORK_PARAM(NetworkPeer);
CAPSIZE_NETWORK_PARAM(UserRef);
CAPSIZE_NETWORK_PARAM(ProcessRef);
CAPSIZE_NETWORK_PARAM(PortRange);
#undef CAPSIZE_NETWORK_PARAM

template <>
struct EnumWords<Protocol> {
  static constexpr std::array<std::pair<Protocol, std::string_view>, 4> words = {
      {{Protocol::any, "any"}, {Protocol::tcp, "tcp"}, {Protocol::udp, "udp"}, {Protocol::icmp, "icmp"}}};
};

enum class ServiceProtocol { tcp, udp };
template <>
struct EnumWords<ServiceProtocol> {
  static constexpr std::array<std::pair<ServiceProtocol, std::string_view>, 2> words = {{{ServiceProtocol::tcp, "tcp"}, {ServiceProtocol::udp, "udp"}}};
};

struct ServiceTarget {
  Address address;  // "0.0.0.0" and "::" stand for every address of the machine
  ServiceProtocol protocol = ServiceProtocol::tcp;
  std::optional<std::string> network_namespace;
  std::optional<ProcessRef> namespace_of;
};
const Spec<ServiceTarget>& service_params();
const AnySpec& service_spec();

struct NetworkTarget {
  std::vector<NetworkPeer> local;
  std::vector<NetworkPeer> peers;
  std::vector<PortRange> local_ports;
  std::vector<PortRange> peer_ports;
  Protocol protocol = Protocol::any;
  std::optional<UserRef> user;
  std::optional<std::string> cgroup;
  std::optional<std::string> network_namespace;
  std::optional<ProcessRef> namespace_of;
};
const Spec<NetworkTarget>& network_params();
const AnySpec& network_spec();

}  // namespace capsize
