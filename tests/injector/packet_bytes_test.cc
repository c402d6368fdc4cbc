#include <catch2/catch.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "injector/net/packet_bytes.h"

using namespace capsize;

namespace {

PacketBytes bytes(std::string_view hex) {
  PacketBytes out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    while (hex[i] == ' ') ++i;
    out.push_back(static_cast<std::uint8_t>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return out;
}

// A UDP packet to port 53 from port 40000, by the code under test, turned around twice.
PacketBytes udp(bool v6, std::size_t payload) {
  PacketBytes seed = v6 ? bytes("60000000 0008 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002 0035 9c40 0008 0000")
                        : bytes("4500001c 00000000 4011 0000 0a000001 0a000002 0035 9c40 0008 0000");
  const PacketBytes content(payload, 0x5a);
  return udp_answer(seed, *lay_out(seed), content);
}

// What the receiver computes over pseudo header and transport: 0 when all is well.
std::uint16_t transport_sum(const PacketBytes& packet) {
  const auto layout = lay_out(packet);
  REQUIRE(layout);
  const std::size_t source = layout->v6 ? 8 : 12;
  const std::size_t addresses = layout->v6 ? 32 : 8;
  PacketBytes all(packet.begin() + static_cast<long>(source), packet.begin() + static_cast<long>(source + addresses));
  const std::size_t length = layout->end - layout->transport;
  for (const std::size_t part : {length >> 8, length & 0xff, std::size_t{0}, std::size_t{layout->protocol}}) all.push_back(static_cast<std::uint8_t>(part));
  all.insert(all.end(), packet.begin() + static_cast<long>(layout->transport), packet.begin() + static_cast<long>(layout->end));
  return internet_checksum(all);
}

int differing_bits(const PacketBytes& a, const PacketBytes& b) {
  int bits = 0;
  for (std::size_t i = 0; i < a.size(); ++i) bits += __builtin_popcount(static_cast<unsigned>(a[i] ^ b[i]));
  return bits;
}

}  // namespace

TEST_CASE("a UDP answer goes back to where the query came from, and its checksums are right", "[packet_bytes]") {
  const bool v6 = GENERATE(false, true);
  const std::size_t payload = GENERATE(0u, 1u, 2u, 511u, 1200u);
  const PacketBytes packet = udp(v6, payload);
  const auto layout = lay_out(packet);
  REQUIRE(layout);
  CHECK(layout->v6 == v6);
  CHECK(layout->protocol == IPPROTO_UDP);
  CHECK(layout->end == packet.size());
  CHECK(layout->payload == (v6 ? 48u : 28u));
  CHECK(packet.size() == layout->payload + payload);
  CHECK(transport_sum(packet) == 0);
  if (!v6) CHECK(internet_checksum(std::span(packet).first(20)) == 0);
  CHECK((packet[layout->transport] << 8 | packet[layout->transport + 1]) == 40000);
  CHECK((packet[layout->transport + 2] << 8 | packet[layout->transport + 3]) == 53);
  const auto to = destination_of(packet);
  CHECK(to.back() == 1);
  const PacketBytes back = udp_answer(packet, *layout, {});
  CHECK(destination_of(back).back() == 2);
}

TEST_CASE("one flipped bit is one bit behind the transport header, and the checksum catches it", "[packet_bytes]") {
  const bool v6 = GENERATE(false, true);
  Rng rng(3);
  for (int i = 0; i < 500; ++i) {
    const PacketBytes before = udp(v6, 1 + static_cast<std::size_t>(i) % 40);
    PacketBytes after = before;
    REQUIRE(flip_one_bit(after, rng));
    REQUIRE(differing_bits(before, after) == 1);
    const std::size_t payload = lay_out(before)->payload;
    REQUIRE(std::equal(before.begin(), before.begin() + static_cast<long>(payload), after.begin()));
    REQUIRE(transport_sum(after) != 0);
  }
}

TEST_CASE("a packet that carries nothing is corrupted in its checksum", "[packet_bytes]") {
  const bool v6 = GENERATE(false, true);
  Rng rng(3);
  const PacketBytes before = udp(v6, 0);
  PacketBytes after = before;
  REQUIRE(flip_one_bit(after, rng));
  const std::size_t checksum = lay_out(before)->transport + 6;
  CHECK(std::equal(before.begin(), before.begin() + static_cast<long>(checksum), after.begin()));
  CHECK(transport_sum(after) != 0);
}

TEST_CASE("a UDP packet without a checksum gets a wrong one, so that it is caught too", "[packet_bytes]") {
  Rng rng(3);
  for (int i = 0; i < 100; ++i) {
    PacketBytes packet = udp(false, 10);
    const std::size_t checksum = lay_out(packet)->transport + 6;
    packet[checksum] = packet[checksum + 1] = 0;
    REQUIRE(flip_one_bit(packet, rng));
    REQUIRE((packet[checksum] | packet[checksum + 1]) != 0);
    REQUIRE(transport_sum(packet) != 0);
  }
}

TEST_CASE("a flip never makes a UDP checksum say that there is none", "[packet_bytes]") {
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    PacketBytes packet = udp(false, 0);
    const std::size_t checksum = lay_out(packet)->transport + 6;
    packet[checksum] = 0;
    packet[checksum + 1] = 1;
    Rng rng(seed);
    REQUIRE(flip_one_bit(packet, rng));
    REQUIRE((packet[checksum] | packet[checksum + 1]) != 0);
  }
}

