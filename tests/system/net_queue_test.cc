// The queue back end on the real kernel: two hosts on a wire of their own, real traffic, IPv4 and IPv6.
#include <catch2/catch.hpp>

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include <fstream>
#include <iostream>

#include "injector/base/error.h"
#include "injector/netlink/packet_queue.h"
#include "tests/system/net_hold.h"

using namespace capsize;
using namespace capsize::net_test;
using namespace std::chrono_literals;

namespace {

std::vector<Arrival> send_over(const NetPair& net, const std::string& host, std::uint64_t count, Duration gap = 500us, const std::function<void(std::uint64_t)>& before_each = {}) {
  return send_datagrams(net.near, net.far, host, kPort, count, gap, before_each);
}

std::uint64_t counter(const NetworkNamespace& place, const std::string& file, const std::string& wanted) {
  std::uint64_t value = 0;
  in_network_namespace(place, [&] {
    std::ifstream in("/proc/thread-self/net/" + file);
    std::string name;
    if (file == "snmp6") {
      for (std::string number; in >> name >> number;) value += name == wanted ? std::stoull(number) : 0;
      return;
    }
    for (std::string names, values; std::getline(in, names) && std::getline(in, values);) {  // "Udp: InDatagrams ..." and "Udp: 12 ..."
      std::istringstream heads(names), numbers(values);
      std::string group, head, number;
      heads >> group;
      numbers >> number;
      while (heads >> head && numbers >> number) value += group + head == wanted ? std::stoull(number) : 0;
    }
  });
  return value;
}

}  // namespace

TEST_CASE("a delay is as long as it says, keeps the order, and loses nothing", "[net_queue]") {
  NetPair net;
  const std::string host = GENERATE(as<std::string>(), kFar4, kFar6);
  const double none = median_delay(send_over(net, host, 300));
  for (const Duration delay : {1ms, 10ms, 100ms}) {
    double best = 1e9;
    double mean_ms = 0;
    for (int attempts = 0; attempts < 5 && best > 0.5; ++attempts) {  // the machine may be busy
      const auto held = hold_by_queue(impairment(net.far, delay_of(delay)));
      const auto arrivals = send_over(net, host, 600);
      REQUIRE(arrivals.size() == 600);
      CHECK(overtakings(arrivals) == 0);
      for (const Arrival& arrival : arrivals) REQUIRE(arrival.delay_ms > seconds(delay) * 1e3 - 0.1);
      const ImpairCounts counts = held->counts();
      CHECK(counts.matched == 600);
      CHECK(counts.delayed == 600);
      CHECK(counts.dropped + counts.overflowed + counts.lost_by_us == 0);
      CHECK(counts.mean_delay_ms > seconds(delay) * 1e3 - 0.1);
      best = std::min(best, median_delay(arrivals) - seconds(delay) * 1e3);
      mean_ms = counts.mean_delay_ms;
    }
    WARN(fmt::format("{} {}: error p50 {:.3f} ms (without delay {:.3f} ms), held for {:.3f} ms in the mean", host, show(delay), best, none, mean_ms));
    CHECK(best <= 0.5);
  }
}

TEST_CASE("jitter keeps the order unless it may reorder", "[net_queue]") {
  NetPair net;
  const bool may_reorder = GENERATE(false, true);
  PacketEffect effect;
  effect.delay = DelayEffect{30ms, 5ms, DelayDistribution::normal, 0, may_reorder};
  const auto held = hold_by_queue(impairment(net.far, effect));
  const auto arrivals = send_over(net, kFar4, 1000);
  CHECK(arrivals.size() == 1000);
  CHECK(distinct(arrivals) == 1000);
  CHECK((overtakings(arrivals) > 100) == may_reorder);
  CHECK((held->counts().reordered > 100) == may_reorder);
  CHECK(median_delay(arrivals) > 28);
}

