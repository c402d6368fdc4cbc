// The device back end on the kernel at hand, by what every kernel has: a rate. What needs netem is in net_netem_test.cc.
#include <catch2/catch.hpp>

#include "injector/net/device_parts.h"
#include "injector/net/packet_rules.h"
#include "tests/system/net_device.h"

using namespace capsize;
using namespace capsize::net_test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t kOther = 5002;
constexpr double kRateMbit = 16;
constexpr std::uint64_t kRate = 2'000'000;

// Best of some attempts: the machine may be busy.
double mbit(const NetPair& net, const std::string& host, std::uint16_t port, double enough) {
  double best = 0;
  for (int i = 0; i < 5 && best < enough; ++i) best = std::max(best, transfer(net.near, net.far, host, port, 1200ms).mbit_per_second());
  return best;
}

// An operator's disciplines, filters, rules and addresses on the wire.
void make_messy(const NetworkNamespace& place) {
  for (const char* words : {"qdisc add dev v0 root handle 10: htb default 30", "class add dev v0 parent 10: classid 10:30 htb rate 9gbit quantum 60000",
                            "qdisc add dev v0 parent 10:30 handle 30: tbf rate 8gbit burst 1mb latency 100ms", "qdisc add dev v0 clsact",
                            "filter add dev v0 egress protocol ip pref 7 u32 match ip dport 9 0xffff classid 10:30", "filter add dev v0 ingress protocol ipv6 pref 9 u32 match u32 0 0 classid 10:30",
                            "filter add dev v0 egress pref 3 bpf bytecode '1,6 0 0 0' classid 10:30"}) {
    tc(place, words);
  }
  in_network_namespace(place, [] { output_of("nft add table inet operators && nft add chain inet operators out '{ type filter hook output priority 0; }' && nft add rule inet operators out udp dport 9 mark set 7"); });
  output_of("ip -n " + name_of(place) + " addr add 10.99.0.1/32 dev v0");
}

bool has_netem() {
  bool has = false;
  in_scratch_namespace([&] { has = std::system("tc qdisc add dev lo root netem delay 1ms 2>/dev/null") == 0; });
  return has;
}

}  // namespace

TEST_CASE("a rate holds back packets to a port, in the direction that is asked, and no others", "[net_device]") {
  const Wire net;
  const std::string host = GENERATE(as<std::string>(), kFar4, kFar6);
  const Hook hook = GENERATE(Hook::arrive, Hook::leave);
  INFO(host << (hook == Hook::arrive ? " arriving" : " leaving"));
  const auto held = hold_by_device(at(net, hook, rate_of(kRate), Protocol::tcp));
  const double slow = mbit(net, host, kPort, 0.6 * kRateMbit);
  CHECK(slow >= 0.6 * kRateMbit);
  CHECK(slow <= 1.2 * kRateMbit);
  CHECK(mbit(net, host, kOther, 10 * kRateMbit) >= 10 * kRateMbit);
  const ImpairCounts counts = held->counts();
  CHECK(counts.matched > 0);
  CHECK(counts.matched_bytes > kRate);
  CHECK(counts.delayed > 0);
  held->release();
  CHECK(mbit(net, host, kPort, 10 * kRateMbit) >= 10 * kRateMbit);
}

TEST_CASE("directions of one fault do not share its rate", "[net_device]") {
  const Wire net;
  Impairment both = at(net, Hook::leave, rate_of(kRate), Protocol::tcp);
  both.place = net.far;  // what it sends back, and what it receives
  both.affected.front().destination.ports.clear();
  both.affected.push_back(both.affected.front());
  both.affected.back().hook = Hook::arrive;
  const auto held = hold_by_device(both);
  double sum = 0;  // sharing, they would have one rate between them
  for (int i = 0; i < 5 && sum < 1.15 * kRateMbit; ++i) {
    double there = 0;
    std::thread other([&] { there = transfer(net.near, net.far, kFar4, kPort, 2s).mbit_per_second(); });
    const double back = transfer(net.far, net.near, "10.77.0.1", kOther, 2s).mbit_per_second();
    other.join();
    CHECK(there <= 1.2 * kRateMbit);
    CHECK(back <= 1.2 * kRateMbit);
    sum = std::max(sum, there + back);
  }
  CHECK(sum >= 1.15 * kRateMbit);
}

