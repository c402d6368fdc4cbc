#include "injector/net/match_rules.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "injector/base/diagnostics.h"
#include "injector/net/cgroup_folder.h"

namespace capsize {
namespace {

constexpr std::uint32_t kEtherType = 12;  // offset in the link header
constexpr std::uint32_t kTcpFlags = 13;   // offset in the TCP header
constexpr std::uint8_t kTcpReset = 4;
constexpr std::uint8_t kFirstNeighbourType = 133, kLastNeighbourType = 137;

NftKey be16(std::uint16_t number) { return {{static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number)}, 2}; }

// False when there is no key behind the last one.
bool increment(NftKey& key) {
  for (std::size_t i = key.size; i-- > 0;) {
    if (++key.bytes[i] != 0) return true;
  }
  return false;
}

std::vector<KeyRange> merged(std::vector<KeyRange> ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::vector<KeyRange> out;
  for (KeyRange& range : ranges) {
    NftKey behind = out.empty() ? NftKey() : out.back().last;
    const bool joins = !out.empty() && (!increment(behind) || range.first <= behind);
    if (joins) out.back().last = std::max(out.back().last, range.last);
    else out.push_back(range);
  }
  return out;
}

// The mask, when the range is a block with a prefix.
std::optional<Bytes> mask_of(const KeyRange& range) {
  Bytes mask(range.first.size);
  bool in_prefix = true;
  for (std::size_t i = 0; i < mask.size(); ++i) {
    for (int bit = 7; bit >= 0; --bit) {
      const int low = (range.first.bytes[i] >> bit) & 1, high = (range.last.bytes[i] >> bit) & 1;
      if (in_prefix && low == high) mask[i] = static_cast<std::uint8_t>(mask[i] | 1u << bit);
      else if (low == 0 && high == 1) in_prefix = false;
      else return std::nullopt;
    }
  }
  return mask;
}

bool admits(const Side& side, bool v6) {
  return side.addresses.empty() || std::any_of(side.addresses.begin(), side.addresses.end(), [&](const AddressBlock& block) { return block.v6 == v6; });
}

void write_protocol(NftExpressions& out, std::uint8_t protocol) { out.meta(NFT_META_L4PROTO).equals(Bytes{protocol}); }

template <class T>
Bytes host_order(const T& value) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
  return Bytes(bytes, bytes + sizeof value);
}

std::vector<std::uint8_t> protocols_of(const PacketMatch& match, bool v6) {
  switch (match.protocol) {
    case Protocol::tcp: return {IPPROTO_TCP};
    case Protocol::udp: return {IPPROTO_UDP};
    case Protocol::icmp: return {v6 ? std::uint8_t{IPPROTO_ICMPV6} : std::uint8_t{IPPROTO_ICMP}};
    case Protocol::any: break;
  }
  if (match.source.ports.empty() && match.destination.ports.empty()) return {0};  // any
  return {IPPROTO_TCP, IPPROTO_UDP};
}

}  // namespace

std::vector<KeyRange> key_ranges(const std::vector<AddressBlock>& blocks, bool v6) {
  const std::uint8_t size = v6 ? 16 : 4;
  std::vector<KeyRange> out;
  out.reserve(blocks.size());
  for (const AddressBlock& block : blocks) {
    if (block.v6 != v6) continue;
    KeyRange range{{block.bytes, size}, {block.bytes, size}};
    for (std::size_t bit = static_cast<std::size_t>(block.prefix); bit < size * 8u; ++bit) {
      range.last.bytes[bit / 8] = static_cast<std::uint8_t>(range.last.bytes[bit / 8] | 0x80u >> bit % 8);
    }
    out.push_back(range);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  // Single addresses stay single: a set of them is a hash table, faster to fill and to ask than one of intervals.
  const bool all_single = std::all_of(out.begin(), out.end(), [](const KeyRange& range) { return range.first == range.last; });
  return all_single ? out : merged(std::move(out));
}

std::vector<KeyRange> key_ranges(const std::vector<PortRange>& ports) {
  std::vector<KeyRange> out;
  for (const PortRange& range : ports) out.push_back({be16(range.first), be16(range.last)});
  return merged(std::move(out));
}

CgroupKey cgroup_key(const std::string& path) {
  CgroupKey key;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '/');) key.depth += part.empty() ? 0 : 1;
  if (key.depth == 0) throw Error(ErrorKind::refused, "the root of all cgroups selects every socket", "name a cgroup below it, or none");
  const std::string folder = cgroup_folder(path);
  struct stat look{};
  if (::stat(folder.c_str(), &look) != 0) throw system_error(errno, "looking at the cgroup " + printable(path));
  key.id = look.st_ino;
  return key;
}

NftExpressions MatchRules::neighbour_discovery() {
  NftExpressions out;
  write_protocol(out, IPPROTO_ICMPV6);
  out.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1).range(Bytes{kFirstNeighbourType}, Bytes{kLastNeighbourType});
  return out;
}

