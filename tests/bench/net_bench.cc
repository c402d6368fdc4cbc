// What network faults cost, as ratios of paired runs and medians: `tests/bench/net`. In network namespaces of its own; needs root.
#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>

#include "injector/base/error.h"
#include "injector/net/backends.h"
#include "tests/system/net_pair.h"

using namespace capsize;
using namespace capsize::net_test;
using namespace std::chrono_literals;

namespace {

const SystemClock kClock;

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(q * static_cast<double>(values.size())))];
}
double median(const std::vector<double>& values) { return quantile(values, 0.5); }

double took_ms(const std::function<void()>& work) {
  const TimePoint begun = kClock.now();
  work();
  return seconds(kClock.now() - begun) * 1e3;
}

PacketEffect refusing(Refusal refusal) {
  PacketEffect effect;
  effect.refusal = refusal;
  return effect;
}
PacketEffect delaying(Duration delay) {
  PacketEffect effect;
  effect.delay = DelayEffect{delay, {}, DelayDistribution::constant, 0, false};
  return effect;
}
PacketEffect limiting(std::uint64_t bytes_per_second) {
  PacketEffect effect;
  effect.rate = RateEffect{bytes_per_second, 64 << 10, 200ms};
  return effect;
}

std::unique_ptr<HeldImpairment> hold(Impairment what, ImpairBackend backend) {
  what.backend = backend;
  switch (backend) {
    case ImpairBackend::rules: return hold_by_rules(what);
    case ImpairBackend::queue: return hold_by_queue(what);
    case ImpairBackend::device: return hold_by_device(what);
  }
  return nullptr;
}

void shell(const std::string& line) { run_tool({"sh", "-ec", line}); }

// One way to bring a fault in and out: ours, and the same by the programs an operator would run.
struct Contest {
  const char* name;
  ImpairBackend backend;
  PacketEffect effect;
  Protocol protocol;
  std::string inject;
  std::string revert;
};

void inject_and_revert(const NetPair& net) {
  const std::string in = "ip netns exec " + net.far_name() + " ";
  const std::vector<Contest> contests = {
      {"blackhole (rules)", ImpairBackend::rules, refusing(Refusal::silent), Protocol::tcp,
       in + "nft 'add table inet b; add chain inet b c { type filter hook prerouting priority -310; }; add rule inet b c tcp dport 5001 counter drop'", in + "nft delete table inet b"},
      {"delay (queue)", ImpairBackend::queue, delaying(10ms), Protocol::udp, in + "iptables -t raw -A PREROUTING -p udp --dport 5001 -j NFQUEUE --queue-num 9 --queue-bypass",
       in + "iptables -t raw -D PREROUTING -p udp --dport 5001 -j NFQUEUE --queue-num 9 --queue-bypass"},
      {"rate (device)", ImpairBackend::device, limiting(1 << 20), Protocol::udp,
       in + "ip link add ifbb type ifb; " + in + "ip link set ifbb up; " + in + "tc qdisc add dev ifbb root tbf rate 8mbit burst 64k latency 200ms; " + in +
           "nft 'add table netdev b; add chain netdev b c { type filter hook ingress device v0 priority 0; }; add rule netdev b c udp dport 5001 fwd to ifbb'",
       in + "nft delete table netdev b; " + in + "ip link del ifbb"},
  };
  std::printf("Inject and revert, median of 31 pairs (ms)\n  %-20s %10s %10s %14s %14s %8s\n", "", "inject", "revert", "tools inject", "tools revert", "ratio");
  for (const Contest& one : contests) {
    std::vector<double> ours_in, ours_out, theirs_in, theirs_out;
    for (int i = 0; i < 31; ++i) {
      std::unique_ptr<HeldImpairment> held;
      const Impairment what = impairment(net.far, one.effect, one.protocol);
      ours_in.push_back(took_ms([&] { held = hold(what, one.backend); }));
      ours_out.push_back(took_ms([&] {
        held->release();
        if (one.backend == ImpairBackend::device) sweep_device(what);
      }));
      theirs_in.push_back(took_ms([&] { shell(one.inject); }));
      theirs_out.push_back(took_ms([&] { shell(one.revert); }));
    }
    const double ratio = (median(theirs_in) + median(theirs_out)) / (median(ours_in) + median(ours_out));
    std::printf("  %-20s %10.2f %10.2f %14.1f %14.1f %7.0fx\n", one.name, median(ours_in), median(ours_out), median(theirs_in), median(theirs_out), ratio);
  }
}

