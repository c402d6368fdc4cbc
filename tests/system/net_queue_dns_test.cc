// DNS queries met by the queue back end, asked by a resolver of the test's own: where they arrive at the server, and where they leave the
// client.
#include <catch2/catch.hpp>

#include <thread>

#include "injector/net/backends.h"
#include "tests/system/net_pair.h"

using namespace capsize;
using namespace capsize::net_test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t kDns = 53;

std::string query_for(const std::string& first, const std::string& second, std::uint16_t id) {
  std::string out = {static_cast<char>(id >> 8), static_cast<char>(id), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  for (const std::string& label : {first, second}) out += static_cast<char>(label.size()) + label;
  return out + std::string("\0\0\1\0\1", 5);
}

// Answers every query with no error, until it is gone.
class Server {
 public:
  Server(const NetworkNamespace& place, const std::string& host)
      : socket_(bound_in(place, host, kDns, SOCK_DGRAM)), thread_([this] {
          const timeval patience{0, 50'000};
          ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
          while (!stop_) {
            char query[512];
            SocketAddress from;
            from.size = sizeof from.bytes;
            const auto size = ::recvfrom(socket_.get(), query, sizeof query, 0, reinterpret_cast<sockaddr*>(&from.bytes), &from.size);
            if (size < 12) continue;
            ++seen;
            query[2] = static_cast<char>(0x81);
            ::sendto(socket_.get(), query, static_cast<std::size_t>(size), 0, from.get(), from.size);
          }
        }) {}
  ~Server() {
    stop_ = true;
    thread_.join();
  }
  std::atomic<int> seen{0};

 private:
  std::atomic<bool> stop_{false};
  UniqueFd socket_;
  std::thread thread_;
};

struct Answer {
  int code = -1;  // -1: none
  double took_ms = 0;
};

Answer ask(const NetPair& net, const std::string& host, const std::string& first, const std::string& second) {
  static std::uint16_t id = 0;
  const UniqueFd socket = connected_in(net.near, host, kDns, SOCK_DGRAM);  // connected: takes answers only from whom it asked
  const timeval patience{0, 700'000};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const std::string query = query_for(first, second, ++id);
  const SystemClock clock;
  const TimePoint begun = clock.now();
  must(::send(socket.get(), query.data(), query.size(), 0) == static_cast<ssize_t>(query.size()), "send");
  char answer[512];
  const auto size = ::recv(socket.get(), answer, sizeof answer, 0);
  const double took = seconds(clock.now() - begun) * 1e3;
  if (size < 12) return {-1, took};
  if (std::string(answer, 2) != query.substr(0, 2) || std::string(answer + 12, static_cast<std::size_t>(size) - 12) != query.substr(12)) return {-2, took};
  return {answer[3] & 0xf, took};
}

struct Case {
  std::string host;
  bool at_client = false;
};

Impairment dns_fault(const NetPair& net, const Case& where, DnsAnswer answer, Duration delay = {}) {
  PacketEffect effect;
  effect.dns = DnsEffect{{"db.staging", "*.lab"}, answer, delay};
  Impairment out = impairment(where.at_client ? net.near : net.far, effect, Protocol::udp, kDns);
  if (where.at_client) out.affected[0].hook = Hook::leave;
  return out;
}

}  // namespace

TEST_CASE("queries for chosen names are answered in the server's name, the others by the server", "[net_queue][net_dns]") {
  NetPair net;
  const Case where = GENERATE(Case{kFar4, false}, Case{kFar6, false}, Case{kFar4, true}, Case{kFar6, true});
  INFO(where.host << (where.at_client ? " at the client" : " at the server"));
  Server server(net.far, where.host);
  REQUIRE(ask(net, where.host, "Db", "STAGING").code == 0);
  for (const auto& [answer, code] : {std::pair{DnsAnswer::nxdomain, 3}, std::pair{DnsAnswer::servfail, 2}}) {
    server.seen = 0;
    const auto held = hold_by_queue(dns_fault(net, where, answer));
    CHECK(ask(net, where.host, "Db", "STAGING").code == code);
    CHECK(ask(net, where.host, "www", "lab").code == code);
    CHECK(server.seen == 0);
    CHECK(ask(net, where.host, "web", "staging").code == 0);
    CHECK(held->counts().answered == 2);
    CHECK(held->counts().matched == 3);
  }
  CHECK(ask(net, where.host, "db", "staging").code == 0);
}

TEST_CASE("queries for chosen names are lost or late, the others are not", "[net_queue][net_dns]") {
  NetPair net;
  const Case where = GENERATE(Case{kFar4, false}, Case{kFar6, true});
  Server server(net.far, where.host);
  {
    const auto held = hold_by_queue(dns_fault(net, where, DnsAnswer::silence));
    CHECK(ask(net, where.host, "db", "staging").code == -1);
    CHECK(server.seen == 0);
    CHECK(ask(net, where.host, "web", "staging").code == 0);
    CHECK(held->counts().dropped == 1);
  }
  const auto held = hold_by_queue(dns_fault(net, where, DnsAnswer::delay, 300ms));
  const Answer late = ask(net, where.host, "db", "staging");
  CHECK(late.code == 0);
  CHECK(late.took_ms > 299);
  const Answer prompt = ask(net, where.host, "web", "staging");
  CHECK(prompt.code == 0);
  CHECK(prompt.took_ms < 250);
  CHECK(held->counts().delayed == 1);
}