std::vector<NftExpressions> MatchRules::answers_of_refusals() {
  std::vector<NftExpressions> out(3);
  write_protocol(out[0], IPPROTO_TCP);
  out[0].payload(NFT_PAYLOAD_TRANSPORT_HEADER, kTcpFlags, 1).mask(Bytes{kTcpReset}).equals(Bytes{kTcpReset});
  write_protocol(out[1], IPPROTO_ICMP);
  out[1].payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1).equals(Bytes{3});
  write_protocol(out[2], IPPROTO_ICMPV6);
  out[2].payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1).equals(Bytes{1});
  return out;
}

NftExpressions MatchRules::in_vlan() {
  NftExpressions out;
  out.payload(NFT_PAYLOAD_LL_HEADER, kEtherType, 2).equals(Bytes{0x81, 0x00});
  return out;
}

std::vector<NftExpressions> MatchRules::write(const PacketMatch& match) {
  const bool any_address = match.source.addresses.empty() && match.destination.addresses.empty();
  std::vector<Ip> ips;
  if (any_address && match.protocol != Protocol::icmp && family_ == NftFamily::inet) {
    ips.push_back(Ip::any);
  } else {
    if (admits(match.source, false) && admits(match.destination, false)) ips.push_back(Ip::v4);
    if (admits(match.source, true) && admits(match.destination, true)) ips.push_back(Ip::v6);
  }
  std::vector<NftExpressions> out;
  for (const Ip ip : ips) {
    const bool v6 = ip == Ip::v6;
    const std::uint32_t key_type = v6 ? kIpv6Type : kIpv4Type;
    for (const std::uint8_t protocol : protocols_of(match, v6)) {
      NftExpressions rule;
      write_ip(rule, ip);
      if (protocol != 0) write_protocol(rule, protocol);
      if (!match.source.addresses.empty()) write_one_of(rule, key_ranges(match.source.addresses, v6), NFT_PAYLOAD_NETWORK_HEADER, v6 ? 8 : 12, key_type);
      if (!match.destination.addresses.empty()) write_one_of(rule, key_ranges(match.destination.addresses, v6), NFT_PAYLOAD_NETWORK_HEADER, v6 ? 24 : 16, key_type);
      if (!match.source.ports.empty()) write_one_of(rule, key_ranges(match.source.ports), NFT_PAYLOAD_TRANSPORT_HEADER, 0, kPortType);
      if (!match.destination.ports.empty()) write_one_of(rule, key_ranges(match.destination.ports), NFT_PAYLOAD_TRANSPORT_HEADER, 2, kPortType);
      if (match.user) rule.meta(NFT_META_SKUID).equals(host_order(*match.user));
      if (match.cgroup) {
        const CgroupKey key = cgroup_key(*match.cgroup);
        rule.cgroup(key.depth).equals(host_order(key.id));
      }
      out.push_back(std::move(rule));
    }
  }
  return out;
}

void MatchRules::write_ip(NftExpressions& out, Ip ip) const {
  if (ip == Ip::any) return;
  const bool v6 = ip == Ip::v6;
  if (family_ == NftFamily::netdev) out.meta(NFT_META_PROTOCOL).equals(v6 ? Bytes{0x86, 0xdd} : Bytes{0x08, 0x00});
  else out.meta(NFT_META_NFPROTO).equals(Bytes{v6 ? std::uint8_t{NFPROTO_IPV6} : std::uint8_t{NFPROTO_IPV4}});
}

void MatchRules::write_one_of(NftExpressions& out, const std::vector<KeyRange>& ranges, std::uint32_t base, std::uint32_t offset, std::uint32_t key_type) {
  const KeyRange& first = ranges.front();
  const auto length = std::uint32_t{first.first.size};
  out.payload(base, offset, length);
  if (ranges.size() > 1) {
    out.in(set_of(ranges, key_type));
  } else if (first.first == first.last) {
    out.equals(first.first.view());
  } else if (const auto mask = mask_of(first)) {
    out.mask(*mask).equals(first.first.view());
  } else {
    out.range(first.first.view(), first.last.view());
  }
}

const NftSet& MatchRules::set_of(const std::vector<KeyRange>& ranges, std::uint32_t key_type) {
  const auto [it, is_new] = known_.try_emplace(ranges, sets_.size());
  if (!is_new) return sets_[it->second];
  NftSet set;
  set.id = static_cast<std::uint32_t>(sets_.size() + 1);
  set.name = fmt::format("{}_{}", key_type == kPortType ? "ports" : key_type == kIpv6Type ? "ipv6" : "ipv4", set.id);
  set.key_type = key_type;
  set.intervals = std::any_of(ranges.begin(), ranges.end(), [](const KeyRange& range) { return range.first != range.last; });
  set.elements.reserve(ranges.size() * (set.intervals ? 2 : 1));
  for (const KeyRange& range : ranges) {
    set.elements.push_back({range.first, false});
    NftKey behind = range.last;
    if (set.intervals && increment(behind)) set.elements.push_back({behind, true});
  }
  sets_.push_back(std::move(set));
  return sets_.back();
}

}  // namespace capsize
