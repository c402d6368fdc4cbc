// What the tests on the device back end share: impairments at either end of a wire, what is left of a host's devices and filters, and a holder to be killed.
#pragma once
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmath>
#include <iostream>

#include "injector/net/backends.h"
#include "tests/system/net_pair.h"

namespace capsize::net_test {

template <class F>
bool wait_for(F&& condition, Duration patience = std::chrono::seconds(20)) {
  const SystemClock clock;
  const TimePoint end = clock.now() + patience;
  while (!condition()) {
    if (clock.now() > end) return false;
    ::usleep(2000);
  }
  return true;
}

// A wire that is up: both ends know each other.
struct Wire : NetPair {
  Wire() {
    for (const std::string& host : {kFar4, kFar6}) must(wait_for([&] { return !send_datagrams(near, far, host, 4999, 1, {}).empty(); }), "the wire did not come up");
  }
};

// Of packets to that port, met at `hook`: as `near` sends them, or as `far` receives them.
inline Impairment at(const NetPair& net, Hook hook, const PacketEffect& effect, Protocol protocol = Protocol::udp, std::uint16_t port = kPort) {
  Impairment out = impairment(hook == Hook::leave ? net.near : net.far, effect, protocol, port);
  out.backend = ImpairBackend::device;
  out.affected.front().hook = hook;
  return out;
}

inline PacketEffect delay_of(Duration delay) {
  PacketEffect effect;
  effect.delay = DelayEffect{delay, {}, DelayDistribution::constant, 0, false};
  return effect;
}

inline PacketEffect rate_of(std::uint64_t bytes_per_second) {
  PacketEffect effect;
  effect.rate = RateEffect{bytes_per_second, 20'000, std::chrono::milliseconds(200)};
  return effect;
}

// What a program prints.
inline std::string output_of(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen");
  std::string out;
  std::array<char, 4096> buffer{};
  for (std::size_t size; (size = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), size);
  if (::pclose(pipe) != 0) throw std::runtime_error("failed: " + command);
  return out;
}

inline std::string name_of(const NetworkNamespace& place) { return place.path.substr(place.path.rfind('/') + 1); }
inline std::string tc(const NetworkNamespace& place, const std::string& words) { return output_of("tc -n " + name_of(place) + " " + words); }

// All that an operator can see of devices, disciplines, filters and rules there.
inline std::string messy_look(const NetworkNamespace& place) {
  const std::string in = name_of(place);
  // Without the address that the kernel is still trying out when the wire is new.
  std::string out = output_of("ip -n " + in + " -details addr show | sed '/inet6 fe80/,+1d'");
  out += tc(place, "qdisc show") + tc(place, "class show dev v0");
  if (tc(place, "qdisc show dev v0").find("clsact") != std::string::npos) out += tc(place, "filter show dev v0 egress") + tc(place, "filter show dev v0 ingress");
  in_network_namespace(place, [&] { out += output_of("nft list ruleset"); });
  return out;
}

// A process that holds a fault until it is killed.
class DeviceHolder {
 public:
  explicit DeviceHolder(const Impairment& what) {
    int ready[2];
    must(::pipe(ready) == 0, "pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      try {
        const auto held = hold_by_device(what);
        [[maybe_unused]] const auto said = ::write(ready[1], "!", 1);
        for (;;) ::pause();
      } catch (const std::exception& problem) {
        std::cerr << problem.what() << '\n';
      }
      ::_exit(1);
    }
    ::close(ready[1]);
    char said = 0;
    const bool begun = ::read(ready[0], &said, 1) == 1;
    ::close(ready[0]);
    if (!begun) throw std::runtime_error("the holder could not hold");
  }
  ~DeviceHolder() { kill(); }
  DeviceHolder(const DeviceHolder&) = delete;
  DeviceHolder& operator=(const DeviceHolder&) = delete;
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

// Within five deviations: one run in two million is outside by chance.
inline bool is_near_share(std::uint64_t hits, std::uint64_t of, double share) {
  const double n = static_cast<double>(of);
  return std::abs(static_cast<double>(hits) - n * share) <= 5 * std::sqrt(n * share * (1 - share)) + 1;
}

}  // namespace capsize::net_test
