// net.cut on real connections: both ends see the reset, the others live on.
#include <catch2/catch.hpp>

#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <sched.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include "injector/net/connections.h"
#include "injector/netlink/network_namespace.h"
#include "injector/ops/net_cut.h"
#include "tests/system/net_pair.h"
#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;
using net_test::SocketAddress;
using net_test::socket_address;

namespace {

// A network namespace of its own with loopback, kept by a descriptor; never entered by the thread of the test for longer than a call.
class OwnNetwork {
 public:
  OwnNetwork() {
    std::thread([this] {  // the thread ends, and its namespace lives by the descriptor
      if (::unshare(CLONE_NEWNET) != 0) return;
      fd_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      ifreq request{};
      std::string("lo").copy(request.ifr_name, IFNAMSIZ - 1);
      request.ifr_flags = IFF_UP;
      ::ioctl(socket.get(), SIOCSIFFLAGS, &request);
    }).join();
    if (fd_) place_ = look_up_network_namespace(fmt::format("/proc/self/fd/{}", fd_.get()));
  }
  bool made() const { return static_cast<bool>(fd_); }
  const NetworkNamespace& place() const { return place_; }
  UniqueFd socket(int family) const {
    UniqueFd out;
    in_network_namespace(place_, [&] { out.reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)); });
    return out;
  }

 private:
  UniqueFd fd_;
  NetworkNamespace place_;
};

// Connections to one listening port, both ends in our hands.
class Service {
 public:
  Service(const OwnNetwork& network, const std::string& listens_at, std::uint16_t port, const std::string& asked_at, int connections) {
    listener_ = network.socket(listens_at.find(':') == std::string::npos ? AF_INET : AF_INET6);
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const SocketAddress at = socket_address(listens_at, port);
    REQUIRE(::bind(listener_.get(), at.get(), at.size) == 0);
    REQUIRE(::listen(listener_.get(), 512) == 0);
    const SocketAddress to = socket_address(asked_at, port);
    for (int i = 0; i < connections; ++i) {
      UniqueFd client = network.socket(asked_at.find(':') == std::string::npos ? AF_INET : AF_INET6);
      REQUIRE(::connect(client.get(), to.get(), to.size) == 0);
      UniqueFd server(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      REQUIRE(server);
      clients.push_back(std::move(client));
      servers.push_back(std::move(server));
    }
  }
  std::vector<UniqueFd> clients, servers;

 private:
  UniqueFd listener_;
};

// What a reader is told of a connection: 0, or the errno of its end; EAGAIN when it is alive.
int read_error(const UniqueFd& fd) {
  char byte = 0;
  const ssize_t count = ::recv(fd.get(), &byte, 1, MSG_DONTWAIT);
  return count < 0 ? errno : 0;
}

bool lives(const UniqueFd& one, const UniqueFd& other) {
  char byte = 'x';
  if (::send(one.get(), &byte, 1, MSG_NOSIGNAL) != 1) return false;
  pollfd wanted{other.get(), POLLIN, 0};
  return ::poll(&wanted, 1, 20000) == 1 && ::recv(other.get(), &byte, 1, MSG_DONTWAIT) == 1;
}

// Both ends are told: the one that was cut ECONNABORTED, its peer ECONNRESET.
bool both_cut(const UniqueFd& one, const UniqueFd& other) {
  const int first = read_error(one);
  const int second = read_error(other);
  return (first == ECONNABORTED && second == ECONNRESET) || (first == ECONNRESET && second == ECONNABORTED);
}

std::size_t count_cut_pairs(const Service& service) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < service.clients.size(); ++i) count += both_cut(service.clients[i], service.servers[i]) ? 1 : 0;
  return count;
}

std::size_t count_living_pairs(const Service& service) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < service.clients.size(); ++i) count += lives(service.clients[i], service.servers[i]) && lives(service.servers[i], service.clients[i]) ? 1 : 0;
  return count;
}

