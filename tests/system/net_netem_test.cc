// The device back end with netem. [netem]: run in a virtual machine, as most kernels at hand have none (vm_test.cc; all of it: tests/system/vm/run
// system_tests "[netem]").
#include <catch2/catch.hpp>

#include "injector/net/device_parts.h"
#include "injector/net/packet_rules.h"
#include "tests/system/net_device.h"

using namespace capsize;
using namespace capsize::net_test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kMany = 1000;

std::vector<Arrival> send_over(const NetPair& net, const std::string& host, std::uint64_t count, Duration gap = 1ms) {
  return send_datagrams(net.near, net.far, host, kPort, count, gap);
}

struct Way {
  std::string host;
  Hook hook;
};
const std::vector<Way> kWays = {{kFar4, Hook::leave}, {kFar4, Hook::arrive}, {kFar6, Hook::leave}, {kFar6, Hook::arrive}};
std::string show(const Way& way) { return way.host + (way.hook == Hook::leave ? " leaving" : " arriving"); }

struct Counted {
  std::vector<Arrival> arrivals;
  ImpairCounts counts;
};

// What becomes of many datagrams under an effect, and what the back end says of it.
Counted count_under(const NetPair& net, const Way& way, const PacketEffect& effect) {
  const auto held = hold_by_device(at(net, way.hook, effect));
  Counted out;
  out.arrivals = send_over(net, way.host, kMany);
  out.counts = held->counts();
  CHECK(out.counts.matched == kMany);
  return out;
}

double sample_deviation(const std::vector<Arrival>& arrivals) {
  double sum = 0, squares = 0;
  for (const Arrival& arrival : arrivals) {
    sum += arrival.delay_ms;
    squares += arrival.delay_ms * arrival.delay_ms;
  }
  const double n = static_cast<double>(arrivals.size());
  return std::sqrt(std::max(0.0, squares / n - sum / n * (sum / n)));
}

}  // namespace

TEST_CASE("netem's delay is as exact by capsize as by tc, leaving and arriving, IPv4 and IPv6", "[netem][slow]") {
  const Wire net;
  struct Point {
    Way way;
    Duration delay;
    double ours = 1e9, theirs = 1e9, none = 1e9;  // medians, the best of all rounds
  };
  std::vector<Point> points;
  for (const Way& way : kWays) {
    for (const Duration delay : {20ms, 100ms}) points.push_back({way, delay});
  }
  double ours = 0, theirs = 0;
  // In turns, until it shows: noise falls on both alike.
  for (int round = 0; round < 2 || (round < 6 && ours > theirs * 1.1); ++round) {
    ours = theirs = 0;
    for (Point& point : points) {
      const double target = seconds(point.delay) * 1e3;
      point.none = std::min(point.none, median_delay(send_over(net, point.way.host, 60)));
      {
        const auto held = hold_by_device(at(net, point.way.hook, delay_of(point.delay)));
        const auto arrivals = send_over(net, point.way.host, 100);
        REQUIRE(arrivals.size() == 100);
        for (const Arrival& arrival : arrivals) REQUIRE(arrival.delay_ms >= target);
        CHECK(held->counts().delayed == 100);
        CHECK(held->counts().dropped == 0);
        point.ours = std::min(point.ours, median_delay(arrivals) - target);
      }
      tc(net.near, "qdisc add dev v0 root netem delay " + capsize::show(point.delay));
      point.theirs = std::min(point.theirs, median_delay(send_over(net, point.way.host, 100)) - target);
      tc(net.near, "qdisc del dev v0 root");
      ours += point.ours;
      theirs += point.theirs;
    }
  }
  for (const Point& point : points) {
    WARN(fmt::format("{} {}: error p50 {:.3f} ms, tc's own {:.3f} ms, without delay {:.3f} ms", show(point.way), capsize::show(point.delay), point.ours, point.theirs, point.none));
    CHECK(point.ours < 10);
  }
  WARN(fmt::format("mean error p50 {:.3f} ms, tc's own {:.3f} ms", ours / static_cast<double>(points.size()), theirs / static_cast<double>(points.size())));
  CHECK(ours <= theirs * 1.25 + 0.2 * static_cast<double>(points.size()));
}

