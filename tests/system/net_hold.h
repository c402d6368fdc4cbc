// What the tests and the benchmark of the network share beyond the wire itself: effects, processes that hold a fault until they are killed,
// and waiting for what comes of it.
#pragma once
#include <sys/prctl.h>

#include <cmath>
#include <fstream>
#include <memory>

#include "injector/net/backends.h"
#include "tests/system/net_pair.h"

namespace capsize::net_test {

inline PacketEffect delay_of(Duration delay) {
  PacketEffect effect;
  effect.delay = DelayEffect{delay, {}, DelayDistribution::constant, 0, false};
  return effect;
}

inline PacketEffect refusal_of(Refusal refusal) {
  PacketEffect effect;
  effect.refusal = refusal;
  return effect;
}

inline PacketEffect loss_of(double share) {
  PacketEffect effect;
  effect.loss = LossEffect{share, {}};
  return effect;
}

inline std::unique_ptr<HeldImpairment> hold(const Impairment& what) {
  switch (what.backend) {
    case ImpairBackend::rules: return hold_by_rules(what);
    case ImpairBackend::queue: return hold_by_queue(what);
    case ImpairBackend::device: return hold_by_device(what);
  }
  throw std::logic_error("no such back end");
}

template <class F>
bool eventually(F&& condition, Duration patience = std::chrono::seconds(20)) {
  const SystemClock clock;
  const TimePoint end = clock.now() + patience;
  while (!condition()) {
    if (clock.now() > end) return false;
    ::usleep(200);
  }
  return true;
}

// A process that does something, says so, and waits to be killed.
class Keeper {
 public:
  explicit Keeper(const std::function<void()>& begin) {
    int ends[2];
    must(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      keep(begin, ends[1]);
    }
    ::close(ends[1]);
    char word = 0;
    const bool begun = ::read(ends[0], &word, 1) == 1;
    ::close(ends[0]);
    if (begun) return;
    reap();
    throw std::runtime_error("the keeper did not begin");
  }
  ~Keeper() { kill(); }
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;
  pid_t pid() const { return pid_; }
  void kill(bool wait = true) {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    if (wait) reap();
  }
  void reap() {
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  [[noreturn]] static void keep(const std::function<void()>& begin, int out) {
    try {
      begin();
      if (::write(out, "y", 1) == 1) {
        for (;;) ::pause();
      }
    } catch (const std::exception& error) {
      const std::string text = std::string(error.what()) + "\n";
      [[maybe_unused]] const auto written = ::write(2, text.data(), text.size());
    }
    ::_exit(1);
  }
  pid_t pid_ = -1;
};

// A process that holds a fault until it is killed.
class Holder : public Keeper {
 public:
  explicit Holder(const Impairment& what) : Keeper([&] { static_cast<void>(hold(what).release()); }) {}  // the process itself is what ends it
};

// What a fast link of some delay needs to be full, which is the receiver's matter: a window of all that is on its way.
inline void widen_windows(const NetPair& net) {
  for (const NetworkNamespace& side : {net.near, net.far}) {
    in_network_namespace(side, [] {
      for (const char* file : {"tcp_rmem", "tcp_wmem"}) std::ofstream(std::string("/proc/sys/net/ipv4/") + file) << "4096 1048576 67108864";
    });
  }
}

// Within five deviations: one run in two million is outside by chance.
inline bool is_near_share(std::uint64_t hits, std::uint64_t of, double share) {
  const double n = static_cast<double>(of);
  return std::abs(static_cast<double>(hits) - n * share) <= 5 * std::sqrt(n * share * (1 - share)) + 1;
}

// The value that this share of them does not exceed. Of none there is no such value: throws.
inline double quantile(std::vector<double> values, double share) {
  if (values.empty()) throw std::runtime_error("nothing was measured");
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())))];
}
inline double median(const std::vector<double>& values) { return quantile(values, 0.5); }

}  // namespace capsize::net_test