void added_delay(const NetPair& net, bool netem) {
  std::printf("Added delay, error over what was asked for (ms): p50, p99; 1,000 datagrams, one a millisecond\n");
  const auto measure = [&](std::vector<double>& out) {
    for (const Arrival& arrival : send_datagrams(net.near, net.far, kFar4, kPort, 1000, 1ms)) out.push_back(arrival.delay_ms);
  };
  for (const auto backend : {ImpairBackend::queue, ImpairBackend::device}) {
    if (backend == ImpairBackend::device && !netem) {
      std::printf("  device: this kernel has no netem; tests/system/vm/run has one that does\n");
      continue;
    }
    for (const Duration delay : {Duration(1ms), Duration(10ms), Duration(100ms)}) {
      std::vector<double> plain, delayed;
      measure(plain);
      {
        const auto held = hold(impairment(net.far, delaying(delay)), backend);
        measure(delayed);
        held->release();
      }
      const double asked = seconds(delay) * 1e3;
      std::printf("  %-7s %4.0f ms: %.3f %.3f   (without a fault: %.3f %.3f)\n", std::string(to_string(backend)).c_str(), asked, median(delayed) - median(plain) - asked,
                  quantile(delayed, 0.99) - asked, median(plain), quantile(plain, 0.99));
    }
  }
}

void throughput(const NetPair& net, bool netem) {
  std::printf("TCP throughput under a fault, as a share of that without one (median of 5 pairs of 2 s)\n");
  struct Case {
    const char* name;
    ImpairBackend backend;
    PacketEffect effect;
  };
  PacketEffect tiny_loss;
  tiny_loss.loss = LossEffect{0.0001, {}};
  std::vector<Case> cases = {{"rules, loss 0.01 %", ImpairBackend::rules, tiny_loss}, {"queue, delay 1 ms", ImpairBackend::queue, delaying(1ms)}, {"queue, delay 10 ms", ImpairBackend::queue, delaying(10ms)}};
  if (netem) cases.push_back({"device, delay 10 ms", ImpairBackend::device, delaying(10ms)});
  for (const Case& one : cases) {
    std::vector<double> ratios;
    double last = 0;
    for (int i = 0; i < 5; ++i) {
      const double plain = transfer(net.near, net.far, kFar4, kPort, 2s).mbit_per_second();
      const auto held = hold(impairment(net.far, one.effect, Protocol::tcp), one.backend);
      last = transfer(net.near, net.far, kFar4, kPort, 2s).mbit_per_second();
      held->release();
      ratios.push_back(last / plain);
    }
    std::printf("  %-20s %3.0f %%   (last: %.0f Mbit/s)\n", one.name, 100 * median(ratios), last);
  }
}

Impairment partition(const NetPair& net, std::uint32_t addresses) {
  Impairment out = impairment(net.far, refusing(Refusal::silent), Protocol::any);
  out.affected.front().destination = {};
  for (std::uint32_t i = 0; i < addresses; ++i) {  // every second one, so that none is the neighbour of another
    const std::uint32_t address = 0x0a800000 + 2 * i;
    AddressBlock block;
    for (int byte = 0; byte < 4; ++byte) block.bytes[static_cast<std::size_t>(byte)] = static_cast<std::uint8_t>(address >> (24 - 8 * byte));
    block.prefix = 32;
    out.affected.front().source.addresses.push_back(block);
  }
  return out;
}