TEST_CASE("netem is told exactly what is asked: tc reads it back", "[netem]") {
  const Wire net;
  PacketEffect effect;
  effect.delay = DelayEffect{80ms, 7ms, DelayDistribution::normal, 0.25, true};
  effect.loss = LossEffect{0, LossEffect::Burst{0.02, 0.2, 0.01, 0.9}};
  effect.duplicate = 0.03;
  effect.corrupt = 0.04;
  effect.rate = RateEffect{3'000'000, 50'000, 100ms};
  const Impairment what = at(net, Hook::arrive, effect);
  const auto held = hold_by_device(what);
  const std::string told = tc(net.far, "qdisc show dev " + device_name(what));
  INFO(told);
  for (const char* part : {"qdisc netem 1: root", "delay 80ms  7ms 25%", "loss gemodel p 2% r 20% 1-h 90% 1-k 1%", "duplicate 3%", "corrupt 4%", "qdisc tbf 2: parent 1:1 rate 24Mbit"}) {
    CHECK(told.find(part) != std::string::npos);
  }
  CHECK(output_of("ip -n " + name_of(net.far) + " link show " + device_name(what)).find("alias " + what.name) != std::string::npos);
}

TEST_CASE("independent loss takes its share, and the counts are what arrived", "[netem]") {
  const Wire net;
  PacketEffect effect;
  effect.loss = LossEffect{0.1, {}};
  for (const Way& way : kWays) {
    const Counted seen = count_under(net, way, effect);
    INFO(show(way));
    CHECK(seen.counts.dropped == kMany - seen.arrivals.size());
    CHECK(is_near_share(seen.counts.dropped, kMany, 0.1));
  }
}

TEST_CASE("loss in bursts has the mean and the length of bursts that its model says", "[netem]") {
  const Wire net;
  PacketEffect effect;
  effect.loss = LossEffect{0.2, LossEffect::Burst{0.05, 0.2, 0, 1}};  // bad one fifth of the time, for 5 packets
  const Counted seen = count_under(net, kWays[0], effect);
  CHECK(seen.counts.dropped == kMany - seen.arrivals.size());
  // A burst of mean length 5 counts as one draw.
  CHECK(std::abs(static_cast<double>(seen.counts.dropped) - 0.2 * kMany) <= 5 * std::sqrt(kMany * 0.2 * 0.8 * (2 - 0.25) / 0.25));
  std::uint64_t bursts = 0;
  for (std::size_t k = 1; k < seen.arrivals.size(); ++k) bursts += seen.arrivals[k].number > seen.arrivals[k - 1].number + 1;
  const double length = static_cast<double>(seen.counts.dropped) / static_cast<double>(std::max<std::uint64_t>(bursts, 1));
  WARN(fmt::format("lost {} of {}, in bursts of {:.1f}", seen.counts.dropped, kMany, length));
  CHECK(length > 3);
  CHECK(length < 8);
}

TEST_CASE("duplicates come twice, and broken packets do not come", "[netem][slow]") {
  const Wire net;
  PacketEffect twice, broken;
  twice.duplicate = 0.2;
  broken.corrupt = 0.2;
  for (const Way& way : kWays) {
    INFO(show(way));
    const Counted doubled = count_under(net, way, twice);
    CHECK(distinct(doubled.arrivals) == kMany);
    CHECK(is_near_share(doubled.arrivals.size() - kMany, kMany, 0.2));
    const Counted few = count_under(net, way, broken);
    const std::uint64_t lost = kMany - few.arrivals.size();
    WARN(fmt::format("{}: {} twice, {} broken of {}", show(way), doubled.arrivals.size() - kMany, lost, kMany));
    CHECK(lost > kMany / 10);  // some flips hit what nobody checks
    CHECK(lost < kMany * 3 / 10);
  }
}

TEST_CASE("a share of packets overtakes the delayed ones", "[netem]") {
  const Wire net;
  PacketEffect effect;
  effect.reorder = ReorderEffect{0.25, 150ms};
  for (const Way& way : {kWays[0], kWays[3]}) {
    INFO(show(way));
    const Counted seen = count_under(net, way, effect);
    CHECK(seen.arrivals.size() == kMany);
    std::uint64_t overtakers = 0, first_later = kMany;
    for (auto it = seen.arrivals.rbegin(); it != seen.arrivals.rend(); ++it) {
      overtakers += it->number > first_later;
      first_later = std::min(first_later, it->number);
    }
    CHECK(overtakers <= kMany / 4 + 5 * 14);
    CHECK(overtakers >= kMany / 10);  // who finds nobody waiting overtakes nobody
  }
}

TEST_CASE("jitter has its spread, and reorders only where it may", "[netem][slow]") {
  const Wire net;
  PacketEffect effect;
  effect.delay = DelayEffect{100ms, 20ms, DelayDistribution::normal, 0, true};
  double middle = 0, spread = 0;
  const auto fits = [&] { return middle > 95 && middle < 115 && spread > 15 && spread < 30; };
  for (int i = 0; i < 6 && !fits(); ++i) {
    const Counted loose = count_under(net, kWays[0], effect);
    CHECK(loose.arrivals.size() == kMany);
    CHECK(overtakings(loose.arrivals) > kMany / 5);
    middle = median_delay(loose.arrivals);
    spread = sample_deviation(loose.arrivals);
  }
  WARN(fmt::format("normal 100 ms 20 ms: median {:.1f} ms, deviation {:.1f} ms", middle, spread));
  CHECK(fits());
  effect.delay->may_reorder = false;
  const Counted strict = count_under(net, kWays[0], effect);
  CHECK(strict.arrivals.size() == kMany);
  CHECK(overtakings(strict.arrivals) <= kMany / 100);  // two processors may swap neighbours on the wire itself
  CHECK(median_delay(strict.arrivals) > 100);
}

TEST_CASE("both directions are delayed by one fault, and other traffic is not", "[netem]") {
  const Wire net;
  Impairment what = at(net, Hook::arrive, delay_of(300ms));
  what.affected.push_back(what.affected.front());
  what.affected.back().hook = Hook::leave;
  std::swap(what.affected.back().source, what.affected.back().destination);
  const auto held = hold_by_device(what);
  const auto round_trip = [&](std::uint16_t port) {
    const UniqueFd server = bound_in(net.far, kFar6, port, SOCK_DGRAM);
    const UniqueFd client = connected_in(net.near, kFar6, port, SOCK_DGRAM);
    const SystemClock clock;
    double best = 1e9;
    for (int i = 0; i < 10; ++i) {
      const TimePoint begun = clock.now();
      char byte = 'x';
      sockaddr_storage peer{};
      socklen_t size = sizeof peer;
      must(::send(client.get(), &byte, 1, 0) == 1, "send");
      must(::recvfrom(server.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&peer), &size) == 1, "receive");
      must(::sendto(server.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&peer), size) == 1, "answer");
      must(::recv(client.get(), &byte, 1, 0) == 1, "answer received");
      best = std::min(best, seconds(clock.now() - begun) * 1e3);
    }
    return best;
  };
  const double affected = round_trip(kPort);
  CHECK(affected >= 600);
  CHECK(affected <= 800);
  CHECK(round_trip(kPort + 1) < 200);
}

