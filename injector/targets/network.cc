#include "injector/targets/network.h"

#include <fmt/format.h>

#include <charconv>

namespace capsize {
namespace {

constexpr std::uint32_t kMaxUser = 4'294'967'294;  // the one above is "nobody in particular" to the kernel

bool is_host_name(std::string_view text) {
  if (text.empty() || text.size() > 253 || text.front() == '.' || text.front() == '-') return false;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
    if (!plain) return false;
  }
  return true;
}

// What is meant for an address is not taken for a name.
bool looks_like_address(std::string_view text) { return text.find_first_not_of("0123456789./") == std::string_view::npos || text.find_first_of(":/") != std::string_view::npos; }

std::optional<std::uint32_t> user_number(std::string_view text) {
  std::uint32_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size() || value > kMaxUser) return std::nullopt;
  return value;
}

Rule<std::optional<std::string>> absolute_path() {
  return {[](const std::optional<std::string>& path) -> std::optional<Mistake> {
            if (!path || (path->starts_with('/') && path->find('\0') == std::string::npos)) return std::nullopt;
            return Mistake{"\"" + printable(*path, 60) + "\" is not an absolute path", "begin it with /, as \"/run/netns/blue\""};
          },
          {{"pattern", "^/|\\$\\{"}}};
}

Rule<std::optional<std::string>> below_the_root() {
  return {[](const std::optional<std::string>& path) -> std::optional<Mistake> {
            const bool leaves = path && ("/" + *path + "/").find("/../") != std::string::npos;
            if (!path || (!path->empty() && !path->starts_with('/') && !leaves && path->find('\0') == std::string::npos)) return std::nullopt;
            return Mistake{"\"" + printable(*path, 60) + "\" is not a cgroup", "write its path below the cgroup 2 mount, as \"system.slice/nginx.service\""};
          },
          {{"pattern", "^[^/]"}}};
}

}  // namespace

std::string ParamTraits<NetworkPeer>::name() { return "address, block or host name"; }
Parsed<NetworkPeer> ParamTraits<NetworkPeer>::parse(const Json& json) {
  if (!json.is_string()) return wrong_type(json, "an address, a block or a host name, as \"10.0.0.7\", \"fd00::/8\" or \"db.staging\"");
  const auto& text = json.get_ref<const std::string&>();
  if (looks_like_address(text)) {
    auto block = parse_address_block(text);
    if (auto* mistake = std::get_if<Mistake>(&block)) return std::move(*mistake);
    return NetworkPeer{capsize::show(std::get<AddressBlock>(block))};
  }
  if (!is_host_name(text)) return Mistake{"\"" + printable(text, 60) + "\" is neither an address nor a host name", "write one as \"10.0.0.7\", \"10.0.0.0/8\", \"fd00::/8\" or \"db.staging\""};
  return NetworkPeer{text};
}
Json ParamTraits<NetworkPeer>::schema() { return schema_with_variables({{"type", "string"}, {"pattern", "^[0-9A-Za-z_.:/-]{1,253}$"}}); }
Json ParamTraits<NetworkPeer>::show(const NetworkPeer& value) { return value.text; }

std::string ParamTraits<UserRef>::name() { return "user"; }
Parsed<UserRef> ParamTraits<UserRef>::parse(const Json& json) {
  if (!json.is_string() && !json.is_number_integer()) return wrong_type(json, "a user, as \"www-data\" or 33");
  const std::string text = json.is_string() ? json.get<std::string>() : json.dump();
  const bool is_number = text.find_first_not_of("0123456789") == std::string::npos;
  const bool good = is_number ? user_number(text).has_value() : json.is_string() && std::holds_alternative<Name>(parse_name(text));
  if (!good) return Mistake{"\"" + printable(text, 60) + "\" is not a user", "write a name or a number, as \"www-data\" or 33"};
  return UserRef{text};
}
Json ParamTraits<UserRef>::schema() {
  Json number = {{"type", "integer"}, {"minimum", 0}, {"maximum", kMaxUser}};
  Json text = {{"type", "string"}, {"pattern", "^[A-Za-z0-9_.:@-]{1,128}$"}};
  return schema_with_variables({{"anyOf", Json::array({std::move(number), std::move(text)})}});
}
Json ParamTraits<UserRef>::show(const UserRef& value) { return value.text; }

