// Which connections a choice of packets concerns, and what the kernel's words for one are read as.
#include <catch2/catch.hpp>

#include <arpa/inet.h>
#include <linux/inet_diag.h>

#include "injector/base/error.h"
#include "injector/net/connections.h"
#include "injector/ops/net_cut.h"

using namespace capsize;

namespace {

AddressBlock block(const std::string& text) { return std::get<AddressBlock>(parse_address_block(text)); }

TcpSocket connection(const std::string& local, std::uint16_t local_port, const std::string& remote, std::uint16_t remote_port) {
  TcpSocket out;
  out.state = TcpState::established;
  out.local = block(local);
  out.remote = block(remote);
  out.local_port = local_port;
  out.remote_port = remote_port;
  out.inode = 7;
  return out;
}

PacketMatch from_to(Hook hook, Side source, Side destination) {
  PacketMatch out;
  out.hook = hook;
  out.source = std::move(source);
  out.destination = std::move(destination);
  return out;
}

inet_diag_msg message(std::uint8_t family, const std::string& local, const std::string& remote) {
  inet_diag_msg out{};
  out.idiag_family = family;
  out.idiag_state = 1;
  out.id.idiag_sport = htons(80);
  out.id.idiag_dport = htons(40000);
  ::inet_pton(family, local.c_str(), out.id.idiag_src);
  ::inet_pton(family, remote.c_str(), out.id.idiag_dst);
  out.id.idiag_if = 3;
  out.id.idiag_cookie[0] = 0xdddddddd;
  out.id.idiag_cookie[1] = 0x11;
  out.idiag_uid = 1000;
  out.idiag_inode = 4711;
  return out;
}

Bytes bytes_of(const inet_diag_msg& head, std::uint64_t cgroup) {
  AttributeWriter out;
  out.pod(head);
  out.value(INET_DIAG_CGROUP_ID, cgroup);
  return out.bytes();
}

}  // namespace

TEST_CASE("a socket is read as the kernel tells it, a mapped address as the one its packets have", "[net.cut]") {
  const auto v4 = parse_tcp_socket(bytes_of(message(AF_INET, "10.0.0.1", "10.0.0.2"), 99));
  REQUIRE(v4);
  CHECK(describe(*v4) == "10.0.0.1:80 - 10.0.0.2:40000");
  CHECK_FALSE(v4->identity.v6_socket);
  CHECK(v4->identity.device == 3);
  CHECK(v4->identity.cookie == 0x11dddddddd);
  CHECK(v4->user == 1000);
  CHECK(v4->inode == 4711);
  CHECK(v4->cgroup == std::uint64_t{99});
  CHECK(v4->state == TcpState::established);

  const auto v6 = parse_tcp_socket(bytes_of(message(AF_INET6, "fd00::1", "fd00::2"), 0));
  REQUIRE(v6);
  CHECK(describe(*v6) == "[fd00::1]:80 - [fd00::2]:40000");

  const auto mapped = parse_tcp_socket(bytes_of(message(AF_INET6, "::ffff:10.0.0.1", "::ffff:10.0.0.2"), 0));
  REQUIRE(mapped);
  CHECK(describe(*mapped) == "10.0.0.1:80 - 10.0.0.2:40000");
  CHECK(mapped->identity.v6_socket);  // by its own family the kernel knows it again
  CHECK(mapped->identity.local[10] == 0xff);
}

TEST_CASE("bytes that are no socket are none, however they are cut", "[net.cut]") {
  const Bytes whole = bytes_of(message(AF_INET, "10.0.0.1", "10.0.0.2"), 99);
  for (std::size_t size = 0; size < sizeof(inet_diag_msg); ++size) CHECK_FALSE(parse_tcp_socket(BytesView(whole).first(size)));
  for (std::size_t size = sizeof(inet_diag_msg); size < whole.size(); ++size) CHECK_FALSE(parse_tcp_socket(BytesView(whole).first(size))->cgroup);
  inet_diag_msg unix_socket = message(AF_INET, "10.0.0.1", "10.0.0.2");
  unix_socket.idiag_family = AF_UNIX;
  CHECK_FALSE(parse_tcp_socket(bytes_of(unix_socket, 0)));
}

TEST_CASE("a packet that arrives comes from the remote end, one that leaves from the local one", "[net.cut]") {
  const TcpSocket server = connection("10.0.0.1", 80, "10.0.0.2", 40000);
  const Side port_80{{}, {{80, 80}}};
  const Side peer{{block("10.0.0.0/30")}, {{40000, 50000}}};
  CHECK(selects(from_to(Hook::arrive, {}, port_80), server, {}));
  CHECK_FALSE(selects(from_to(Hook::leave, {}, port_80), server, {}));
  CHECK(selects(from_to(Hook::leave, port_80, {}), server, {}));
  CHECK_FALSE(selects(from_to(Hook::arrive, port_80, {}), server, {}));
  CHECK(selects(from_to(Hook::arrive, peer, port_80), server, {}));
  CHECK_FALSE(selects(from_to(Hook::arrive, port_80, peer), server, {}));
  CHECK_FALSE(selects(from_to(Hook::arrive, {{block("fd00::/8")}, {}}, {}), server, {}));
}