AddressBlock block(const std::string& text) { return std::get<AddressBlock>(parse_address_block(text)); }

PacketMatch to_port(std::uint16_t port) {
  PacketMatch match;
  match.hook = Hook::arrive;
  match.destination.ports = {{port, port}};
  match.protocol = Protocol::tcp;
  return match;
}

std::uint16_t local_port(const UniqueFd& fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);  // at the same place in both families
}

}  // namespace

TEST_CASE("200 connections of both families are cut at once, both ends see it, and the others live on", "[net.cut]") {
  if (::geteuid() != 0) {
    WARN("skipped: a network namespace needs root");
    return;
  }
  const OwnNetwork network;
  REQUIRE(network.made());
  Service v4(network, "127.0.0.1", 8081, "127.0.0.1", 80);
  Service v6(network, "::1", 8081, "::1", 80);
  Service mapped(network, "::", 8082, "127.0.0.1", 40);  // an IPv6 socket with IPv4 packets
  Service other(network, "127.0.0.1", 8083, "127.0.0.1", 30);
  Service exempt(network, "127.0.0.2", 8081, "127.0.0.2", 20);

  ConnectionMatch match;
  match.place = network.place();
  match.affected = {to_port(8081), to_port(8082)};
  PacketMatch control_path;
  control_path.hook = Hook::leave;
  control_path.destination.addresses = {block("127.0.0.2/32")};
  match.exempt = {control_path};
  Control control;
  const Op look{"net.connections", to_json(match)};
  const Json before = control.look(look);
  INFO(before.dump());
  CHECK(before["matching"] == 200);
  CHECK(before["v4"] == 120);
  CHECK(before["v6"] == 80);
  CHECK(before["exempt"] == 20);

  const Applied applied = control.apply({"net.cut", to_json(match)});
  INFO(applied.detail.dump());
  CHECK(applied.detail["cut"] == 200);
  CHECK(applied.detail["exempt"] == 20);
  CHECK(applied.detail["failed"].empty());
  CHECK(count_cut_pairs(v4) == 80);
  CHECK(count_cut_pairs(v6) == 80);
  CHECK(count_cut_pairs(mapped) == 40);
  CHECK(count_living_pairs(other) == 30);
  CHECK(count_living_pairs(exempt) == 20);

  const Json after = control.look(look);
  CHECK(after["matching"] == 0);
  const CutCount count = count_cut(before, after);
  CHECK(count.before == 200);
  CHECK(count.gone == 200);
  CHECK(count.whole);
  for (int times = 0; times < 2; ++times) CHECK(control.undo({"net.cut_done", to_json(match)}).state == UndoState::nothing_to_undo);
  Service again(network, "127.0.0.1", 8084, "127.0.0.1", 1);  // nothing keeps anybody from connecting anew
  CHECK(count_living_pairs(again) == 1);
}

TEST_CASE("a connection whose two ends are both matched is cut once, and its other end is not an error", "[net.cut]") {
  if (::geteuid() != 0) {
    WARN("skipped: a network namespace needs root");
    return;
  }
  const OwnNetwork network;
  REQUIRE(network.made());
  Service service(network, "127.0.0.1", 8081, "127.0.0.1", 50);
  ConnectionMatch match;
  match.place = network.place();
  match.affected = {to_port(8081)};
  match.affected.push_back({});  // whatever arrives
  Control control;
  CHECK(control.look({"net.connections", to_json(match)})["matching"] == 100);
  const Applied applied = control.apply({"net.cut", to_json(match)});
  INFO(applied.detail.dump());
  CHECK(applied.detail["cut"].get<int>() + applied.detail["already_gone"].get<int>() == 100);
  CHECK(applied.detail["cut"] >= 50);
  CHECK(applied.detail["failed"].empty());
  for (std::size_t i = 0; i < service.clients.size(); ++i) CHECK((read_error(service.clients[i]) != EAGAIN && read_error(service.servers[i]) != EAGAIN));
}

