#include "injector/net/packet_bytes.h"

#include <netinet/in.h>

#include <algorithm>

namespace capsize {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kIpv4Header = 20;
constexpr std::size_t kIpv6Header = 40;
constexpr std::size_t kUdpHeader = 8;
constexpr std::size_t kTcpHeader = 20;
constexpr std::size_t kIcmpHeader = 8;
constexpr int kMostExtensionHeaders = 8;
constexpr std::uint8_t kHopsOfAnswer = 64;

std::uint16_t word(Bytes bytes, std::size_t at) { return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]); }

void set_word(std::span<std::uint8_t> bytes, std::size_t at, std::size_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<std::uint8_t>(value);
}

// Fills in `payload`. False: the transport header is cut off.
bool find_payload(Bytes packet, PacketLayout& layout) {
  layout.payload = layout.transport;
  if (layout.later_fragment) return true;
  const std::size_t room = layout.end - layout.transport;
  std::size_t header = 0;
  if (layout.protocol == IPPROTO_UDP) header = kUdpHeader;
  if (layout.protocol == IPPROTO_ICMP || layout.protocol == IPPROTO_ICMPV6) header = kIcmpHeader;
  if (layout.protocol == IPPROTO_TCP) {
    if (room < kTcpHeader) return false;
    header = static_cast<std::size_t>(packet[layout.transport + 12] >> 4) * 4;
    if (header < kTcpHeader) return false;
  }
  if (header > room) return false;
  layout.payload += header;
  return true;
}

std::optional<PacketLayout> lay_out_v4(Bytes packet) {
  if (packet.size() < kIpv4Header) return std::nullopt;
  PacketLayout layout;
  layout.transport = static_cast<std::size_t>(packet[0] & 0xf) * 4;
  layout.end = word(packet, 2);
  if (layout.transport < kIpv4Header || layout.end < layout.transport || layout.end > packet.size()) return std::nullopt;
  layout.protocol = packet[9];
  layout.later_fragment = (word(packet, 6) & 0x1fff) != 0;
  if (!find_payload(packet, layout)) return std::nullopt;
  return layout;
}

std::optional<PacketLayout> lay_out_v6(Bytes packet) {
  if (packet.size() < kIpv6Header) return std::nullopt;
  PacketLayout layout;
  layout.v6 = true;
  layout.transport = kIpv6Header;
  layout.end = kIpv6Header + word(packet, 4);
  if (layout.end > packet.size()) return std::nullopt;
  layout.protocol = packet[6];
  for (int headers = 0; headers < kMostExtensionHeaders; ++headers) {
    const bool fragment = layout.protocol == IPPROTO_FRAGMENT;
    if (!fragment && layout.protocol != IPPROTO_HOPOPTS && layout.protocol != IPPROTO_ROUTING && layout.protocol != IPPROTO_DSTOPTS) {
      if (!find_payload(packet, layout)) return std::nullopt;
      return layout;
    }
    if (layout.end - layout.transport < 8) return std::nullopt;
    const std::size_t length = fragment ? 8 : (std::size_t{packet[layout.transport + 1]} + 1) * 8;
    if (length > layout.end - layout.transport) return std::nullopt;
    if (fragment && (word(packet, layout.transport + 2) & 0xfff8) != 0) layout.later_fragment = true;
    layout.protocol = packet[layout.transport];
    layout.transport += length;
    if (layout.later_fragment) {
      layout.payload = layout.transport;
      return layout;
    }
  }
  return std::nullopt;
}

// Where its checksum is; 0: it has none that we know.
std::size_t checksum_place(const PacketLayout& layout) {
  if (layout.later_fragment) return 0;
  switch (layout.protocol) {
    case IPPROTO_TCP: return layout.transport + 16;
    case IPPROTO_UDP: return layout.transport + 6;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6: return layout.transport + 2;
    default: return 0;
  }
}

std::uint32_t add_words(Bytes bytes, std::uint32_t sum) {
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += word(bytes, i);
  if (bytes.size() % 2 == 1) sum += static_cast<std::uint32_t>(bytes.back() << 8);
  return sum;
}

}  // namespace

std::uint16_t internet_checksum(Bytes bytes, std::uint32_t initial) {
  std::uint32_t sum = add_words(bytes, initial);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::optional<PacketLayout> lay_out(Bytes packet) {
  if (packet.empty()) return std::nullopt;
  if (packet[0] >> 4 == 4) return lay_out_v4(packet);
  if (packet[0] >> 4 == 6) return lay_out_v6(packet);
  return std::nullopt;
}

bool flip_one_bit(std::span<std::uint8_t> packet, Rng& rng) {
  const auto layout = lay_out(packet);
  if (!layout) return false;
  std::size_t begin = layout->payload;
  std::size_t end = layout->end;
  const std::size_t checksum = checksum_place(*layout);
  const bool unchecked = layout->protocol == IPPROTO_UDP && checksum != 0 && word(packet, checksum) == 0;
  if (begin == end || unchecked) {
    if (checksum == 0) return false;
    begin = checksum;
    end = checksum + 2;
  }
  const std::uint64_t bit = rng.below((end - begin) * 8);
  packet[begin + bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
  // A UDP checksum of 0 says that there is none.
  if (begin == checksum && layout->protocol == IPPROTO_UDP && word(packet, checksum) == 0) packet[checksum] = 0x80;
  return true;
}

PacketBytes udp_answer(Bytes query, const PacketLayout& layout, Bytes payload) {
  const std::size_t header = layout.v6 ? kIpv6Header : kIpv4Header;
  const std::size_t address = layout.v6 ? 16 : 4;
  const std::size_t source = layout.v6 ? 8 : 12;
  PacketBytes out(header + kUdpHeader + payload.size());
  std::copy_n(query.begin() + static_cast<std::ptrdiff_t>(source + address), address, out.begin() + static_cast<std::ptrdiff_t>(source));
  std::copy_n(query.begin() + static_cast<std::ptrdiff_t>(source), address, out.begin() + static_cast<std::ptrdiff_t>(source + address));
  const std::size_t length = kUdpHeader + payload.size();
  if (layout.v6) {
    out[0] = 0x60;
    set_word(out, 4, length);
    out[6] = IPPROTO_UDP;
    out[7] = kHopsOfAnswer;
  } else {
    out[0] = 0x45;
    set_word(out, 2, out.size());
    out[8] = kHopsOfAnswer;
    out[9] = IPPROTO_UDP;
    set_word(out, 10, internet_checksum(Bytes(out).first(kIpv4Header)));
  }
  set_word(out, header, word(query, layout.transport + 2));
  set_word(out, header + 2, word(query, layout.transport));
  set_word(out, header + 4, length);
  std::copy(payload.begin(), payload.end(), out.begin() + static_cast<std::ptrdiff_t>(header + kUdpHeader));
  const std::uint32_t pseudo = add_words(Bytes(out).subspan(source, 2 * address), static_cast<std::uint32_t>(length + IPPROTO_UDP));
  const std::uint16_t sum = internet_checksum(Bytes(out).subspan(header), pseudo);
  set_word(out, header + 6, sum == 0 ? 0xffff : sum);
  return out;
}

Bytes destination_of(Bytes packet) {
  if (packet.size() >= kIpv4Header && packet[0] >> 4 == 4) return packet.subspan(16, 4);
  if (packet.size() >= kIpv6Header && packet[0] >> 4 == 6) return packet.subspan(24, 16);
  return {};
}

bool is_unicast(Bytes address) {
  if (address.size() == 4) return address[0] < 224 && address[0] != 0;
  return address.size() == 16 && address[0] != 0xff;
}

}  // namespace capsize