TEST_CASE("only TCP, and only the user and cgroup that are named", "[net.cut]") {
  TcpSocket socket = connection("10.0.0.1", 80, "10.0.0.2", 40000);
  socket.user = 33;
  socket.cgroup = 555;
  PacketMatch match;
  match.hook = Hook::leave;
  for (const auto& [protocol, expected] : std::vector<std::pair<Protocol, bool>>{{Protocol::any, true}, {Protocol::tcp, true}, {Protocol::udp, false}, {Protocol::icmp, false}}) {
    match.protocol = protocol;
    CHECK(selects(match, socket, {}) == expected);
  }
  match.protocol = Protocol::any;
  match.user = 33;
  CHECK(selects(match, socket, {}));
  match.user = 0;
  CHECK_FALSE(selects(match, socket, {}));
  match.user.reset();
  match.cgroup = "system.slice/web";
  CHECK_FALSE(selects(match, socket, {}));  // looked up nowhere
  CHECK(selects(match, socket, {{"system.slice/web", {554, 555}}}));
  CHECK_FALSE(selects(match, socket, {{"system.slice/web", {554}}}));
  socket.cgroup.reset();
  CHECK_FALSE(selects(match, socket, {{"system.slice/web", {554, 555}}}));
}

TEST_CASE("the control path is exempt whichever way its match is written", "[net.cut]") {
  const TcpSocket ssh = connection("10.0.0.1", 22, "10.0.0.9", 50000);
  const Side local{{block("10.0.0.1")}, {{22, 22}}};
  const Side remote{{block("10.0.0.9")}, {{50000, 50000}}};
  for (const Hook hook : {Hook::arrive, Hook::leave}) {
    CHECK(exempts(from_to(hook, local, remote), ssh, {}));
    CHECK(exempts(from_to(hook, remote, local), ssh, {}));
    CHECK_FALSE(exempts(from_to(hook, local, local), ssh, {}));
  }
}

TEST_CASE("connections that carry no data any more are not counted, exempt ones apart", "[net.cut]") {
  std::vector<TcpSocket> sockets(9, connection("10.0.0.1", 80, "10.0.0.2", 40000));
  sockets[1].state = TcpState::close_wait;
  sockets[2].state = TcpState::fin_wait_2;
  sockets[3].state = TcpState::fin_wait_2;
  sockets[3].inode = 0;  // closed by its process: a remainder
  sockets[4].state = TcpState::time_wait;
  sockets[5].state = TcpState::listen;
  sockets[6].state = TcpState::syn_sent;
  sockets[7].remote = block("10.0.0.3");
  sockets[8].local_port = 81;
  ConnectionMatch match;
  match.affected = {from_to(Hook::arrive, {}, {{}, {{80, 80}}})};
  match.exempt = {from_to(Hook::arrive, {{block("10.0.0.3")}, {}}, {})};
  const SortedConnections found = sort_connections(sockets, match, {});
  CHECK(found.affected == std::vector<TcpSocket>{sockets[0], sockets[1], sockets[2]});
  CHECK(found.exempt == 1);
  CHECK(found.others == 1);
}

TEST_CASE("a choice of connections is the same after its JSON", "[net.cut]") {
  ConnectionMatch match;
  match.place = {"/run/netns/blue", 4026531840};
  match.affected = {from_to(Hook::arrive, {{block("fd00::/8")}, {}}, {{}, {{80, 90}}})};
  match.exempt = {from_to(Hook::leave, {}, {{block("10.0.0.9")}, {{22, 22}}})};
  CHECK(connection_match_from_json(to_json(match)) == match);
  for (const Json& wrong : {Json(), Json::array(), Json({{"place", 1}}), Json({{"place", to_json(match.place)}, {"affected", {{{"hook", "nowhere"}}}}})}) CHECK_THROWS_AS(connection_match_from_json(wrong), Error);
}

TEST_CASE("a connection that is listed no more was ended, new ones do not hide it", "[net.cut]") {
  const Json before = {{"cookies", {"a", "b", "c"}}, {"listed", true}};
  CHECK(count_cut(before, {{"cookies", {"d", "b"}}, {"listed", true}}).gone == 2);
  CHECK(count_cut(before, {{"cookies", Json::array()}, {"listed", true}}).gone == 3);
  CHECK(count_cut(before, before).gone == 0);
  CHECK_FALSE(count_cut(before, {{"cookies", {"d"}}, {"listed", false}}).whole);
  CHECK_THROWS_AS(count_cut(before, Json::object()), Error);
}

TEST_CASE("the ops on connections keep the laws: known before, nothing to undo however often", "[net.cut]") {
  const OpType* cut = find_op("net.cut");
  const OpType* done = find_op("net.cut_done");
  const OpType* look = find_op("net.connections");
  REQUIRE((cut != nullptr && done != nullptr && look != nullptr));
  CHECK((cut->apply != nullptr && cut->look == nullptr && cut->undo == nullptr));
  CHECK((done->undo != nullptr && done->look == nullptr && done->apply == nullptr));
  CHECK((look->look != nullptr && look->lasts == Lasts::look));
}