TEST_CASE("independent loss loses its share, and bursts have their length", "[net_queue]") {
  NetPair net;
  const std::string host = GENERATE(as<std::string>(), kFar4, kFar6);
  constexpr std::uint64_t kCount = 8000;
  PacketEffect effect;
  SECTION("independent") {
    effect.loss = LossEffect{0.1, {}};
    const auto held = hold_by_queue(impairment(net.far, effect));
    const auto arrivals = send_over(net, host, kCount, 250us);
    const std::uint64_t lost = kCount - arrivals.size();
    CHECK(is_near_share(lost, kCount, 0.1));
    CHECK(held->counts().dropped == lost);
    CHECK(overtakings(arrivals) == 0);
  }
  SECTION("in bursts of five") {
    effect.loss = LossEffect{0.02 / 0.22, LossEffect::Burst{0.02, 0.2, 0, 1}};
    const auto held = hold_by_queue(impairment(net.far, effect));
    const auto arrivals = send_over(net, host, kCount, 250us);
    std::vector<bool> came(kCount, false);
    for (const Arrival& arrival : arrivals) came[arrival.number] = true;
    std::uint64_t bursts = 0;
    for (std::size_t i = 0; i < kCount; ++i) bursts += !came[i] && (i == 0 || came[i - 1]);
    const double mean = static_cast<double>(kCount - arrivals.size()) / static_cast<double>(bursts);
    INFO("mean burst " << mean << " of " << bursts);
    CHECK(mean > 3);
    CHECK(mean < 7);
    CHECK(held->counts().dropped == kCount - arrivals.size());
  }
}

TEST_CASE("duplicates arrive, whole and once", "[net_queue]") {
  NetPair net;
  const std::string host = GENERATE(as<std::string>(), kFar4, kFar6);
  // The strictest look at where a packet comes from does not stop a copy.
  in_network_namespace(net.far, [] {
    for (const char* device : {"all", "lo", "v0"}) std::ofstream(fmt::format("/proc/sys/net/ipv4/conf/{}/rp_filter", device)) << "1";
  });
  PacketEffect effect;
  effect.duplicate = 0.3;
  effect.delay = DelayEffect{5ms, {}, DelayDistribution::constant, 0, false};
  const auto held = hold_by_queue(impairment(net.far, effect));
  constexpr std::uint64_t kCount = 2000;
  const auto arrivals = send_over(net, host, kCount, 400us);
  CHECK(distinct(arrivals) == kCount);
  const std::uint64_t twice = arrivals.size() - kCount;
  CHECK(is_near_share(twice, kCount, 0.3));
  CHECK(held->counts().duplicated == twice);
  CHECK(held->counts().matched == kCount);  // a copy is not met again
}

TEST_CASE("a corrupted packet is caught by its checksum", "[net_queue]") {
  NetPair net;
  const std::string host = GENERATE(as<std::string>(), kFar4, kFar6);
  constexpr std::uint64_t kCount = 2000;
  PacketEffect effect;
  effect.corrupt = 0.2;
  const auto held = hold_by_queue(impairment(net.far, effect));
  const auto arrivals = send_over(net, host, kCount, 400us);
  const std::uint64_t corrupted = held->counts().corrupted;
  CHECK(is_near_share(corrupted, kCount, 0.2));
  CHECK(arrivals.size() == kCount - corrupted);
  CHECK((host == kFar4 ? counter(net.far, "snmp", "Udp:InCsumErrors") : counter(net.far, "snmp6", "Udp6InCsumErrors")) == corrupted);
}