TEST_CASE("extension headers of IPv6 are walked over, and a later fragment has no transport header", "[packet_bytes]") {
  // Hop-by-hop (8 bytes), then UDP with two bytes.
  const PacketBytes hop = bytes("60000000 0012 00 40 fd000000000000000000000000000001 fd000000000000000000000000000002 11 00 050200000100 9c40 0035 000a 0000 6162");
  const auto behind = lay_out(hop);
  REQUIRE(behind);
  CHECK(behind->protocol == IPPROTO_UDP);
  CHECK(behind->transport == 48);
  CHECK(behind->payload == 56);
  // A fragment at offset 8 of a UDP packet.
  const PacketBytes later = bytes("60000000 000c 2c 40 fd000000000000000000000000000001 fd000000000000000000000000000002 11 00 0008 00000001 61626364");
  const auto fragment = lay_out(later);
  REQUIRE(fragment);
  CHECK(fragment->later_fragment);
  CHECK(fragment->payload == 48);
}

TEST_CASE("bytes that are no packet are told apart", "[packet_bytes]") {
  for (const char* hex : {"", "45", "4400001c000000004011000000000000000000000000000000000000", "4500ffff000000004011000000000000000000000000000000000000",
                          "4500001400000000401100000a0000010a000002", "70000000", "6000000000ff1140"}) {
    INFO(hex);
    CHECK_FALSE(lay_out(bytes(hex)));
  }
}

TEST_CASE("any bytes at all are laid out within themselves, or not at all", "[packet_bytes]") {
  Rng rng(20261123);
  for (int i = 0; i < 200'000; ++i) {
    PacketBytes packet(rng.below(120));
    for (std::uint8_t& byte : packet) byte = static_cast<std::uint8_t>(rng.next());
    if (!packet.empty()) packet[0] = static_cast<std::uint8_t>(rng.chance(0.5) ? 0x60 : 0x45);
    if (packet.size() > 6 && rng.chance(0.9)) {  // a length that may fit, and headers that are walked
      packet[packet[0] == 0x60 ? 4 : 2] = 0;
      packet[packet[0] == 0x60 ? 5 : 3] = static_cast<std::uint8_t>(rng.below(packet.size()));
      if (rng.chance(0.5)) packet[6] = static_cast<std::uint8_t>(std::array{0, 43, 44, 60}[rng.below(4)]);
    }
    const auto layout = lay_out(packet);
    if (!layout) continue;
    REQUIRE(layout->transport <= layout->payload);
    REQUIRE(layout->payload <= layout->end);
    REQUIRE(layout->end <= packet.size());
    flip_one_bit(packet, rng);
    if (layout->protocol == IPPROTO_UDP && !layout->later_fragment) CHECK(udp_answer(packet, *layout, {}).size() == (layout->v6 ? 48u : 28u));
  }
}

TEST_CASE("only addresses of one host are unicast", "[packet_bytes]") {
  CHECK(is_unicast(bytes("7f000001")));
  CHECK(is_unicast(bytes("fe800000000000000000000000000001")));
  CHECK_FALSE(is_unicast(bytes("e00000fb")));
  CHECK_FALSE(is_unicast(bytes("ffffffff")));
  CHECK_FALSE(is_unicast(bytes("ff020000000000000000000000000001")));
  CHECK_FALSE(is_unicast({}));
}
