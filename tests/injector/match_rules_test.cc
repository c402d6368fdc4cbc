#include "injector/net/match_rules.h"

#include <catch2/catch.hpp>

using namespace capsize;

namespace {

std::string shown(const std::vector<KeyRange>& ranges) {
  std::string out;
  for (const KeyRange& range : ranges) {
    const bool v6 = range.first.size == 16;
    const auto address = [&](const NftKey& key) { return range.first.size == 2 ? std::to_string(key.bytes[0] * 256 + key.bytes[1]) : show(AddressBlock{v6, key.bytes, v6 ? 128 : 32}); };
    out += (out.empty() ? "" : " ") + address(range.first) + (range.first == range.last ? "" : "-" + address(range.last));
  }
  return out;
}

std::vector<AddressBlock> blocks(std::initializer_list<const char*> texts) {
  std::vector<AddressBlock> out;
  for (const char* text : texts) out.push_back(std::get<AddressBlock>(parse_address_block(text)));
  return out;
}

}  // namespace

TEST_CASE("blocks become stretches that neither overlap nor touch, as a set of intervals wants them", "[match_rules]") {
  CHECK(shown(key_ranges(blocks({"10.0.0.0/8", "10.1.0.0/16", "10.0.0.1"}), false)) == "10.0.0.0-10.255.255.255");
  CHECK(shown(key_ranges(blocks({"10.0.1.0/24", "10.0.0.0/24", "10.0.3.0/24"}), false)) == "10.0.0.0-10.0.1.255 10.0.3.0-10.0.3.255");
  CHECK(shown(key_ranges(blocks({"255.0.0.0/8", "254.0.0.0/8", "0.0.0.0/1"}), false)) == "0.0.0.0-127.255.255.255 254.0.0.0-255.255.255.255");
  CHECK(shown(key_ranges(blocks({"0.0.0.0/0", "255.255.255.255"}), false)) == "0.0.0.0-255.255.255.255");
  CHECK(shown(key_ranges(blocks({"fd00::/120", "fd00::100", "10.0.0.1"}), true)) == "fd00::-fd00::100");
  CHECK(shown(key_ranges(blocks({"10.0.0.1"}), true)).empty());
}

TEST_CASE("single addresses stay single, each once", "[match_rules]") {
  CHECK(shown(key_ranges(blocks({"10.0.0.2", "10.0.0.1", "10.0.0.2", "fd00::1"}), false)) == "10.0.0.1 10.0.0.2");
}

TEST_CASE("port ranges are merged", "[match_rules]") {
  CHECK(shown(key_ranges({{80, 80}, {443, 443}, {8000, 8100}, {8101, 8101}, {8050, 8060}, {65535, 65535}})) == "80 443 8000-8101 65535");
}

TEST_CASE("no rule is written for packets that cannot be: from one family to the other", "[match_rules]") {
  MatchRules rules(NftFamily::inet);
  PacketMatch match;
  match.source.addresses = blocks({"10.0.0.1"});
  match.destination.addresses = blocks({"fd00::1"});
  CHECK(rules.write(match).empty());
  match.destination.addresses = blocks({"fd00::1", "10.0.0.0/8"});
  CHECK(rules.write(match).size() == 1);
  match.source.addresses = blocks({"10.0.0.1", "fd00::/8"});
  CHECK(rules.write(match).size() == 2);
  match.destination.ports = {{80, 80}};
  CHECK(rules.write(match).size() == 4);  // tcp and udp of both families
  CHECK(rules.write(PacketMatch{}).size() == 1);
  CHECK(MatchRules(NftFamily::netdev).write(PacketMatch{}).size() == 2);  // never ARP
}

TEST_CASE("the same addresses are in one set, whoever asks for them", "[match_rules]") {
  MatchRules rules(NftFamily::inet);
  PacketMatch to, from;
  for (int i = 1; i < 200; ++i) to.destination.addresses.push_back({false, {10, 0, 0, static_cast<std::uint8_t>(i)}, 32});
  from.source.addresses = to.destination.addresses;
  rules.write(to);
  rules.write(from);
  REQUIRE(rules.sets().size() == 1);
  CHECK(rules.sets()[0].elements.size() == 199);
  CHECK_FALSE(rules.sets()[0].intervals);
  from.source.addresses.push_back({false, {192, 168}, 16});
  rules.write(from);
  REQUIRE(rules.sets().size() == 2);
  CHECK(rules.sets()[1].intervals);
}