TEST_CASE("TCP comes through intact, whatever is done to its packets", "[net_queue]") {
  NetPair net;
  const std::string host = GENERATE(as<std::string>(), kFar4, kFar6);
  PacketEffect effect;
  effect.corrupt = 0.01;
  effect.duplicate = 0.05;
  effect.loss = LossEffect{0.002, {}};
  effect.reorder = ReorderEffect{0.05, 1ms};
  const auto held = hold_by_queue(impairment(net.far, effect, Protocol::tcp));
  const Transfer got = transfer(net.near, net.far, host, kPort, 1s);
  const ImpairCounts counts = held->counts();
  INFO(got.bytes << " bytes in " << got.seconds << " s, corrupted " << counts.corrupted << ", duplicated " << counts.duplicated << ", dropped " << counts.dropped);
  CHECK(got.intact);
  CHECK(got.bytes > 100'000);
  CHECK(counts.corrupted > 0);
  CHECK(counts.duplicated > 0);
  CHECK(eventually([&] { return counter(net.far, "snmp", "Tcp:InCsumErrors") == held->counts().corrupted; }));  // the last ones may be held yet
  CHECK(counts.lost_by_us == 0);
}

TEST_CASE("TCP under a delay of 10 ms keeps at least 15 % of its throughput", "[net_queue]") {
  NetPair net;
  widen_windows(net);
  double best = 0;
  for (int attempts = 0; attempts < 5 && best < 0.15; ++attempts) {
    const Transfer none = transfer(net.near, net.far, kFar4, kPort, 1s);
    const auto held = hold_by_queue(impairment(net.far, delay_of(10ms), Protocol::tcp));
    const Transfer delayed = transfer(net.near, net.far, kFar4, kPort, 2s);
    CHECK(delayed.intact);
    CHECK(held->counts().mean_delay_ms > 9.9);
    CHECK(held->counts().overflowed + held->counts().lost_by_us == 0);
    WARN(fmt::format("{:.0f} Mbit/s of {:.0f} Mbit/s", delayed.mbit_per_second(), none.mbit_per_second()));
    best = std::max(best, delayed.mbit_per_second() / none.mbit_per_second());
  }
  CHECK(best >= 0.15);
}

TEST_CASE("a clean release loses no packet, and lets go what was held in order, while traffic goes on", "[net_queue]") {
  NetPair net;
  const std::string host = GENERATE(as<std::string>(), kFar4, kFar6);
  constexpr std::uint64_t kCount = 6000;
  const auto held = hold_by_queue(impairment(net.far, delay_of(50ms)));
  const SystemClock clock;
  std::thread releasing;
  double took_ms = 0;
  const auto arrivals = send_over(net, host, kCount, 100us, [&](std::uint64_t number) {
    if (number != kCount / 2) return;
    releasing = std::thread([&] {
      const TimePoint begun = clock.now();
      held->release();
      took_ms = seconds(clock.now() - begun) * 1e3;
    });
  });
  releasing.join();
  WARN(fmt::format("release with {} packets held took {:.2f} ms", kCount / 12, took_ms));
  CHECK(arrivals.size() == kCount);
  CHECK(distinct(arrivals) == kCount);
  std::vector<Arrival> sent_before;
  std::copy_if(arrivals.begin(), arrivals.end(), std::back_inserter(sent_before), [](const Arrival& arrival) { return arrival.number <= kCount / 2; });
  CHECK(overtakings(sent_before) == 0);
  CHECK(median_delay({arrivals.end() - 1000, arrivals.end()}) < 25);
}

TEST_CASE("when its holder is killed, traffic is normal at once", "[net_queue]") {
  NetPair net;
  constexpr Duration kGap = 200us;
  std::vector<double> silence_ms;
  for (int times = 0; times < 9; ++times) {
    Holder holder(impairment(net.far, delay_of(200ms)));
    constexpr std::uint64_t kKilled = 500;
    const auto arrivals = send_over(net, kFar4, 1500, kGap, [&](std::uint64_t number) {
      if (number == kKilled) holder.kill(false);
    });
    std::uint64_t first = 1500;
    for (const Arrival& arrival : arrivals) {
      if (arrival.number >= kKilled && arrival.delay_ms < 100) first = std::min(first, arrival.number);
    }
    REQUIRE(first < 1500);
    silence_ms.push_back(static_cast<double>(first - kKilled) * seconds(kGap) * 1e3);
    CHECK(median_delay({arrivals.end() - 300, arrivals.end()}) < 25);
  }
  std::sort(silence_ms.begin(), silence_ms.end());
  WARN(fmt::format("packets lost after SIGKILL: p50 {:.1f} ms, worst {:.1f} ms", silence_ms[silence_ms.size() / 2], silence_ms.back()));
  CHECK(silence_ms[silence_ms.size() / 2] <= 50);
}

TEST_CASE("two queues at once do not disturb each other, not even when one is released", "[net_queue]") {
  NetPair net;
  const auto first = hold_by_queue(impairment(net.far, delay_of(20ms), Protocol::udp, kPort));
  const auto second = hold_by_queue(impairment(net.far, delay_of(60ms), Protocol::udp, kPort + 1));
  std::vector<Arrival> of_second;
  std::thread other([&] { of_second = send_datagrams(net.near, net.far, kFar6, kPort + 1, 2000, 500us); });
  const auto of_first = send_over(net, kFar4, 1000);
  CHECK(first->counts().delayed == 1000);
  first->release();
  other.join();
  CHECK(of_first.size() == 1000);
  CHECK(median_delay(of_first) >= 19.9);
  CHECK(median_delay(of_first) < 40);
  const std::uint64_t lost = second->counts().lost_by_us;  // about once in thirty runs the kernel drops one; why is not known
  CHECK(of_second.size() + lost == 2000);
  CHECK(lost <= 2);
  CHECK(overtakings(of_second) == 0);
  CHECK(median_delay(of_second) >= 59.9);
}

TEST_CASE("packets that the kernel drops because somebody deletes a chain are counted as lost by us", "[net_queue]") {
  NetPair net;
  const auto held = hold_by_queue(impairment(net.far, delay_of(300ms)));
  const auto arrivals = send_over(net, kFar4, 1000, 500us, [&](std::uint64_t number) {
    if (number != 800) return;
    for (const char* words : {"add table ip stranger", "add chain ip stranger c { type filter hook input priority 0; }", "delete table ip stranger"}) {
      run_tool({"ip", "netns", "exec", name_of(net.far), "nft", words});
    }
  });
  const std::uint64_t lost = 1000 - arrivals.size();
  CHECK(lost > 0);
  CHECK(held->counts().lost_by_us == lost);
}

TEST_CASE("what a queue cannot do is refused before anything is touched", "[net_queue]") {
  const auto kind_of = [](const Impairment& what) {
    try {
      hold_by_queue(what);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::bug;
  };
  NetPair net;
  PacketEffect rate;
  rate.rate = RateEffect{1000, 1000, 1s};
  CHECK(kind_of(impairment(net.far, rate)) == ErrorKind::refused);
  PacketEffect refusal;
  refusal.refusal = Refusal::silent;
  CHECK(kind_of(impairment(net.far, refusal)) == ErrorKind::refused);
  Impairment leaving = impairment(net.far, delay_of(10ms));
  leaving.affected[0].hook = Hook::leave;
  CHECK(kind_of(leaving) == ErrorKind::refused);
  Impairment elsewhere = impairment(net.far, delay_of(10ms));
  elsewhere.place.inode = 1;
  CHECK(kind_of(elsewhere) == ErrorKind::changed);
  elsewhere.place = {"/run/netns/capsize-no-such", 0};
  CHECK(kind_of(elsewhere) == ErrorKind::unavailable);
}

TEST_CASE("a queue takes a number that is free", "[net_queue]") {
  NetPair net;
  const QueueSetup setup{0, 100, false};
  const PacketQueue first(net.far, setup, 40'000);
  const PacketQueue second(net.far, setup, 40'000);
  CHECK(second.number() != first.number());
}

TEST_CASE("without CAP_NET_ADMIN a queue is refused by the name of the privilege", "[net_queue]") {
  NetPair net;
  const pid_t child = ::fork();
  if (child == 0) {
    int answer = 1;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    ::syscall(SYS_capget, &header, data);
    for (auto* set : {&data[0].effective, &data[0].permitted}) *set &= ~(1u << CAP_NET_ADMIN);
    if (::syscall(SYS_capset, &header, data) == 0) {
      try {
        hold_by_queue(impairment(net.far, delay_of(10ms)));
      } catch (const Error& error) {
        answer = error.kind() == ErrorKind::privilege && std::string(error.what()).find("CAP_NET_ADMIN") != std::string::npos ? 0 : 2;
        if (answer != 0) std::cerr << error.what() << '\n';
      }
    }
    ::_exit(answer);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}