TEST_CASE("packets still waiting when a delay ends are let go, then its device is swept", "[netem]") {
  const Wire net;
  for (const Way& way : {kWays[0], kWays[1]}) {
    const Impairment what = at(net, way.hook, delay_of(3s));
    auto held = hold_by_device(what);
    const UniqueFd receiver = bound_in(net.far, way.host, kPort, SOCK_DGRAM);
    const UniqueFd sender = connected_in(net.near, way.host, kPort, SOCK_DGRAM);
    for (int i = 0; i < 20; ++i) must(::send(sender.get(), "x", 1, 0) == 1, "send");
    REQUIRE(eventually([&] { return packets_waiting(what) == 20; }));
    held->release();
    CHECK(packets_waiting(what) == 20);
    REQUIRE(eventually([&] { return packets_waiting(what) == 0; }));
    char byte = 0;
    for (int i = 0; i < 20; ++i) REQUIRE(::recv(receiver.get(), &byte, 1, 0) == 1);
    const UndoResult swept = sweep_device(what);
    CHECK(swept.state == UndoState::undone);
    CHECK(swept.detail.at("packets_dropped") == 0);
  }
}

TEST_CASE("SIGKILL of its holder ends a delay at once", "[netem]") {
  const Wire net;
  for (const Way& way : {kWays[0], kWays[3]}) {
    const NetworkNamespace& place = way.hook == Hook::leave ? net.near : net.far;
    const Impairment what = at(net, way.hook, delay_of(500ms));
    Holder holder(what);
    CHECK(median_delay(send_over(net, way.host, 50)) >= 500);
    holder.kill();
    REQUIRE(eventually([&] { return !look_for_table(place, what.name).there; }));
    CHECK(median_delay(send_over(net, way.host, 50)) < 250);
    CHECK(sweep_device(what).state == UndoState::undone);
  }
}

TEST_CASE("whatever discipline is at the root of a device, it stays as it is", "[netem][slow]") {
  const Wire net;
  const std::string root = GENERATE(as<std::string>(), "fq_codel limit 5000", "prio bands 4", "netem delay 1ms", "sfq perturb 10", "red limit 100000 avpkt 1000", "pfifo limit 77");
  tc(net.near, "qdisc add dev v0 root handle 5: " + root);
  const std::string before = messy_look(net.near);
  const Impairment what = at(net, Hook::leave, delay_of(300ms));
  const auto held = hold_by_device(what);
  CHECK(median_delay(send_over(net, kFar4, 50)) >= 300);
  held->release();
  REQUIRE(eventually([&] { return packets_waiting(what) == 0; }));
  sweep_device(what);
  CHECK(messy_look(net.near) == before);
}
