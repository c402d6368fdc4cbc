// What network faults cost, as ratios of paired runs and medians: `tests/bench/net`. In network namespaces of its own; needs root.
#include <sched.h>

#include <cstdio>
#include <map>

#include "injector/net/kernel_trials.h"
#include "tests/system/net_hold.h"

using namespace capsize;
using namespace capsize::net_test;
using namespace std::chrono_literals;

namespace {

const SystemClock kClock;

// A figure of something else would be worse than none.
void require(bool holds, const char* otherwise) {
  if (!holds) throw std::runtime_error(otherwise);
}

double took_ms(const std::function<void()>& work) {
  const TimePoint begun = kClock.now();
  work();
  return seconds(kClock.now() - begun) * 1e3;
}

// The kernel forgets a table some time after it is gone; what comes next would pay for it.
void settle() { ::usleep(60'000); }

PacketEffect rate_of(std::uint64_t bytes_per_second, std::uint64_t burst) {
  PacketEffect effect;
  effect.rate = RateEffect{bytes_per_second, burst, 200ms};
  return effect;
}

// Of what arrives at the far end.
Impairment at_far(const NetPair& net, ImpairBackend backend, const PacketEffect& effect, Protocol protocol = Protocol::udp) {
  Impairment out = impairment(net.far, effect, protocol);
  out.backend = backend;
  return out;
}

// An ended fault by device leaves devices that do nothing: they go when they are empty.
void sweep(const Impairment& what) {
  if (what.backend != ImpairBackend::device) return;
  require(eventually([&] { return packets_waiting(what) == 0; }), "packets wait for ever");
  sweep_device(what);
}

using Words = std::vector<std::string>;

// One way to bring a fault in and out: ours, and the same by the programs that an operator would run, started without a shell.
struct Contest {
  const char* name;
  ImpairBackend backend;
  PacketEffect effect;
  Protocol protocol;
  std::vector<Words> inject;
  std::vector<Words> revert;
};

std::vector<Contest> contests() {
  const auto queue_rule = [](const char* action) { return Words{"iptables", "-t", "raw", action, "PREROUTING", "-p", "udp", "--dport", "5001", "-j", "NFQUEUE", "--queue-num", "9", "--queue-bypass"}; };
  return {
      {"rules: blackhole", ImpairBackend::rules, refusal_of(Refusal::silent), Protocol::tcp,
       {{"nft", "add table inet b; add chain inet b c { type filter hook prerouting priority -310; }; add rule inet b c tcp dport 5001 counter drop"}},
       {{"nft", "delete table inet b"}}},
      // Not every kernel takes a queue from nft. Theirs is the rule alone, without a program that delays.
      {"queue: delay", ImpairBackend::queue, delay_of(10ms), Protocol::udp, {queue_rule("-A")}, {queue_rule("-D")}},
      {"device: rate", ImpairBackend::device, rate_of(1 << 20, 64 << 10), Protocol::udp,
       {{"ip", "link", "add", "ifbb", "type", "ifb"},
        {"ip", "link", "set", "ifbb", "up"},
        {"tc", "qdisc", "add", "dev", "ifbb", "root", "tbf", "rate", "8mbit", "burst", "64k", "latency", "200ms"},
        {"nft", "add table netdev b; add chain netdev b c { type filter hook ingress device v0 priority 0; }; add rule netdev b c udp dport 5001 fwd to ifbb"}},
       {{"nft", "delete table netdev b"}, {"ip", "link", "del", "ifbb"}}},
  };
}

void inject_and_revert(const NetPair& net) {
  fmt::print("Inject and revert, medians of 31 pairs (ms), and how many times longer the tools take (median of the pairs)\n"
             "  {:<18}{:>8}{:>8}{:>8}{:>14}{:>14}{:>8}{:>8}{:>8}\n", "", "inject", "revert", "sweep", "tools inject", "tools revert", "inject", "revert", "+ sweep");
  for (const Contest& one : contests()) {
    const auto run_all = [&](const std::vector<Words>& programs) {
      in_network_namespace(net.far, [&] {
        for (const Words& words : programs) run_tool(words);
      });
    };
    std::vector<double> in, out, swept, tools_in, tools_out, times_in, times_out, times_whole;
    for (int i = 0; i < 31; ++i) {
      const Impairment what = at_far(net, one.backend, one.effect, one.protocol);
      std::unique_ptr<HeldImpairment> held;
      in.push_back(took_ms([&] { held = hold(what); }));
      out.push_back(took_ms([&] { held->release(); }));  // from here on traffic is as before
      swept.push_back(took_ms([&] { sweep(what); }));
      settle();
      tools_in.push_back(took_ms([&] { run_all(one.inject); }));
      tools_out.push_back(took_ms([&] { run_all(one.revert); }));
      settle();
      times_in.push_back(tools_in.back() / in.back());
      times_out.push_back(tools_out.back() / out.back());
      times_whole.push_back(tools_out.back() / (out.back() + swept.back()));  // theirs sweep too
    }
    fmt::print("  {:<18}{:>8.2f}{:>8.2f}{:>8.2f}{:>14.1f}{:>14.1f}{:>7.0f}x{:>7.0f}x{:>7.0f}x\n", one.name, median(in), median(out), median(swept), median(tools_in), median(tools_out), median(times_in),
               median(times_out), median(times_whole));
  }
}

// What datagrams are late by over what is asked for, each against the median of a run without a fault just before. 5 pairs of runs.
struct DelayError {
  std::vector<double> errors, none;
  std::uint64_t lost = 0;
};

DelayError delay_error(const NetPair& net, Duration delay, const std::function<void(const std::function<void()>&)>& under_fault) {
  constexpr std::uint64_t kCount = 400;
  DelayError out;
  for (int i = 0; i < 5; ++i) {
    const auto measure = [&] { return send_datagrams(net.near, net.far, kFar4, kPort, kCount, 1ms); };
    const std::vector<Arrival> plain = measure();
    const double usual = median_delay(plain);
    for (const Arrival& arrival : plain) out.none.push_back(arrival.delay_ms - usual);
    std::vector<Arrival> delayed;
    under_fault([&] { delayed = measure(); });
    for (const Arrival& arrival : delayed) out.errors.push_back(arrival.delay_ms - usual - seconds(delay) * 1e3);
    out.lost += kCount - delayed.size();
  }
  return out;
}

void added_delay(const NetPair& net) {
  fmt::print("Added delay, error over what was asked for (ms), of 2,000 datagrams, one a millisecond\n  {:<20}{:>8}{:>8}{:>8}{:>22}\n", "", "p50", "p99", "lost", "p99 without a fault");
  const auto line = [](const std::string& name, Duration delay, const DelayError& seen) {
    fmt::print("  {:<12}{:>5.0f} ms{:>8.3f}{:>8.3f}{:>8}{:>22.3f}\n", name, seconds(delay) * 1e3, median(seen.errors), quantile(seen.errors, 0.99), seen.lost, quantile(seen.none, 0.99));
  };
  const KernelTrials kernel = try_kernel();
  const bool netem = kernel.can.at("netem");
  for (const Duration delay : {Duration(1ms), Duration(10ms), Duration(100ms)}) {
    for (const auto backend : {ImpairBackend::queue, ImpairBackend::device}) {
      if (backend == ImpairBackend::device && !netem) continue;
      line(std::string(to_string(backend)), delay, delay_error(net, delay, [&](const std::function<void()>& measure) {
        const Impairment what = at_far(net, backend, delay_of(delay));
        const auto held = hold(what);
        measure();
        held->release();
        sweep(what);
      }));
    }
    if (!netem) continue;
    line("tc's netem", delay, delay_error(net, delay, [&](const std::function<void()>& measure) {
      const std::string near = name_of(net.near);
      run_tool({"tc", "-n", near, "qdisc", "add", "dev", "v0", "root", "netem", "delay", fmt::format("{}ms", delay / 1ms)});
      measure();
      run_tool({"tc", "-n", near, "qdisc", "del", "dev", "v0", "root"});
    }));
  }
  if (!netem) fmt::print("  device: {}; in a virtual machine: tests/system/vm/run -- build/release/tests/net_bench delay\n", kernel.missing.at("netem"));
}

void throughput(const NetPair& net) {
  fmt::print("TCP throughput under a fault, as a share of that without one (median of 5 pairs of 2 s)\n");
  widen_windows(net);
  struct Case {
    const char* name;
    ImpairBackend backend;
    PacketEffect effect;
  };
  std::vector<Case> cases = {{"rules, loss 0.01 %", ImpairBackend::rules, loss_of(0.0001)},
                             {"queue, delay 1 ms", ImpairBackend::queue, delay_of(1ms)},
                             {"queue, delay 10 ms", ImpairBackend::queue, delay_of(10ms)},
                             {"device, 32 Gbit/s", ImpairBackend::device, rate_of(4'000'000'000, 4 << 20)}};  // more than there is: the way over a device alone
  if (try_kernel().can.at("netem")) cases.push_back({"device, delay 10 ms", ImpairBackend::device, delay_of(10ms)});
  for (const Case& one : cases) {
    std::vector<double> ratios, none, under;
    for (int i = 0; i < 5; ++i) {
      none.push_back(transfer(net.near, net.far, kFar4, kPort, 2s).mbit_per_second());
      const Impairment what = at_far(net, one.backend, one.effect, Protocol::tcp);
      const auto held = hold(what);
      under.push_back(transfer(net.near, net.far, kFar4, kPort, 2s).mbit_per_second());
      require(held->counts().matched > 0, "no packet met the fault");
      held->release();
      sweep(what);
      settle();
      ratios.push_back(under.back() / none.back());
    }
    fmt::print("  {:<20}{:>5.0f} %   ({:.0f} of {:.0f} Mbit/s)\n", one.name, 100 * median(ratios), median(under), median(none));
  }
}

Impairment partition(const NetPair& net, std::uint32_t addresses) {
  Impairment out = at_far(net, ImpairBackend::rules, refusal_of(Refusal::silent), Protocol::any);
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

double packet_cost_ns(const NetPair& net) {  // of a datagram, sent and received
  constexpr int kCount = 60'000;
  const UniqueFd receiver = bound_in(net.far, kFar4, kPort, SOCK_DGRAM);
  const UniqueFd sender = connected_in(net.near, kFar4, kPort, SOCK_DGRAM);
  char byte = 'x';
  int received = 0;
  const TimePoint begun = kClock.now();
  for (int i = 0; i < kCount; ++i) {
    ::send(sender.get(), &byte, 1, 0);
    received += ::recv(receiver.get(), &byte, 1, MSG_DONTWAIT) == 1;
  }
  while (received < kCount && ::recv(receiver.get(), &byte, 1, MSG_DONTWAIT) == 1) ++received;
  const double cost = seconds(kClock.now() - begun) * 1e9 / kCount;
  require(received > kCount * 0.99, "datagrams that no fault selects were lost");
  return cost;
}

void partitions(const NetPair& net) {
  fmt::print("Partition of so many addresses: time to apply and to revert (ms), cost of a packet that it lets pass; medians of 9\n");
  const std::vector<std::uint32_t> sizes = {0, 1, 1000, 10'000};  // 0: no partition
  std::map<std::uint32_t, std::vector<double>> apply, revert, cost;
  for (std::size_t round = 0; round < 9; ++round) {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      const std::uint32_t size = sizes[(round + i) % sizes.size()];  // none is always the first
      std::unique_ptr<HeldImpairment> held;
      const Impairment what = partition(net, size);
      if (size > 0) apply[size].push_back(took_ms([&] { held = hold(what); }));
      cost[size].push_back(packet_cost_ns(net));
      if (size > 0) revert[size].push_back(took_ms([&] { held->release(); }));
      settle();
    }
  }
  fmt::print("    none: packet {:.0f} ns\n", median(cost[0]));
  for (const std::uint32_t size : {1u, 1000u, 10'000u}) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < cost[size].size(); ++i) ratios.push_back(cost[size][i] / cost[1][i]);
    fmt::print("  {:>6}: apply {:.2f}, revert {:.2f}, packet {:.0f} ns, {:.2f} times that of one\n", size, median(apply[size]), median(revert[size]), median(cost[size]), median(ratios));
  }
}

// From SIGKILL of the holder to the first datagram that is sent after it and arrives.
double normal_after_kill_ms(const NetPair& net, const Impairment& what) {
  const UniqueFd receiver = bound_in(net.far, kFar4, kPort, SOCK_DGRAM);
  const UniqueFd sender = connected_in(net.near, kFar4, kPort, SOCK_DGRAM);
  std::array<std::uint64_t, 160> datagram{};  // begins with its number; long, so that a rate is used up soon
  const auto one_passes = [&](std::uint64_t since) {
    ++datagram[0];
    ::send(sender.get(), datagram.data(), sizeof datagram, 0);
    std::array<std::uint64_t, 160> got{};
    while (::recv(receiver.get(), got.data(), sizeof got, MSG_DONTWAIT) == sizeof got) {
      if (got[0] >= since) return true;
    }
    return false;
  };
  Holder holder(what);
  int held_back = 0;
  for (int i = 0; i < 2000 && held_back < 20; ++i, ::usleep(200)) held_back = one_passes(0) ? 0 : held_back + 1;  // a rate lets some pass at first
  require(held_back == 20, "the fault does not bite");
  const std::uint64_t since = datagram[0] + 1;
  const TimePoint killed = kClock.now();
  holder.kill(false);
  while (!one_passes(since)) {
    require(kClock.now() - killed < 20s, "traffic does not become normal");
    ::sched_yield();
  }
  const double took = seconds(kClock.now() - killed) * 1e3;
  holder.reap();
  sweep_device(what);  // only a fault by device leaves something
  return took;
}

void after_kill(const NetPair& net) {
  fmt::print("SIGKILL of the holder to normal traffic (ms), of 40\n  {:<8}{:>8}{:>8}{:>8}\n", "", "p50", "p90", "max");
  const std::vector<std::pair<ImpairBackend, PacketEffect>> faults = {
      {ImpairBackend::rules, refusal_of(Refusal::silent)}, {ImpairBackend::queue, delay_of(5s)}, {ImpairBackend::device, rate_of(100, 2000)}};
  for (const auto& [backend, effect] : faults) {
    std::vector<double> times;
    for (int i = 0; i < 40; ++i) times.push_back(normal_after_kill_ms(net, at_far(net, backend, effect)));
    fmt::print("  {:<8}{:>8.2f}{:>8.2f}{:>8.2f}\n", to_string(backend), quantile(times, 0.5), quantile(times, 0.9), quantile(times, 1));
  }
}

const std::vector<std::pair<std::string, void (*)(const NetPair&)>> kParts = {
    {"inject", inject_and_revert}, {"delay", added_delay}, {"throughput", throughput}, {"partition", partitions}, {"kill", after_kill}};

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string only = argc > 1 ? argv[1] : "";
  int played = 0, failed = 0;
  for (const auto& [name, play] : kParts) {
    if (!only.empty() && only != name) continue;
    ++played;
    try {
      play(NetPair());  // one of its own, so that no part pays for another
    } catch (const std::exception& problem) {
      fmt::print(stderr, "{}: {}\n", name, problem.what());
      ++failed;
    }
  }
  if (played == 0) fmt::print(stderr, "net_bench: no part {}: see the head of tests/bench/net\n", only);
  return played == 0 ? 64 : failed > 0 ? 1 : 0;
}