double send_cost_ns(const NetPair& net) {  // of a datagram, sent and received
  constexpr int kCount = 60'000;
  const UniqueFd receiver = bound_in(net.far, kFar4, kPort, SOCK_DGRAM);
  const UniqueFd sender = connected_in(net.near, kFar4, kPort, SOCK_DGRAM);
  const TimePoint begun = kClock.now();
  char byte = 'x';
  for (int i = 0; i < kCount; ++i) {
    ::send(sender.get(), &byte, 1, 0);
    ::recv(receiver.get(), &byte, 1, MSG_DONTWAIT);
  }
  return seconds(kClock.now() - begun) * 1e9 / kCount;
}

void partitions(const NetPair& net) {
  std::printf("Partition of so many addresses: time to apply and to revert (ms, median of 9), cost of a packet against one address (median of 9)\n");
  std::map<std::uint32_t, std::vector<double>> apply, revert, cost;
  const std::vector<std::uint32_t> sizes = {1, 1000, 10'000};
  for (int i = 0; i < 9; ++i) {
    for (const std::uint32_t size : sizes) {
      const Impairment what = partition(net, size);
      std::unique_ptr<HeldImpairment> held;
      apply[size].push_back(took_ms([&] { held = hold(what, ImpairBackend::rules); }));
      cost[size].push_back(send_cost_ns(net));
      revert[size].push_back(took_ms([&] { held->release(); }));
    }
  }
  for (const std::uint32_t size : sizes) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < cost[size].size(); ++i) ratios.push_back(cost[size][i] / cost[1][i]);
    std::printf("  %6u: apply %6.2f, revert %5.2f, packet %4.0f ns, %.2f times that of one\n", size, median(apply[size]), median(revert[size]), median(cost[size]), median(ratios));
  }
}

// From SIGKILL of the holder to the first datagram that passes as without a fault.
void after_kill(const NetPair& net) {
  std::printf("SIGKILL of the holder to normal traffic (ms): p50, p90, max of 40\n");
  for (const auto backend : {ImpairBackend::rules, ImpairBackend::queue}) {
    std::vector<double> times;
    for (int i = 0; i < 40; ++i) {
      const Impairment what = impairment(net.far, backend == ImpairBackend::rules ? refusing(Refusal::silent) : delaying(5s));
      int ready[2];
      must(::pipe(ready) == 0, "pipe");
      const pid_t pid = ::fork();
      if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const auto held = hold(what, backend);
        [[maybe_unused]] const auto said = ::write(ready[1], "!", 1);
        for (;;) ::pause();
      }
      char said = 0;
      [[maybe_unused]] const auto got = ::read(ready[0], &said, 1);
      ::close(ready[0]);
      ::close(ready[1]);
      const UniqueFd receiver = bound_in(net.far, kFar4, kPort, SOCK_DGRAM);
      const UniqueFd sender = connected_in(net.near, kFar4, kPort, SOCK_DGRAM);
      const TimePoint killed = kClock.now();
      ::kill(pid, SIGKILL);
      while (::recv(receiver.get(), &said, 1, MSG_DONTWAIT) != 1) {
        ::send(sender.get(), "x", 1, 0);
        ::usleep(50);
      }
      times.push_back(seconds(kClock.now() - killed) * 1e3);
      ::waitpid(pid, nullptr, 0);
    }
    std::printf("  %-7s %.2f %.2f %.2f\n", std::string(to_string(backend)).c_str(), quantile(times, 0.5), quantile(times, 0.9), quantile(times, 1));
  }
}

bool has_netem(const NetPair& net) {
  try {
    const Impairment what = impairment(net.far, delaying(1ms));
    hold(what, ImpairBackend::device)->release();
    sweep_device(what);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string only = argc > 1 ? argv[1] : "";
  try {
    const NetPair net;
    const bool netem = has_netem(net);
    const auto wanted = [&](const char* part) { return only.empty() || only == part; };
    if (wanted("inject")) inject_and_revert(net);
    if (wanted("delay")) added_delay(net, netem);
    if (wanted("throughput")) throughput(net, netem);
    if (wanted("partition")) partitions(net);
    if (wanted("kill")) after_kill(net);
    return 0;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    return 1;
  }
}
