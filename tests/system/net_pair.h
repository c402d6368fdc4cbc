// Two hosts on one wire: network namespaces joined by a veth pair, with IPv4 and IPv6, and gone with the object. What the tests on
// network faults send through them.
#pragma once
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/rng.h"
#include "injector/base/unique_fd.h"
#include "injector/net/impairment.h"
#include "injector/netlink/network_namespace.h"

namespace capsize::net_test {

// Runs a program of the machine and waits for it; throws when it fails.
inline void run_tool(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (status != 0) {
    std::string line;
    for (const std::string& word : words) line += word + " ";
    throw std::runtime_error("failed: " + line);
  }
}

inline std::string name_of(const NetworkNamespace& place) { return place.path.substr(place.path.rfind('/') + 1); }  // as `ip netns` calls it

class NetPair {
 public:
  NetPair() : near_(name("n")), far_(name("f")) {
    const std::string near_end = "v0";
    run_tool({"ip", "netns", "add", near_});
    run_tool({"ip", "netns", "add", far_});
    run_tool({"ip", "-n", near_, "link", "add", near_end, "type", "veth", "peer", "name", near_end, "netns", far_});
    int host = 1;
    for (const std::string& side : {near_, far_}) {
      // Without duplicate address detection an address is there at once.
      run_tool({"ip", "-n", side, "addr", "add", "10.77.0." + std::to_string(host) + "/24", "dev", near_end});
      run_tool({"ip", "-n", side, "addr", "add", "fd77::" + std::to_string(host) + "/64", "dev", near_end, "nodad"});
      run_tool({"ip", "-n", side, "link", "set", "lo", "up"});
      run_tool({"ip", "-n", side, "link", "set", near_end, "up"});
      ++host;
    }
    near = look_up_network_namespace("/run/netns/" + near_);
    far = look_up_network_namespace("/run/netns/" + far_);
    find_each_other();
  }
  ~NetPair() {
    for (const std::string& side : {near_, far_}) {
      try {
        run_tool({"ip", "netns", "del", side});
      } catch (const std::exception&) {
      }
    }
  }
  NetPair(const NetPair&) = delete;
  NetPair& operator=(const NetPair&) = delete;

  NetworkNamespace near;  // 10.77.0.1, fd77::1: sends
  NetworkNamespace far;   // 10.77.0.2, fd77::2: receives

 private:
  void find_each_other() const;
  static std::string name(const std::string& side) {
    static int count = 0;
    return "capsize-test-" + std::to_string(::getpid()) + "-" + std::to_string(++count) + side;
  }
  std::string near_;
  std::string far_;
};

inline const std::string kFar4 = "10.77.0.2";
inline const std::string kFar6 = "fd77::2";
constexpr std::uint16_t kPort = 5001;
constexpr std::uint64_t kSeed = 20261123;

// Of packets to that port, where they arrive.
inline Impairment impairment(const NetworkNamespace& place, const PacketEffect& effect, Protocol protocol = Protocol::udp, std::uint16_t port = kPort) {
  static Rng names(static_cast<std::uint64_t>(::getpid()) ^ kSeed);
  Impairment out;
  out.name = fmt::format("capsize_{:012x}", names.next() & 0xffff'ffff'ffff);
  out.mark = static_cast<std::uint32_t>(names.next() | 0x8000'0000);
  out.place = place;
  PacketMatch match;
  match.protocol = protocol;
  match.destination.ports = {{port, port}};
  out.affected = {match};
  out.backend = ImpairBackend::queue;
  out.effect = effect;
  out.seed = kSeed;
  return out;
}

struct SocketAddress {
  sockaddr_storage bytes{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
};

inline SocketAddress socket_address(const std::string& host, std::uint16_t port) {
  SocketAddress out;
  auto& v4 = reinterpret_cast<sockaddr_in&>(out.bytes);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out.bytes);
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    out.size = sizeof v4;
  } else if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    out.size = sizeof v6;
  } else {
    throw std::runtime_error("no address: " + host);
  }
  return out;
}