TEST_CASE("connections are chosen by the user who has them, and by one exact end", "[net.cut]") {
  if (::geteuid() != 0) {
    WARN("skipped: a network namespace needs root");
    return;
  }
  const OwnNetwork network;
  REQUIRE(network.made());
  Service service(network, "127.0.0.1", 8081, "127.0.0.1", 3);
  REQUIRE(::fchown(service.clients[1].get(), 65534, 65534) == 0);
  Control control;
  ConnectionMatch match;
  match.place = network.place();
  PacketMatch of_user;
  of_user.hook = Hook::leave;
  of_user.user = 65534;
  match.affected = {of_user};
  CHECK(control.apply({"net.cut", to_json(match)}).detail["cut"] == 1);
  CHECK(both_cut(service.clients[1], service.servers[1]));
  PacketMatch exact = to_port(8081);
  exact.source.addresses = {block("127.0.0.1")};
  exact.source.ports = {{local_port(service.clients[2]), local_port(service.clients[2])}};
  match.affected = {exact};
  CHECK(control.apply({"net.cut", to_json(match)}).detail["cut"] == 1);
  CHECK(both_cut(service.clients[2], service.servers[2]));
  CHECK(lives(service.clients[0], service.servers[0]));
}

TEST_CASE("a socket that took the place of one that was listed is not cut in its stead", "[net.cut]") {
  if (::geteuid() != 0) {
    WARN("skipped: a network namespace needs root");
    return;
  }
  const OwnNetwork network;
  REQUIRE(network.made());
  Service service(network, "127.0.0.1", 8081, "127.0.0.1", 1);
  auto listed = list_tcp_sockets(network.place(), {TcpState::established});
  REQUIRE(listed.size() == 2);
  for (TcpSocket& socket : listed) ++socket.identity.cookie;  // the same ends, another socket
  for (const CutAnswer& answer : cut_tcp_sockets(network.place(), listed)) CHECK(answer.cut == Cut::already_gone);
  CHECK(count_living_pairs(service) == 1);
}

TEST_CASE("without CAP_NET_ADMIN nothing is cut, and the message names it", "[net.cut]") {
  if (::geteuid() != 0) {
    WARN("skipped: becoming another user needs root");
    return;
  }
  const OwnNetwork network;
  REQUIRE(network.made());
  Service service(network, "127.0.0.1", 8081, "127.0.0.1", 1);
  Child stranger([&] {
    if (::setns(::open(network.place().path.c_str(), O_RDONLY), CLONE_NEWNET) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) return 10;
    Control control;
    ConnectionMatch match;
    match.affected = {to_port(8081)};
    if (control.look({"net.connections", to_json(match)})["matching"] != 1) return 11;  // to look needs no privilege
    try {
      control.apply({"net.cut", to_json(match)});
      return 12;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::privilege || std::string(error.what()).find("CAP_NET_ADMIN") == std::string::npos) return 13;
    }
    return 0;
  });
  std::optional<int> status;
  Control control;
  REQUIRE(control.until([&] {
    status = stranger.poll();
    return status.has_value();
  }));
  REQUIRE(WIFEXITED(*status));
  CHECK(WEXITSTATUS(*status) == 0);
  CHECK(count_living_pairs(service) == 1);
}

TEST_CASE("what cutting costs", "[.][figures]") {
  const OwnNetwork network;
  for (const int connections : {1, 100, 400}) {
    std::vector<double> took;
    for (int round = 0; round < 20; ++round) {
      Service service(network, "127.0.0.1", 8081, "127.0.0.1", connections);
      ConnectionMatch match;
      match.place = network.place();
      match.affected = {to_port(8081)};
      Control control;
      took.push_back(control.apply({"net.cut", to_json(match)}).detail["took_ms"]);
    }
    std::sort(took.begin(), took.end());
    std::cout << fmt::format("{} connections: p50 {:.2f} ms, max {:.2f}\n", connections, took[took.size() / 2], took.back());
  }
}
