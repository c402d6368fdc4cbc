// The bytes of IPv4 and IPv6 packets as the queue back end meets them: where the transport begins, one bit flipped, a UDP answer. Total:
// any bytes at all may come in.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "injector/base/rng.h"

namespace capsize {

using PacketBytes = std::vector<std::uint8_t>;

struct PacketLayout {
  bool v6 = false;
  std::uint8_t protocol = 0;   // of the transport: behind IPv6 extension headers
  bool later_fragment = false; // no transport header in it
  std::size_t transport = 0;   // where its header begins; what follows where there is none
  std::size_t payload = 0;     // behind the transport header of TCP, UDP and ICMP; of others: `transport`
  std::size_t end = 0;         // as the header says, and within the bytes
};
// Nothing for what is not a whole packet with its headers.
std::optional<PacketLayout> lay_out(std::span<const std::uint8_t> packet);

// Flips one bit behind the transport header; of a packet that carries nothing there, or a UDP packet without a checksum, one of the
// checksum: so whoever receives it finds it broken. False: it has neither.
bool flip_one_bit(std::span<std::uint8_t> packet, Rng& rng);

// A UDP packet from where `query` goes to, to where it comes from, with this payload; whole, with its checksums.
PacketBytes udp_answer(std::span<const std::uint8_t> query, const PacketLayout& layout, std::span<const std::uint8_t> payload);

// Where a packet goes: 4 or 16 bytes of it; empty: neither IPv4 nor IPv6.
std::span<const std::uint8_t> destination_of(std::span<const std::uint8_t> packet);
bool is_unicast(std::span<const std::uint8_t> address);

std::uint16_t internet_checksum(std::span<const std::uint8_t> bytes, std::uint32_t initial = 0);  // RFC 1071, in host order

}  // namespace capsize
