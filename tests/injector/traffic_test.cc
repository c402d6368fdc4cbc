#include "injector/net/traffic.h"

#include <catch2/catch.hpp>

#include "injector/base/error.h"

using namespace capsize;

namespace {

AddressBlock block(const char* text) { return std::get<AddressBlock>(parse_address_block(text)); }
PortRange ports(const char* text) { return std::get<PortRange>(parse_port_range(text)); }

template <class T>
std::string mistake(const Parsed<T>& parsed) {
  const auto* wrong = std::get_if<Mistake>(&parsed);
  return wrong == nullptr ? "none" : wrong->fact + "; " + wrong->remedy;
}

std::vector<PacketMatch> some_matches() {
  PacketMatch all;
  PacketMatch full{Hook::leave, {{block("10.0.0.7"), block("fd00::/8")}, {ports("1-65535")}}, {{block("0.0.0.0/0")}, {ports("80"), ports("443")}}, Protocol::tcp, 0u, "system.slice/nginx.service"};
  PacketMatch icmp{Hook::arrive, {{block("::1")}, {}}, {}, Protocol::icmp, {}, {}};
  return {all, full, icmp};
}

}  // namespace

TEST_CASE("addresses and blocks of both families are read and shown alike", "[traffic]") {
  for (const char* text : {"10.0.0.7", "10.0.0.0/8", "0.0.0.0/0", "127.0.0.1", "255.255.255.255", "fd00::/8", "::1", "::/0", "2001:db8::/33", "fe80::1"}) {
    INFO(text);
    CHECK(show(block(text)) == text);
  }
  CHECK(block("10.0.0.7/32") == block("10.0.0.7"));
  CHECK(block("fd00:0::7/128") == block("fd00::7"));
  CHECK(block("10.0.0.0/8").v6 == false);
  CHECK(block("10.0.0.0/8").prefix == 8);
}

TEST_CASE("what is not an address is refused with what to write instead", "[traffic]") {
  for (const char* text : {"", "10.0.0", "10.0.0.256", "db.staging", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08", "fe80::1%eth0", " 10.0.0.1", "010.0.0.1", "1.2.3.4/8/8", ":", "[::1]"}) {
    INFO(text);
    CHECK(mistake(parse_address_block(text)) != "none");
  }
  CHECK(mistake(parse_address_block(std::string_view("10.0.0.1\0x", 10))) != "none");
  CHECK(mistake(parse_address_block("10.0.0.7/8")) == "\"10.0.0.7/8\" has bits behind its prefix; write \"10.0.0.0/8\" for the block, or \"10.0.0.7\" for the one address");
  CHECK(mistake(parse_address_block("::ffff:10.0.0.7")) == "\"::ffff:10.0.0.7\" is an IPv4 address in IPv6 notation, which no packet carries; write \"10.0.0.7\"");
}

TEST_CASE("a block contains what has all of its prefix", "[traffic]") {
  CHECK(contains(block("10.0.0.0/8"), block("10.200.0.0/16")));
  CHECK(contains(block("10.0.0.0/8"), block("10.0.0.0/8")));
  CHECK(contains(block("0.0.0.0/0"), block("192.168.0.1")));
  CHECK(contains(block("fd00::/9"), block("fd7f::1")));
  CHECK_FALSE(contains(block("fd00::/9"), block("fd80::1")));
  CHECK_FALSE(contains(block("10.0.0.0/16"), block("10.0.0.0/8")));
  CHECK_FALSE(contains(block("::/0"), block("10.0.0.1")));
  CHECK_FALSE(contains(block("0.0.0.0/0"), block("::1")));
}

TEST_CASE("ports are one or a range from 1 to 65535", "[traffic]") {
  CHECK(ports("8080") == PortRange{8080, 8080});
  CHECK(ports("8000-8100") == PortRange{8000, 8100});
  CHECK(show(ports("8000-8100")) == "8000-8100");
  CHECK(show(ports("80-80")) == "80");
  for (const char* text : {"", "0", "65536", "-1", "80-", "-80", "80-90-100", "http", " 80", "080", "0-80"}) {
    INFO(text);
    CHECK(mistake(parse_port_range(text)) != "none");
  }
  CHECK(mistake(parse_port_range("90-80")) == "\"90-80\" ends before it begins; write \"80-90\"");
}

TEST_CASE("a packet match goes through JSON unchanged", "[traffic]") {
  for (const PacketMatch& match : some_matches()) {
    INFO(to_json(match).dump());
    CHECK(packet_match_from_json(Json::parse(to_json(match).dump())) == match);
  }
  const NetworkNamespace place{"/proc/123/ns/net", 4026531840};
  CHECK(network_namespace_from_json(to_json(place)) == place);
}

TEST_CASE("JSON that is not a packet match is a bug of who wrote it, and says where", "[traffic]") {
  const Json good = to_json(some_matches()[1]);
  const std::vector<std::pair<Json::json_pointer, Json>> wrong = {
      {Json::json_pointer("/hook"), "pass"}, {Json::json_pointer("/protocol"), 6}, {Json::json_pointer("/source"), nullptr}, {Json::json_pointer("/source/addresses/0"), "x"},
      {Json::json_pointer("/destination/ports/0"), 80}, {Json::json_pointer("/user"), -1}, {Json::json_pointer("/user"), 1ull << 32}, {Json::json_pointer("/cgroup"), 1}, {Json::json_pointer("/colour"), "red"}};
  for (const auto& [where, value] : wrong) {
    Json json = good;
    json[where] = value;
    INFO(where << " = " << value);
    try {
      packet_match_from_json(json);
      FAIL("it was taken");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::bug);
    }
  }
  Json without = good;
  without.erase("hook");
  CHECK_THROWS_AS(packet_match_from_json(without), Error);
  CHECK_THROWS_AS(packet_match_from_json(Json::array()), Error);
  CHECK_THROWS_AS(network_namespace_from_json({{"path", ""}}), Error);
}

TEST_CASE("a match is described in the words of its users", "[traffic]") {
  const auto side = [](std::vector<const char*> addresses, std::vector<const char*> port_list) {
    Side out;
    for (const char* text : addresses) out.addresses.push_back(block(text));
    for (const char* text : port_list) out.ports.push_back(ports(text));
    return out;
  };
  CHECK(describe({Hook::arrive, {}, side({"127.0.0.1"}, {"8081"}), Protocol::tcp, {}, {}}) == "tcp packets to 127.0.0.1:8081 arriving");
  CHECK(describe({Hook::leave, side({"fd00::1"}, {"53"}), {}, Protocol::udp, {}, {}}) == "udp packets from [fd00::1]:53 leaving");
  CHECK(describe({Hook::arrive, side({"10.0.0.0/8"}, {"80"}), side({}, {"80", "443"}), Protocol::any, {}, {}}) == "packets from 10.0.0.0/8 port 80 to ports 80, 443 arriving");
  CHECK(describe({Hook::leave, {}, side({"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}, {}), Protocol::any, 33u, "web"}) ==
        "packets to 10.0.0.1, 10.0.0.2, 10.0.0.3 and 2 more of user 33 of cgroup web leaving");
  CHECK(describe({Hook::arrive, {}, {}, Protocol::icmp, {}, {}}) == "icmp packets arriving");
}
