#include "injector/net/traffic.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/net/json_parts.h"

namespace capsize {
namespace {

constexpr std::size_t kShown = 3;  // items of a list that a sentence names

std::string quoted(std::string_view text) { return "\"" + printable(text, 60) + "\""; }

std::optional<unsigned> number(std::string_view text, unsigned most) {
  unsigned value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool plain = !text.empty() && text.size() <= 5 && text.front() != '+' && (text.size() == 1 || text.front() != '0');
  if (!plain || result.ec != std::errc() || result.ptr != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

std::array<std::uint8_t, 16> masked(const std::array<std::uint8_t, 16>& bytes, int prefix) {
  std::array<std::uint8_t, 16> out{};
  for (int i = 0; i < 16; ++i) {
    const int bits = std::clamp(prefix - 8 * i, 0, 8);
    out[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(bytes[static_cast<std::size_t>(i)] & (0xff00u >> bits));
  }
  return out;
}

bool is_mapped(const AddressBlock& block) {
  constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return block.v6 && block.prefix >= 96 && std::equal(kMapped.begin(), kMapped.end(), block.bytes.begin());
}

template <class T>
std::string shortened(const std::vector<T>& items) {
  std::string out;
  for (std::size_t i = 0; i < std::min(items.size(), kShown); ++i) out += (i == 0 ? "" : ", ") + show(items[i]);
  return items.size() > kShown ? fmt::format("{} and {} more", out, items.size() - kShown) : out;
}

std::string ends(const Side& side) {
  if (side.addresses.empty() && side.ports.empty()) return "";
  const std::string ports = side.ports.empty() ? "" : fmt::format("port{} {}", side.ports.size() > 1 || side.ports[0].first != side.ports[0].last ? "s" : "", shortened(side.ports));
  if (side.addresses.empty()) return ports;
  const AddressBlock& first = side.addresses.front();
  const bool is_endpoint = side.addresses.size() == 1 && first.prefix == (first.v6 ? 128 : 32) && side.ports.size() == 1;
  if (is_endpoint) return fmt::format("{}:{}", first.v6 ? "[" + show(first) + "]" : show(first), show(side.ports[0]));
  return shortened(side.addresses) + (ports.empty() ? "" : " " + ports);
}

Json to_json(const Side& side) {
  Json out = Json::object();
  for (const AddressBlock& block : side.addresses) out["addresses"].push_back(show(block));
  for (const PortRange& range : side.ports) out["ports"].push_back(show(range));
  return out;
}

Side side_from_json(const Json& json) {
  const JsonParts parts(json, "one side of a packet", {"addresses", "ports"});
  Side side;
  for (const Json& item : parts.list("addresses")) side.addresses.push_back(parts.read(parse_address_block(parts.text_of(item))));
  for (const Json& item : parts.list("ports")) side.ports.push_back(parts.read(parse_port_range(parts.text_of(item))));
  return side;
}

constexpr std::array<std::pair<Protocol, std::string_view>, 4> kProtocols = {
    {{Protocol::any, "any"}, {Protocol::tcp, "tcp"}, {Protocol::udp, "udp"}, {Protocol::icmp, "icmp"}}};
constexpr std::array<std::pair<Hook, std::string_view>, 2> kHooks = {{{Hook::arrive, "arrive"}, {Hook::leave, "leave"}}};

}  // namespace

Parsed<AddressBlock> parse_address_block(std::string_view text) {
  const Mistake mistake{quoted(text) + " is not an address", "write an IPv4 or IPv6 address or block, as \"10.0.0.7\", \"10.0.0.0/8\" or \"fd00::/8\""};
  const std::size_t slash = text.find('/');
  const std::string address(text.substr(0, slash));
  if (address.size() > 64 || address.find('\0') != std::string::npos) return mistake;
  AddressBlock block;
  block.v6 = address.find(':') != std::string::npos;
  if (::inet_pton(block.v6 ? AF_INET6 : AF_INET, address.c_str(), block.bytes.data()) != 1) return mistake;
  block.prefix = block.v6 ? 128 : 32;
  if (slash != std::string_view::npos) {
    const auto prefix = number(text.substr(slash + 1), static_cast<unsigned>(block.prefix));
    if (!prefix) return Mistake{quoted(text) + " has no such prefix", fmt::format("write a length from 0 to {} behind the slash", block.prefix)};
    block.prefix = static_cast<int>(*prefix);
  }
  if (is_mapped(block)) {
    AddressBlock plain{false, {}, block.prefix - 96};
    std::copy(block.bytes.begin() + 12, block.bytes.end(), plain.bytes.begin());
    return Mistake{quoted(text) + " is an IPv4 address in IPv6 notation, which no packet carries", "write \"" + show(plain) + "\""};
  }
  const auto whole = block.bytes;
  block.bytes = masked(whole, block.prefix);
  if (block.bytes != whole) return Mistake{quoted(text) + " has bits behind its prefix", "write \"" + show(block) + "\" for the block, or \"" + address + "\" for the one address"};
  return block;
}

std::string show(const AddressBlock& block) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(block.v6 ? AF_INET6 : AF_INET, block.bytes.data(), text, sizeof text);
  return block.prefix == (block.v6 ? 128 : 32) ? std::string(text) : fmt::format("{}/{}", text, block.prefix);
}

bool contains(const AddressBlock& block, const AddressBlock& inner) {
  return block.v6 == inner.v6 && block.prefix <= inner.prefix && masked(inner.bytes, block.prefix) == block.bytes;
}

Parsed<PortRange> parse_port_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto first = number(text.substr(0, dash), 65535);
  const auto last = dash == std::string_view::npos ? first : number(text.substr(dash + 1), 65535);
  if (!first || !last || *first == 0) return Mistake{quoted(text) + " is not a port", "write one from 1 to 65535, or a range, as \"8080\" or \"8000-8100\""};
  if (*first > *last) return Mistake{quoted(text) + " ends before it begins", fmt::format("write \"{}-{}\"", *last, *first)};
  return PortRange{static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
}

std::string show(const PortRange& range) {
  return range.first == range.last ? std::to_string(range.first) : fmt::format("{}-{}", range.first, range.last);
}

Json to_json(const PacketMatch& match) {
  Json out = {{"hook", word_for(kHooks, match.hook)}, {"protocol", word_for(kProtocols, match.protocol)}, {"source", to_json(match.source)}, {"destination", to_json(match.destination)}};
  if (match.user) out["user"] = *match.user;
  if (match.cgroup) out["cgroup"] = *match.cgroup;
  return out;
}

PacketMatch packet_match_from_json(const Json& json) {
  const JsonParts parts(json, "a packet match", {"hook", "protocol", "source", "destination", "user", "cgroup"});
  PacketMatch match;
  match.hook = parts.word("hook", kHooks);
  match.protocol = parts.word("protocol", kProtocols);
  match.source = side_from_json(parts.at("source"));
  match.destination = side_from_json(parts.at("destination"));
  if (parts.has("user")) match.user = parts.number<std::uint32_t>("user");
  if (parts.has("cgroup")) match.cgroup = parts.text("cgroup");
  return match;
}

std::string describe(const PacketMatch& match) {
  std::string out = match.protocol == Protocol::any ? "packets" : std::string(word_for(kProtocols, match.protocol)) + " packets";
  if (const std::string from = ends(match.source); !from.empty()) out += " from " + from;
  if (const std::string to = ends(match.destination); !to.empty()) out += " to " + to;
  if (match.user) out += fmt::format(" of user {}", *match.user);
  if (match.cgroup) out += " of cgroup " + printable(*match.cgroup);
  return out + (match.hook == Hook::arrive ? " arriving" : " leaving");
}

Json to_json(const NetworkNamespace& place) { return {{"path", place.path}, {"inode", place.inode}}; }

NetworkNamespace network_namespace_from_json(const Json& json) {
  const JsonParts parts(json, "a network namespace", {"path", "inode"});
  return {parts.text("path"), parts.number<std::uint64_t>("inode")};
}

}  // namespace capsize