inline void must(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

// Made in that namespace; it stays there. Waits at most 2 s for what it receives.
inline UniqueFd socket_in(const NetworkNamespace& place, const std::string& host, int type) {
  UniqueFd fd;
  in_network_namespace(place, [&] { fd.reset(::socket(socket_address(host, 0).bytes.ss_family, type | SOCK_CLOEXEC, 0)); });
  must(fd.get() >= 0, "socket");
  const int room = 8 << 20;
  if (type == SOCK_DGRAM) ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  const timeval patience{2, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return fd;
}

inline UniqueFd bound_in(const NetworkNamespace& place, const std::string& host, std::uint16_t port, int type) {
  UniqueFd fd = socket_in(place, host, type);
  const SocketAddress address = socket_address(host, port);
  must(::bind(fd.get(), address.get(), address.size) == 0, "bind");
  if (type == SOCK_STREAM) must(::listen(fd.get(), 8) == 0, "listen");
  return fd;
}

inline UniqueFd connected_in(const NetworkNamespace& place, const std::string& host, std::uint16_t port, int type) {
  UniqueFd fd = socket_in(place, host, type);
  const SocketAddress address = socket_address(host, port);
  must(::connect(fd.get(), address.get(), address.size) == 0, "connect");
  return fd;
}

// The first packets wait for the neighbour to answer, over IPv6 for a second and more.
inline void NetPair::find_each_other() const {
  for (const std::string& host : {kFar4, kFar6}) {
    const UniqueFd receiver = bound_in(far, host, kPort, SOCK_DGRAM);
    const UniqueFd sender = connected_in(near, host, kPort, SOCK_DGRAM);
    const timeval patience{0, 100'000};
    ::setsockopt(receiver.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char byte = 0;
    for (int tries = 0;; ++tries) {
      must(tries < 100, "the two ends of a wire do not find each other");
      ::send(sender.get(), &byte, 1, 0);
      if (::recv(receiver.get(), &byte, 1, 0) == 1) break;
    }
    while (::recv(receiver.get(), &byte, 1, 0) == 1) {
    }
  }
}

struct Arrival {
  std::uint64_t number = 0;  // of the datagram, from 0
  double delay_ms = 0;       // one way
};

struct Datagram {
  std::uint64_t number = 0;
  std::int64_t sent = 0;  // ns of the clock
  std::array<char, 84> rest{};
};

// Numbered datagrams, one way, at an even pace; what arrived, in the order it did.
inline std::vector<Arrival> send_datagrams(const NetworkNamespace& from, const NetworkNamespace& to, const std::string& host, std::uint16_t port, std::uint64_t count,
                                           Duration gap, const std::function<void(std::uint64_t)>& before_each = {}) {
  const UniqueFd receiver = bound_in(to, host, port, SOCK_DGRAM);
  const UniqueFd sender = connected_in(from, host, port, SOCK_DGRAM);
  const SystemClock clock;
  std::vector<Arrival> arrivals;
  std::atomic<bool> sent_all{false};
  std::thread receiving([&] {
    sched_param prompt{};  // the ruler itself must not be late on a busy machine
    prompt.sched_priority = 2;
    ::sched_setscheduler(0, SCHED_FIFO, &prompt);
    arrivals.reserve(2 * count);
    std::vector<bool> came(count, false);
    std::uint64_t missing = count;
    for (;;) {
      const bool last = sent_all;
      // What is missing may be held or lost; when nothing is, only a copy may still come.
      const timeval patience{0, !last ? 50'000 : missing > 0 ? 700'000 : 200'000};
      ::setsockopt(receiver.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      Datagram got;
      const auto size = ::recv(receiver.get(), &got, sizeof got, 0);
      if (size < 0 && last) return;
      if (size != sizeof got || got.number >= count) continue;
      arrivals.push_back({got.number, seconds(clock.now().time_since_epoch() - Duration(got.sent)) * 1e3});
      missing -= came[got.number] ? 0 : 1;
      came[got.number] = true;
    }
  });
  TimePoint due = clock.now();
  for (std::uint64_t i = 0; i < count; ++i, due += gap) {
    while (clock.now() < due) ::usleep(static_cast<useconds_t>(std::max<std::int64_t>(1, (due - clock.now()).count() / 1000)));
    if (before_each) before_each(i);
    const Datagram datagram{i, clock.now().time_since_epoch().count(), {}};
    ::send(sender.get(), &datagram, sizeof datagram, 0);
  }
  sent_all = true;
  receiving.join();
  return arrivals;
}

inline double median_delay(const std::vector<Arrival>& arrivals) {
  std::vector<double> delays;
  for (const Arrival& arrival : arrivals) delays.push_back(arrival.delay_ms);
  if (delays.empty()) throw std::runtime_error("nothing arrived");
  std::nth_element(delays.begin(), delays.begin() + static_cast<long>(delays.size() / 2), delays.end());
  return delays[delays.size() / 2];
}

inline std::uint64_t distinct(const std::vector<Arrival>& arrivals) {
  std::set<std::uint64_t> numbers;
  for (const Arrival& arrival : arrivals) numbers.insert(arrival.number);
  return numbers.size();
}

inline std::uint64_t overtakings(const std::vector<Arrival>& arrivals) {
  std::uint64_t count = 0;
  for (std::size_t i = 1; i < arrivals.size(); ++i) count += arrivals[i].number < arrivals[i - 1].number;
  return count;
}

// Bytes that one TCP connection brought over in that time, and whether they came as they were sent.
struct Transfer {
  std::uint64_t bytes = 0;
  double seconds = 0;
  bool intact = true;
  double mbit_per_second() const { return static_cast<double>(bytes) * 8e-6 / seconds; }
};

inline Transfer transfer(const NetworkNamespace& from, const NetworkNamespace& to, const std::string& host, std::uint16_t port, Duration how_long) {
  const UniqueFd listener = bound_in(to, host, port, SOCK_STREAM);
  const SystemClock clock;
  std::vector<std::uint64_t> block(32 << 10);  // sent over and over; no 8 bytes of it are alike
  Rng content(kSeed);
  for (std::uint64_t& word : block) word = content.next();
  const std::size_t size = block.size() * sizeof block[0];
  Transfer out;
  std::jthread receiving([&] {  // joined when the sender throws, too
    const UniqueFd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::vector<std::uint64_t> got(block.size());
    const TimePoint begun = clock.now();
    for (;;) {
      const auto count = ::recv(connection.get(), got.data(), size, MSG_WAITALL);
      if (count <= 0) break;
      out.bytes += static_cast<std::uint64_t>(count);
      out.intact = out.intact && std::memcmp(got.data(), block.data(), static_cast<std::size_t>(count)) == 0;
      if (static_cast<std::size_t>(count) < size) break;
    }
    out.seconds = seconds(clock.now() - begun);
  });
  {
    const UniqueFd sender = connected_in(from, host, port, SOCK_STREAM);
    const TimePoint end = clock.now() + how_long;
    while (clock.now() < end && ::send(sender.get(), block.data(), size, MSG_NOSIGNAL) == static_cast<ssize_t>(size)) {
    }
  }
  receiving.join();
  return out;
}

}  // namespace capsize::net_test