TEST_CASE("a fault comes and goes beside an operator's disciplines, filters, rules and addresses without a trace", "[net_device]") {
  const Wire net;
  const Hook hook = GENERATE(Hook::arrive, Hook::leave);
  const bool messy = GENERATE(true, false);
  const NetworkNamespace& place = hook == Hook::leave ? net.near : net.far;
  if (messy) make_messy(place);
  const std::string before = messy_look(place);
  const Impairment what = at(net, hook, rate_of(kRate), Protocol::tcp);
  const auto held = hold_by_device(what);
  const std::string during = messy_look(place);
  CHECK(during != before);
  if (messy) {
    CHECK(tc(place, "qdisc show dev v0").find("qdisc htb 10: root") != std::string::npos);
    CHECK(mbit(net, kFar4, kPort, 0.6 * kRateMbit) <= 1.2 * kRateMbit);
    CHECK(held->counts().matched > 0);
  }
  held->release();
  REQUIRE(eventually([&] { return packets_waiting(what) == 0; }));
  CHECK(sweep_device(what).state == UndoState::undone);
  CHECK(messy_look(place) == before);
  CHECK(sweep_device(what).state == UndoState::nothing_to_undo);
}

TEST_CASE("a clsact of ours that an operator has put to use meanwhile stays", "[net_device]") {
  const Wire net;
  const Impairment what = at(net, Hook::leave, rate_of(kRate), Protocol::tcp);
  const auto use = [&] { tc(net.near, "filter add dev v0 ingress protocol ip pref 7 u32 match ip dport 9 0xffff classid 1:1"); };
  if (GENERATE(true, false)) {
    Holder holder(what);
    use();
    holder.kill();
    REQUIRE(eventually([&] { return !look_for_table(net.near, what.name).there; }));
    CHECK(sweep_device(what).state == UndoState::undone);
  } else {
    const auto held = hold_by_device(what);
    use();
    held->release();
    CHECK(sweep_device(what).state == UndoState::undone);
  }
  CHECK(tc(net.near, "qdisc show dev v0").find("clsact") != std::string::npos);
  CHECK(tc(net.near, "filter show dev v0 egress").empty());
  CHECK(tc(net.near, "qdisc show dev lo").find("clsact") == std::string::npos);
}

TEST_CASE("when its holder is killed traffic is normal at once, and what is left does nothing and is swept", "[net_device]") {
  const Wire net;
  const Hook hook = GENERATE(Hook::arrive, Hook::leave);
  const NetworkNamespace& place = hook == Hook::leave ? net.near : net.far;
  const std::string before = messy_look(place);
  const Impairment what = at(net, hook, rate_of(kRate), Protocol::tcp);
  Holder holder(what);
  CHECK(mbit(net, kFar4, kPort, 0.6 * kRateMbit) <= 1.2 * kRateMbit);
  CHECK(sweep_device(what).state == UndoState::failed);  // its holder lives
  CHECK(mbit(net, kFar4, kPort, 0.6 * kRateMbit) <= 1.2 * kRateMbit);
  holder.kill();
  REQUIRE(eventually([&] { return !look_for_table(place, what.name).there; }));
  CHECK(mbit(net, kFar4, kPort, 10 * kRateMbit) >= 10 * kRateMbit);
  CHECK(messy_look(place) != before);
  const UndoResult swept = sweep_device(what);
  INFO(swept.because);
  CHECK(swept.state == UndoState::undone);
  CHECK(messy_look(place) == before);
  CHECK(sweep_device(what).state == UndoState::nothing_to_undo);
}

TEST_CASE("a device of that name that is not ours is left alone", "[net_device]") {
  const Wire net;
  const Impairment what = at(net, Hook::arrive, rate_of(kRate));
  output_of("ip -n " + name_of(net.far) + " link add " + device_name(what) + " type ifb");
  const std::string before = messy_look(net.far);
  CHECK(sweep_device(what).state == UndoState::refused);
  try {
    hold_by_device(what);
    FAIL("held");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::changed);
  }
  CHECK(messy_look(net.far) == before);
}

TEST_CASE("a kernel without netem says so, names its module, and is left as it was", "[net_device]") {
  if (has_netem()) {
    WARN("this kernel has netem");
    return;
  }
  const Wire net;
  const Hook hook = GENERATE(Hook::arrive, Hook::leave);
  const NetworkNamespace& place = hook == Hook::leave ? net.near : net.far;
  const std::string before = messy_look(place);
  const Impairment what = at(net, hook, delay_of(10ms));
  try {
    hold_by_device(what);
    FAIL("held");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::unavailable);
    CHECK(error.fact().find("sch_netem") != std::string::npos);
    CHECK(error.remedy().find("linux-image-cloud-amd64") != std::string::npos);
  }
  CHECK(messy_look(place) == before);
}

TEST_CASE("a network namespace that is gone has nothing to undo", "[net_device]") {
  Impairment what;
  {
    const Wire net;
    what = at(net, Hook::leave, rate_of(kRate));
    Holder holder(what);
  }
  CHECK(sweep_device(what).state == UndoState::nothing_to_undo);
}
