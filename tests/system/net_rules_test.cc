// Packets refused and lost by nftables rules, in namespaces of their own, with TCP and UDP of both families.
#include <catch2/catch.hpp>

#include <netinet/tcp.h>

#include <filesystem>
#include <fstream>

#include "tests/system/net_rules.h"

using namespace capsize;
using namespace capsize::net_test;

namespace {

AddressBlock block(const std::string& text) { return std::get<AddressBlock>(parse_address_block(text)); }

// How many of so many datagrams came through.
std::uint64_t came_through(const NetPair& net, const std::string& host, std::uint64_t count, std::uint16_t port = kPort) {
  const UniqueFd receiver = bound_in(net.far, host, port, SOCK_DGRAM);
  const UniqueFd sender = connected_in(net.near, host, port, SOCK_DGRAM);
  std::uint64_t got = 0;
  char byte = 0;
  const auto take = [&] {
    while (::recv(receiver.get(), &byte, 1, MSG_DONTWAIT) == 1) ++got;
  };
  for (std::uint64_t i = 0; i < count; ++i) {
    if (::send(sender.get(), "x", 1, 0) != 1) throw std::runtime_error(std::string("send: ") + std::strerror(errno));
    if (i % 100 == 0) take();
  }
  ::usleep(20'000);
  take();
  return got;
}

// Of one connection that sends for a second.
std::uint32_t retransmits_of_a_transfer(const NetPair& net, const std::string& host) {
  const UniqueFd listener = bound_in(net.far, host, kPort, SOCK_STREAM);
  UniqueFd sender = connected_in(net.near, host, kPort, SOCK_STREAM);
  const UniqueFd receiver(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  std::thread reading([&] {
    std::vector<char> buffer(1 << 20);
    while (::recv(receiver.get(), buffer.data(), buffer.size(), 0) > 0) {
    }
  });
  ::setsockopt(sender.get(), IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
  const unsigned pace = 12'500'000;  // bytes a second: at full speed a busy machine loses packets by itself
  ::setsockopt(sender.get(), SOL_SOCKET, SO_MAX_PACING_RATE, &pace, sizeof pace);
  std::vector<char> data(64 << 10);
  const SystemClock clock;
  const timeval patience{0, 300'000};
  ::setsockopt(sender.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  for (const TimePoint end = clock.now() + std::chrono::seconds(1); clock.now() < end;) ::send(sender.get(), data.data(), data.size(), MSG_NOSIGNAL);
  tcp_info info{};
  socklen_t size = sizeof info;
  ::getsockopt(sender.get(), IPPROTO_TCP, TCP_INFO, &info, &size);
  const linger at_once{1, 0};  // what was not received is not waited for
  ::setsockopt(sender.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  sender.reset();
  ::shutdown(receiver.get(), SHUT_RDWR);
  reading.join();
  return info.tcpi_total_retrans;
}

}  // namespace

TEST_CASE("a refusal is heard by who connects, whether met when it leaves or when it arrives, by IPv4 and IPv6", "[net.rules]") {
  const ReadyPair net;
  struct Case {
    Refusal refusal;
    int tcp4, tcp6, udp4, udp6;  // what the sender hears; 0: nothing
  };
  const std::vector<Case> cases = {{Refusal::tcp_reset, ECONNREFUSED, ECONNREFUSED, ECONNREFUSED, ECONNREFUSED},
                                   {Refusal::unreachable, EHOSTUNREACH, EHOSTUNREACH, 0, 0},
                                   {Refusal::prohibited, EHOSTUNREACH, EACCES, EHOSTUNREACH, EACCES},
                                   {Refusal::silent, ETIMEDOUT, ETIMEDOUT, 0, 0}};
  const UniqueFd far4 = bound_in(net.far, kFar4, kPort, SOCK_STREAM), far6 = bound_in(net.far, kFar6, kPort, SOCK_STREAM), other = bound_in(net.far, kFar4, kPort + 1, SOCK_STREAM);
  const UniqueFd datagrams4 = bound_in(net.far, kFar4, kPort, SOCK_DGRAM), datagrams6 = bound_in(net.far, kFar6, kPort, SOCK_DGRAM);
  for (const Hook hook : {Hook::arrive, Hook::leave}) {
    for (const Case& one : cases) {
      INFO("refusal " << static_cast<int>(one.refusal) << (hook == Hook::leave ? " leaving" : " arriving"));
      const auto held = hold_by_rules(by_rules(net, hook, refusal_of(one.refusal)));
      // An answer by ICMP that comes while connect() still runs is taken note of, and heeded when the next SYN is answered so, a second later.
      const int patience = one.refusal == Refusal::silent ? 400 : 10'000;
      CHECK(try_to_connect(net.near, kFar4, kPort, patience) == one.tcp4);
      CHECK(try_to_connect(net.near, kFar6, kPort, patience) == one.tcp6);
      CHECK(try_to_connect(net.near, kFar4, kPort + 1) == 0);
      const DatagramTry try4 = try_datagram(net.near, kFar4), try6 = try_datagram(net.near, kFar6);
      // Refused as it leaves: the sender is told both at once and by an answer. Lost silently: never, nowhere.
      const int told = hook == Hook::leave && one.refusal != Refusal::silent ? EPERM : 0;
      CHECK(try4.send_error == told);
      CHECK(try6.send_error == told);
      CHECK(try4.answer == one.udp4);
      CHECK(try6.answer == one.udp6);
      const ImpairCounts counts = held->counts();
      CHECK(counts.matched >= 4);
      CHECK(counts.dropped == counts.matched);
      CHECK(counts.matched_bytes > counts.matched * 20);
      held->release();
      CHECK(try_to_connect(net.near, kFar4) == 0);
      CHECK(try_to_connect(net.near, kFar6) == 0);
    }
  }
}

TEST_CASE("packets over loopback are met", "[net.rules]") {
  const ReadyPair net;
  for (const std::string host : {"127.0.0.1", "::1"}) {
    const UniqueFd listener = bound_in(net.near, host, kPort, SOCK_STREAM);
    for (const Hook hook : {Hook::arrive, Hook::leave}) {
      for (const auto& [refusal, heard] : std::vector<std::pair<Refusal, int>>{{Refusal::tcp_reset, ECONNREFUSED}, {Refusal::silent, ETIMEDOUT}}) {
        INFO(host << " refusal " << static_cast<int>(refusal));
        Impairment refused = by_rules(net, hook, refusal_of(refusal), Protocol::tcp);
        refused.place = net.near;
        const auto held = hold_by_rules(refused);
        CHECK(try_to_connect(net.near, host) == heard);
        held->release();
        CHECK(try_to_connect(net.near, host) == 0);
      }
    }
  }
}

TEST_CASE("an established connection is reset, or stands still and goes on", "[net.rules]") {
  const ReadyPair net;
  for (const std::string& host : {kFar4, kFar6}) {
    for (const Hook hook : {Hook::arrive, Hook::leave}) {
      const UniqueFd listener = bound_in(net.far, host, kPort, SOCK_STREAM);
      const UniqueFd client = connected_in(net.near, host, kPort, SOCK_STREAM);
      const UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      char byte = 0;
      {
        const auto held = hold_by_rules(by_rules(net, hook, refusal_of(Refusal::silent)));
        REQUIRE(::send(client.get(), "a", 1, 0) == 1);
        pollfd wait{server.get(), POLLIN, 0};
        CHECK(::poll(&wait, 1, 100) == 0);
      }
      pollfd wait{server.get(), POLLIN, 0};
      REQUIRE(::poll(&wait, 1, 20'000) == 1);
      CHECK(::recv(server.get(), &byte, 1, 0) == 1);
      const auto held = hold_by_rules(by_rules(net, hook, refusal_of(Refusal::tcp_reset)));
      ::send(client.get(), "b", 1, MSG_NOSIGNAL);
      pollfd reset{client.get(), POLLIN, 0};
      REQUIRE(::poll(&reset, 1, 20'000) == 1);
      CHECK(::recv(client.get(), &byte, 1, 0) < 0);
      CHECK(errno == ECONNRESET);
    }
  }
}

TEST_CASE("the share that is lost is the share that was asked for, and every lost packet is counted", "[net.rules]") {
  const ReadyPair net;
  constexpr std::uint64_t kCount = 4000;
  for (const std::string& host : {kFar4, kFar6}) {
    for (const Hook hook : {Hook::arrive, Hook::leave}) {
      for (const double share : {0.02, 0.3, 1.0}) {
        INFO(host << (hook == Hook::leave ? " leaving " : " arriving ") << share);
        const auto held = hold_by_rules(by_rules(net, hook, loss_of(share), Protocol::udp));
        const std::uint64_t got = came_through(net, host, kCount);
        const ImpairCounts counts = held->counts();
        CHECK(counts.matched == kCount);
        CHECK(counts.dropped == kCount - got);
        CHECK(is_near_share(counts.dropped, kCount, share));
        held->release();
        CHECK(came_through(net, host, 100) == 100);
      }
    }
  }
}

TEST_CASE("TCP meets a loss on its way out as one of the network: it sends again", "[net.rules]") {
  const ReadyPair net;
  for (const std::string& host : {kFar4, kFar6}) {
    const std::uint32_t without = retransmits_of_a_transfer(net, host);
    for (const Hook hook : {Hook::arrive, Hook::leave}) {
      const auto held = hold_by_rules(by_rules(net, hook, loss_of(0.03)));
      std::uint32_t with = 0;
      ImpairCounts counts;
      for (int more = 0; more < 30 && counts.dropped < 10; ++more) {
        with += retransmits_of_a_transfer(net, host);
        counts = held->counts();
      }
      INFO(host << (hook == Hook::leave ? " leaving" : " arriving") << ": sent again " << with << ", without loss " << without << ", lost " << counts.dropped);
      CHECK(counts.dropped >= 10);
      CHECK(with >= counts.dropped / 3);
      CHECK(with > 3 * without);
    }
  }
}

TEST_CASE("what is exempt is spared, whatever else matches it", "[net.rules]") {
  const ReadyPair net;
  const UniqueFd far4 = bound_in(net.far, kFar4, kPort, SOCK_STREAM), far6 = bound_in(net.far, kFar6, kPort, SOCK_STREAM);
  for (const Hook hook : {Hook::arrive, Hook::leave}) {
    Impairment refused = by_rules(net, hook, refusal_of(Refusal::tcp_reset));
    refused.affected.front().destination = {};  // everything
    PacketMatch spared = refused.affected.front();
    spared.destination.addresses = {block(kFar4)};
    spared.destination.ports = {{kPort - 1, kPort + 1}};
    refused.exempt = {spared};
    const auto held = hold_by_rules(refused);
    CHECK(try_to_connect(net.near, kFar4) == 0);
    CHECK(try_to_connect(net.near, kFar6) == ECONNREFUSED);
    CHECK(try_to_connect(net.near, kFar4, kPort + 2) == ECONNREFUSED);
  }
}

TEST_CASE("the answer of a refusal is not refused in turn, where every packet of both directions is", "[net.rules]") {
  const ReadyPair net;
  const UniqueFd far4 = bound_in(net.far, kFar4, kPort, SOCK_STREAM), far6 = bound_in(net.far, kFar6, kPort, SOCK_STREAM);
  const UniqueFd loopback = bound_in(net.near, "127.0.0.1", kPort, SOCK_STREAM);
  for (const auto& [refusal, heard4, heard6] : std::vector<std::tuple<Refusal, int, int>>{{Refusal::tcp_reset, ECONNREFUSED, ECONNREFUSED}, {Refusal::prohibited, EHOSTUNREACH, EACCES}}) {
    Impairment refused = by_rules(net, Hook::leave, refusal_of(refusal));
    refused.affected.assign(2, PacketMatch{});
    refused.affected[1].hook = Hook::leave;
    const auto held = hold_by_rules(refused);
    CHECK(try_to_connect(net.near, kFar4, kPort, 10'000) == heard4);
    CHECK(try_to_connect(net.near, kFar6, kPort, 10'000) == heard6);
    CHECK(try_to_connect(net.near, "127.0.0.1", kPort, 10'000) == heard4);
  }
}

TEST_CASE("packets are chosen by addresses, blocks, ports, ranges and protocol", "[net.rules]") {
  const ReadyPair net;
  const UniqueFd listener = bound_in(net.far, kFar4, kPort, SOCK_STREAM), listener6 = bound_in(net.far, kFar6, kPort, SOCK_STREAM);
  const auto heard = [&](const std::function<void(PacketMatch&)>& choose) {
    Impairment refused = by_rules(net, Hook::arrive, refusal_of(Refusal::tcp_reset));
    refused.affected.front() = {};
    choose(refused.affected.front());
    const auto held = hold_by_rules(refused);
    const auto one = [&](const std::string& host) { return try_to_connect(net.near, host) == ECONNREFUSED ? "hit" : "spared"; };
    return fmt::format("{} {}", one(kFar4), one(kFar6));
  };
  const auto to = [](std::vector<const char*> blocks) {
    return [blocks](PacketMatch& match) {
      for (const char* text : blocks) match.destination.addresses.push_back(block(text));
    };
  };
  CHECK(heard(to({"10.77.0.2"})) == "hit spared");
  CHECK(heard(to({"10.77.0.3"})) == "spared spared");
  CHECK(heard(to({"10.77.0.0/30"})) == "hit spared");
  CHECK(heard(to({"10.77.0.4/30"})) == "spared spared");
  CHECK(heard(to({"0.0.0.0/0"})) == "hit spared");
  CHECK(heard(to({"fd77::/16"})) == "spared hit");
  CHECK(heard(to({"10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"})) == "hit hit");
  CHECK(heard(to({"10.77.0.1", "10.77.0.3", "fd77::1", "fd77::3"})) == "spared spared");
  CHECK(heard(to({"10.0.0.0/10", "10.77.0.2", "192.168.0.0/16", "fd77::/64", "::1"})) == "hit hit");
  CHECK(heard(to({"10.0.0.0/10", "10.77.0.3", "10.77.0.0/31", "fd78::/64", "::/3", "fd77::3"})) == "spared spared");
  CHECK(heard(to({"10.77.0.0/31", "10.77.0.2", "10.77.0.3", "255.0.0.0/8"})) == "hit spared");
  CHECK(heard([](PacketMatch& match) { match.source.addresses = {block(kNear4), block("fd77::3")}; }) == "hit spared");
  CHECK(heard([](PacketMatch& match) { match.source.addresses = {block(kNear4)}, match.destination.addresses = {block(kFar6)}; }) == "spared spared");
  CHECK(heard([](PacketMatch& match) { match.destination.ports = {{kPort, kPort}}; }) == "hit hit");
  CHECK(heard([](PacketMatch& match) { match.destination.ports = {{kPort - 100, kPort}}; }) == "hit hit");
  CHECK(heard([](PacketMatch& match) { match.destination.ports = {{1, kPort - 1}, {kPort + 1, 65535}}; }) == "spared spared");
  CHECK(heard([](PacketMatch& match) { match.destination.ports = {{1, 80}, {443, 443}, {kPort, 65535}}; }) == "hit hit");
  CHECK(heard([](PacketMatch& match) { match.source.ports = {{1024, 65535}}; }) == "hit hit");
  CHECK(heard([](PacketMatch& match) { match.protocol = Protocol::tcp; }) == "hit hit");
  CHECK(heard([](PacketMatch& match) { match.protocol = Protocol::udp; }) == "spared spared");
  CHECK(heard([](PacketMatch& match) { match.protocol = Protocol::icmp; }) == "spared spared");
}

TEST_CASE("ten thousand addresses are one set, and only they are met", "[net.rules]") {
  const ReadyPair net;
  const UniqueFd listener = bound_in(net.far, kFar4, kPort, SOCK_STREAM), listener6 = bound_in(net.far, kFar6, kPort, SOCK_STREAM);
  Impairment cut = by_rules(net, Hook::arrive, refusal_of(Refusal::silent));
  cut.affected.front() = {};
  auto& peers = cut.affected.front().source.addresses;
  for (int i = 0; i < 10'000; ++i) peers.push_back(block(fmt::format("10.{}.{}.7", 100 + i / 250, i % 250)));
  for (int i = 0; i < 10'000; ++i) peers.push_back(block(fmt::format("fd00:{:x}::7", i)));
  PacketMatch back = cut.affected.front();
  back.hook = Hook::leave;
  std::swap(back.source, back.destination);
  cut.affected.push_back(back);
  {
    const auto held = hold_by_rules(cut);
    CHECK(try_to_connect(net.near, kFar4) == 0);
    CHECK(try_to_connect(net.near, kFar6) == 0);
    const std::string text = ruleset(net.far);
    std::size_t sets = 0;
    for (std::size_t at = 0; (at = text.find("\tset ", at)) != std::string::npos; ++at) ++sets;
    CHECK(sets == 2);  // one a family, for both directions
    CHECK(std::count(text.begin(), text.end(), '.') >= 30'000);
  }
  for (const std::string& host : {kNear4, kNear6}) {
    cut.affected[0].source.addresses.push_back(block(host));
    cut.affected[1].destination.addresses.push_back(block(host));
  }
  const auto held = hold_by_rules(cut);
  CHECK(try_to_connect(net.near, kFar4) == ETIMEDOUT);
  CHECK(try_to_connect(net.near, kFar6) == ETIMEDOUT);
}

TEST_CASE("leaving packets are chosen by the user of the socket", "[net.rules]") {
  const ReadyPair net;
  const UniqueFd listener = bound_in(net.far, kFar4, kPort, SOCK_STREAM);
  for (const Refusal refusal : {Refusal::silent, Refusal::tcp_reset}) {
    Impairment refused = by_rules(net, Hook::leave, refusal_of(refusal));
    refused.affected.front().user = 12345;
    const auto held = hold_by_rules(refused);
    CHECK(try_to_connect(net.near, kFar4) == 0);
    UniqueFd fd;
    in_network_namespace(net.near, [&] {
      ::setfsuid(12345);  // a socket is its maker's
      fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      ::setfsuid(0);
    });
    const SocketAddress address = socket_address(kFar4, kPort);
    ::connect(fd.get(), address.get(), address.size);
    pollfd wait{fd.get(), POLLOUT, 0};
    int heard = ::poll(&wait, 1, 400) == 0 ? ETIMEDOUT : 0;
    socklen_t size = sizeof heard;
    if (heard == 0) ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &heard, &size);
    CHECK(heard == (refusal == Refusal::silent ? ETIMEDOUT : ECONNREFUSED));
  }
}

TEST_CASE("leaving packets are chosen by the cgroup of the socket", "[net.rules]") {
  std::ifstream mounts("/proc/self/mounts");
  std::string mount;
  for (std::string device, path, kind, rest; mounts >> device >> path >> kind && std::getline(mounts, rest);) {
    if (kind == "cgroup2") mount = path;
  }
  if (mount.empty()) {
    WARN("no cgroup 2 hierarchy is mounted here: nothing was tried");
    return;
  }
  const std::string name = "capsize-test-" + std::to_string(::getpid());
  REQUIRE(std::filesystem::create_directories(mount + "/" + name + "/inner"));
  {
    const ReadyPair net;
    const UniqueFd listener = bound_in(net.far, kFar4, kPort, SOCK_STREAM);
    for (const Refusal refusal : {Refusal::silent, Refusal::tcp_reset}) {
      Impairment refused = by_rules(net, Hook::leave, refusal_of(refusal));
      refused.affected.front().cgroup = name;
      const auto held = hold_by_rules(refused);
      CHECK(try_to_connect(net.near, kFar4) == 0);
      for (const std::string& group : {name, name + "/inner"}) {  // those below it are in it
        const pid_t pid = ::fork();
        if (pid == 0) {
          std::ofstream(mount + "/" + group + "/cgroup.procs") << ::getpid() << std::flush;
          ::_exit(try_to_connect(net.near, kFar4));
        }
        int status = 0;
        ::waitpid(pid, &status, 0);
        CHECK(WEXITSTATUS(status) == (refusal == Refusal::silent ? ETIMEDOUT : ECONNREFUSED));
      }
      CHECK(held->counts().matched > 0);
    }
    Impairment nowhere = by_rules(net, Hook::leave, refusal_of(Refusal::silent));
    nowhere.affected.front().cgroup = name + "/never";
    CHECK_THROWS_WITH(hold_by_rules(nowhere), Catch::Contains("no cgroup " + name + "/never"));
  }
  std::filesystem::remove(mount + "/" + name + "/inner");
  std::filesystem::remove(mount + "/" + name);
}

TEST_CASE("a neighbour stays known while all its IPv6 packets are lost, as with IPv4", "[net.rules]") {
  const ReadyPair net;
  const UniqueFd listener = bound_in(net.far, kFar6, kPort, SOCK_STREAM);
  Impairment cut = by_rules(net, Hook::arrive, refusal_of(Refusal::silent));
  cut.affected.front() = {};
  PacketMatch back = cut.affected.front();
  back.hook = Hook::leave;
  cut.affected.push_back(back);
  {
    const auto held = hold_by_rules(cut);
    CHECK(try_to_connect(net.near, kFar6) == ETIMEDOUT);
    CHECK(output_of_tool({"ip", "-n", name_of(net.near), "neigh", "show", "to", kFar6}).find("lladdr") != std::string::npos);
  }
  CHECK(try_to_connect(net.near, kFar6) == 0);
}
