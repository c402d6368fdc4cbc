// The faults of the network, whole: planned by looks at this kernel, applied, proved by what real traffic meets, undone. On loopback, with
// ports of their own, in IPv4 and IPv6.
#include <array>
#include <catch2/catch.hpp>

#include "tests/system/net_injection.h"

using namespace capsize;
using namespace capsize::net_test;

namespace {

const std::array<int, 2> kFamilies = {AF_INET, AF_INET6};

}  // namespace

TEST_CASE("a delayed service answers later by what was asked for, and at once when it is undone", "[net.faults]") {
  for (const int family : kFamilies) {
    INFO("family " << family);
    const BoundSocket service(family, SOCK_STREAM);
    Injection injection("net.delay", "service", service.target("tcp"), {{"delay", "150ms"}, {"direction", "both"}});
    INFO(injection.plan.summary);
    SystemClock clock;
    const TimePoint start = clock.now();
    CHECK(connect_to(family, service.port, 10000) == Outcome::connected);
    CHECK(clock.now() - start >= std::chrono::milliseconds(295));
    CHECK(injection.plan.intended["round_trip_ms"] == 300.0);
    CHECK(injection.plan.steps.size() == 1);
    check_bites(injection.effect_in_time());
    check_gone(injection);
    CHECK(connect_to(family, service.port, 280) == Outcome::connected);
  }
}

TEST_CASE("a backend that answers later is seen by its clients", "[net.faults]") {
  const BoundSocket service(AF_INET, SOCK_STREAM);
  Injection injection("backend.latency", "service", service.target("tcp"), {{"later", "100ms"}});
  CHECK(connect_to(AF_INET, service.port, 10000) == Outcome::connected);
  check_bites(injection.effect_in_time());
  check_gone(injection);
}

TEST_CASE("connections to a service in a black hole hang, and those that are refused fail at once", "[net.faults]") {
  for (const int family : kFamilies) {
    INFO("family " << family);
    const BoundSocket service(family, SOCK_STREAM);
    {
      Injection injection("net.blackhole", "service", service.target("tcp"), Json::object());
      CHECK(connect_to(family, service.port, 300) == Outcome::timed_out);
      check_bites(injection.effect_in_time());
      check_gone(injection);
    }
    CHECK(connect_to(family, service.port, 10000) == Outcome::connected);
    Injection injection("net.reject", "service", service.target("tcp"), Json::object());
    CHECK(connect_to(family, service.port, 10000) == Outcome::refused);
    check_bites(injection.effect_in_time());
    check_gone(injection);
    CHECK(connect_to(family, service.port, 10000) == Outcome::connected);
  }
}

TEST_CASE("a partition on loopback cuts the addresses it names, and no others", "[net.faults]") {
  const BoundSocket service(AF_INET, SOCK_STREAM);
  Injection injection("net.partition", "network", {{"local", {"127.0.0.1"}}, {"peers", {"127.0.0.1"}}, {"peer_ports", {service.port}}, {"protocol", "tcp"}}, Json::object());
  CHECK(connect_to(AF_INET, service.port, 300) == Outcome::timed_out);
  const BoundSocket other(AF_INET, SOCK_STREAM);
  CHECK(connect_to(AF_INET, other.port, 10000) == Outcome::connected);
  check_bites(injection.effect_in_time());
  check_gone(injection);
}

TEST_CASE("lost datagrams are the share that was asked for", "[net.faults]") {
  for (const int family : kFamilies) {
    INFO("family " << family);
    const BoundSocket service(family, SOCK_DGRAM);
    Injection injection("net.loss", "service", service.target("udp"), {{"share", "30%"}});
    int arrived = 0;
    for (int i = 0; i < 20; ++i) {
      send_datagrams(family, service.port, 50);
      arrived += service.drain();
    }
    check_bites(injection.effect());
    CHECK(arrived > 550);
    CHECK(arrived < 850);
    check_gone(injection);
    send_datagrams(family, service.port, 50);
    CHECK(service.drain() == 50);
  }
}

TEST_CASE("datagrams come twice, in another order, or not at all when their checksum is wrong", "[net.faults]") {
  struct Case {
    const char* fault;
    Json params;
  };
  for (const Case& one : {Case{"net.duplicate", {{"share", "30%"}}}, Case{"net.corrupt", {{"share", "30%"}}}, Case{"net.reorder", {{"share", "30%"}, {"delay", "5ms"}}},
                          Case{"net.loss", {{"enter_bad", "10%"}, {"leave_bad", "30%"}}}}) {
    const BoundSocket service(AF_INET, SOCK_DGRAM);
    Injection injection(one.fault, "service", service.target("udp"), one.params);
    INFO(injection.plan.summary);
    int arrived = 0;
    for (int i = 0; i < 20; ++i) {
      send_datagrams(AF_INET, service.port, 50);
      ::usleep(10000);
      arrived += service.drain();
    }
    check_bites(injection.effect());
    if (std::string(one.fault) == "net.duplicate") CHECK(arrived > 1150);
    else if (std::string(one.fault) == "net.reorder") CHECK(arrived > 950);
    else CHECK(arrived < 950);
    check_gone(injection);
  }
}

TEST_CASE("a narrow line lets so many bytes a second pass", "[net.faults]") {
  const BoundSocket service(AF_INET, SOCK_DGRAM);
  Injection injection("net.rate", "service", service.target("udp"), {{"rate", "800kbit/s"}, {"queue", "100ms"}});
  INFO(injection.plan.summary);
  SystemClock clock;
  const TimePoint start = clock.now();
  const std::string kilobyte(1000, 'x');
  int arrived = 0;
  while (clock.now() - start < std::chrono::milliseconds(2000)) {
    send_datagrams(AF_INET, service.port, 50, kilobyte);
    ::usleep(20000);
    arrived += service.drain();
  }
  const double took = seconds(clock.now() - start);
  CHECK(arrived < (100.0 * took + 60) * 1.3);
  CHECK(arrived > 60);
  check_bites(injection.effect());
  check_gone(injection);
}

TEST_CASE("queries for the chosen names are not answered, and others are", "[net.faults]") {
  const BoundSocket server(AF_INET, SOCK_DGRAM);
  Injection injection("net.dns", "service", server.target("udp"), {{"names", {"db.staging"}}});
  const auto query = [](const std::string& first, const std::string& second) {
    std::string out("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
    for (const std::string& label : {first, second}) out += static_cast<char>(label.size()), out += label;
    return out + std::string("\x00\x00\x01\x00\x01", 5);
  };
  send_datagrams(AF_INET, server.port, 10, query("db", "staging"));
  send_datagrams(AF_INET, server.port, 10, query("www", "staging"));
  check_bites(injection.effect_in_time());
  CHECK(server.drain() == 10);
  check_gone(injection);
}

TEST_CASE("a fault that nobody's traffic meets does not bite, and says so", "[net.faults]") {
  const BoundSocket service(AF_INET, SOCK_STREAM);
  Injection quiet("net.loss", "service", service.target("udp"), {{"share", "30%"}});
  const Effect none = quiet.effect();
  CHECK_FALSE(none.bites);
  CHECK(none.because == "no packet has matched: nothing that it selects is sent");
  Injection lonely("net.delay", "service", service.target("tcp"), {{"delay", "50ms"}});
  lonely.effect();
  const Effect alone = lonely.effect();
  INFO(alone.because);
  CHECK_FALSE(alone.bites);
  CHECK(alone.because.find("no traffic other than our own echo") != std::string::npos);
}