std::string ParamTraits<ProcessRef>::name() { return "pid or pid file"; }
Parsed<ProcessRef> ParamTraits<ProcessRef>::parse(const Json& json) {
  if (!json.is_string() && !json.is_number_integer()) return wrong_type(json, "a process id or a pid file, as 1234 or \"/run/nginx.pid\"");
  const std::string text = json.is_string() ? json.get<std::string>() : json.dump();
  const bool is_path = text.starts_with('/') && text.find('\0') == std::string::npos;
  if (!is_path && !parse_pid(text)) return Mistake{"\"" + printable(text, 60) + "\" is neither a process id nor an absolute path", "write one as 1234 or \"/run/nginx.pid\""};
  return ProcessRef{text};
}
Json ParamTraits<ProcessRef>::schema() {
  Json number = {{"type", "integer"}, {"minimum", 1}, {"maximum", 4'194'304}};
  Json text = {{"type", "string"}, {"pattern", "^(/.*|[0-9]+)$"}};
  return schema_with_variables({{"anyOf", Json::array({std::move(number), std::move(text)})}});
}
Json ParamTraits<ProcessRef>::show(const ProcessRef& value) { return value.text; }

std::string ParamTraits<PortRange>::name() { return "port or range of ports"; }
Parsed<PortRange> ParamTraits<PortRange>::parse(const Json& json) {
  if (!json.is_string() && !json.is_number_integer()) return wrong_type(json, "a port or a range, as 8080 or \"8000-8100\"");
  return parse_port_range(json.is_string() ? json.get<std::string>() : json.dump());
}
Json ParamTraits<PortRange>::schema() {
  Json number = {{"type", "integer"}, {"minimum", 1}, {"maximum", 65535}};
  Json text = {{"type", "string"}, {"pattern", "^[0-9]{1,5}(-[0-9]{1,5})?$"}};
  return schema_with_variables({{"anyOf", Json::array({std::move(number), std::move(text)})}});
}
Json ParamTraits<PortRange>::show(const PortRange& value) { return capsize::show(value); }

const Spec<ServiceTarget>& service_params() {
  static const auto spec =
      Spec<ServiceTarget>()
          .required("address", &ServiceTarget::address, "where it listens, as \"127.0.0.1:8081\", \"[fd00::7]:443\" or \"db.staging:5432\"; \"0.0.0.0:8081\" and \"[::]:8081\": every address of the machine")
          .optional("protocol", &ServiceTarget::protocol, "what it speaks")
          .optional("network_namespace", &ServiceTarget::network_namespace, "the network namespace it listens in, as \"/run/netns/blue\"; without it, that of the agent", absolute_path())
          .optional("namespace_of", &ServiceTarget::namespace_of, "or that of a process: its id, or its pid file");
  return spec;
}

const AnySpec& service_spec() { return service_params(); }

const Spec<NetworkTarget>& network_params() {
  static const auto spec =
      Spec<NetworkTarget>()
          .optional("local", &NetworkTarget::local, "addresses of this side; without it, any")
          .optional("peers", &NetworkTarget::peers, "addresses of the other side; without it, any")
          .optional("local_ports", &NetworkTarget::local_ports, "ports of this side")
          .optional("peer_ports", &NetworkTarget::peer_ports, "ports of the other side")
          .optional("protocol", &NetworkTarget::protocol, "\"icmp\": of both families; \"any\" with ports: TCP and UDP")
          .optional("user", &NetworkTarget::user, "only what sockets of this user send (direction \"out\")")
          .optional("cgroup", &NetworkTarget::cgroup, "only what sockets of this cgroup send (direction \"out\"): its path below the cgroup 2 mount", below_the_root())
          .optional("network_namespace", &NetworkTarget::network_namespace, "the network namespace that packets are met in, as \"/run/netns/blue\"; without it, that of the agent", absolute_path())
          .optional("namespace_of", &NetworkTarget::namespace_of, "or that of a process, or of a container by the id of one of its processes: a process id, or a pid file");
  return spec;
}

const AnySpec& network_spec() { return network_params(); }

}  // namespace capsize
