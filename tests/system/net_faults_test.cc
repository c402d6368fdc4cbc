// The faults of the network, whole: planned by looks at this kernel, applied, proved by what real traffic meets, undone. On loopback, with
// ports of their own, in IPv4 and IPv6.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <thread>

#include "injector/net/impairment.h"
#include "injector/net/packet_rules.h"
#include "tests/system/process_children.h"

using namespace capsize;
using process_test::Control;
using process_test::LocalView;

namespace {

struct Endpoint {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* address() { return reinterpret_cast<sockaddr*>(&storage); }
};

Endpoint loopback(int family, int port) {
  Endpoint out;
  if (family == AF_INET6) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_loopback;
    v6.sin6_port = htons(static_cast<std::uint16_t>(port));
    out.size = sizeof v6;
    std::memcpy(&out.storage, &v6, sizeof v6);
  } else {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v4.sin_port = htons(static_cast<std::uint16_t>(port));
    out.size = sizeof v4;
    std::memcpy(&out.storage, &v4, sizeof v4);
  }
  return out;
}

// A socket on loopback at a port of its own.
class Bound {
 public:
  Bound(int family, int type) : family_(family), fd(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    Endpoint where = loopback(family, 0);
    REQUIRE(::bind(fd.get(), where.address(), where.size) == 0);
    REQUIRE(::getsockname(fd.get(), where.address(), &where.size) == 0);
    port = ntohs(family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&where.storage)->sin6_port : reinterpret_cast<sockaddr_in*>(&where.storage)->sin_port);
    if (type == SOCK_STREAM) REQUIRE(::listen(fd.get(), 1024) == 0);
  }
  Json target(const char* protocol) const {
    return {{"address", (family_ == AF_INET6 ? "[::1]:" : "127.0.0.1:") + std::to_string(port)}, {"protocol", protocol}};
  }
  // How many datagrams are waiting.
  int drain() const {
    std::array<char, 2048> room{};
    int count = 0;
    while (::recv(fd.get(), room.data(), room.size(), 0) > 0) ++count;
    return count;
  }

 private:
  int family_;

 public:
  UniqueFd fd;
  int port = 0;
};

enum class Outcome { connected, refused, timed_out };

Outcome connect_to(int family, int port, int limit_ms) {
  const UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const Endpoint where = loopback(family, port);
  if (::connect(fd.get(), where.address(), where.size) == 0) return Outcome::connected;
  pollfd waiting{fd.get(), POLLOUT, 0};
  if (::poll(&waiting, 1, limit_ms) == 0) return Outcome::timed_out;
  int problem = 0;
  socklen_t size = sizeof problem;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &problem, &size);
  return problem == 0 ? Outcome::connected : Outcome::refused;
}

void send_datagrams(int family, int port, int count, const std::string& text = "hello") {
  const UniqueFd fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const Endpoint where = loopback(family, port);
  for (int i = 0; i < count; ++i) {
    ::sendto(fd.get(), text.data(), text.size(), 0, where.address(), where.size);
    if (i % 50 == 49) ::usleep(2000);
  }
}

// A fault, from its plan to its undo.
class Injection {
 public:
  Injection(const char* fault, const std::string& target_type, Json target, Json params) : type_(find_fault(fault)) {
    REQUIRE(type_ != nullptr);
    FaultRequest request;
    request.params = std::move(params);
    request.target_type = target_type;
    request.target = std::move(target);
    LocalView view(control_.context);
    plan = control_.run(type_->plan(std::move(request), view));
    before_ = control_.look(plan.observe);
    for (const Step& step : plan.steps) held_.push_back(control_.apply(step.apply));
  }
  ~Injection() { undo(); }

  Effect effect() { return type_->effect(plan, before_, control_.look(plan.observe)); }
  // Until the effect is seen, as the runner asks for it every second.
  Effect effect_in_time() {
    Effect seen;
    const TimePoint end = control_.clock.now() + process_test::kPatience;
    do seen = effect();
    while (!seen.bites && control_.clock.now() < end);
    return seen;
  }
  std::vector<UndoState> undo() {
    std::vector<UndoState> out;
    for (std::size_t i = held_.size(); i-- > 0;) {
      if (held_[i].held) held_[i].held->release();
      held_[i].held.reset();
      out.push_back(control_.undo(plan.steps[i].undo).state);
    }
    held_.clear();
    return out;
  }
  Impairment impairment() const { return impairment_from_json(plan.steps.at(0).apply.args); }

  FaultPlan plan;

 private:
  const FaultType* type_;
  Control control_;
  Json before_;
  std::vector<Applied> held_;
};

void check_gone(Injection& injection) {
  for (const UndoState state : injection.undo()) CHECK(state == UndoState::undone);
  for (const Step& step : injection.plan.steps) {
    const Impairment one = impairment_from_json(step.apply.args);
    CHECK_FALSE(look_for_table(one.place, one.name).there);
  }
}

const std::array<int, 2> kFamilies = {AF_INET, AF_INET6};

}  // namespace

TEST_CASE("a delayed service answers later by what was asked for, and at once when it is undone", "[net.faults]") {
  for (const int family : kFamilies) {
    INFO("family " << family);
    const Bound service(family, SOCK_STREAM);
    Injection injection("net.delay", "service", service.target("tcp"), {{"delay", "150ms"}, {"direction", "both"}});
    INFO(injection.plan.summary);
    SystemClock clock;
    const TimePoint start = clock.now();
    CHECK(connect_to(family, service.port, 10000) == Outcome::connected);
    CHECK(clock.now() - start >= std::chrono::milliseconds(295));
    CHECK(injection.plan.intended["round_trip_ms"] == 300.0);
    CHECK(injection.plan.steps.size() == 1);
    const Effect effect = injection.effect_in_time();
    INFO(effect.because);
    CHECK(effect.bites);
    check_gone(injection);
    CHECK(connect_to(family, service.port, 140) == Outcome::connected);
  }
}

TEST_CASE("a backend that answers later is seen by its clients", "[net.faults]") {
  const Bound service(AF_INET, SOCK_STREAM);
  Injection injection("backend.latency", "service", service.target("tcp"), {{"later", "100ms"}});
  CHECK(connect_to(AF_INET, service.port, 10000) == Outcome::connected);
  const Effect effect = injection.effect_in_time();
  INFO(effect.because);
  CHECK(effect.bites);
  check_gone(injection);
}

TEST_CASE("connections to a service in a black hole hang, and those that are refused fail at once", "[net.faults]") {
  for (const int family : kFamilies) {
    INFO("family " << family);
    const Bound service(family, SOCK_STREAM);
    {
      Injection injection("net.blackhole", "service", service.target("tcp"), Json::object());
      CHECK(connect_to(family, service.port, 300) == Outcome::timed_out);
      const Effect effect = injection.effect_in_time();
      INFO(effect.because);
      CHECK(effect.bites);
      check_gone(injection);
    }
    CHECK(connect_to(family, service.port, 10000) == Outcome::connected);
    Injection injection("net.reject", "service", service.target("tcp"), Json::object());
    CHECK(connect_to(family, service.port, 10000) == Outcome::refused);
    const Effect effect = injection.effect_in_time();
    INFO(effect.because);
    CHECK(effect.bites);
    check_gone(injection);
    CHECK(connect_to(family, service.port, 10000) == Outcome::connected);
  }
}

TEST_CASE("a partition on loopback cuts the addresses it names, and no others", "[net.faults]") {
  const Bound service(AF_INET, SOCK_STREAM);
  Injection injection("net.partition", "network", {{"local", {"127.0.0.1"}}, {"peers", {"127.0.0.1"}}, {"peer_ports", {service.port}}, {"protocol", "tcp"}}, Json::object());
  CHECK(connect_to(AF_INET, service.port, 300) == Outcome::timed_out);
  const Bound other(AF_INET, SOCK_STREAM);
  CHECK(connect_to(AF_INET, other.port, 10000) == Outcome::connected);
  const Effect effect = injection.effect_in_time();
  INFO(effect.because);
  CHECK(effect.bites);
  check_gone(injection);
}

TEST_CASE("lost datagrams are the share that was asked for", "[net.faults]") {
  for (const int family : kFamilies) {
    INFO("family " << family);
    const Bound service(family, SOCK_DGRAM);
    Injection injection("net.loss", "service", service.target("udp"), {{"share", "30%"}});
    int arrived = 0;
    for (int i = 0; i < 20; ++i) {
      send_datagrams(family, service.port, 50);
      arrived += service.drain();
    }
    const Effect effect = injection.effect();
    INFO(effect.because);
    CHECK(effect.bites);
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
    const Bound service(AF_INET, SOCK_DGRAM);
    Injection injection(one.fault, "service", service.target("udp"), one.params);
    INFO(injection.plan.summary);
    int arrived = 0;
    for (int i = 0; i < 20; ++i) {
      send_datagrams(AF_INET, service.port, 50);
      ::usleep(10000);
      arrived += service.drain();
    }
    const Effect effect = injection.effect();
    INFO(effect.because);
    CHECK(effect.bites);
    if (std::string(one.fault) == "net.duplicate") CHECK(arrived > 1150);
    else if (std::string(one.fault) == "net.reorder") CHECK(arrived > 950);
    else CHECK(arrived < 950);
    check_gone(injection);
  }
}

TEST_CASE("a narrow line lets so many bytes a second pass", "[net.faults]") {
  const Bound service(AF_INET, SOCK_DGRAM);
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
  const Effect effect = injection.effect();
  INFO(effect.because);
  CHECK(effect.bites);
  check_gone(injection);
}

TEST_CASE("queries for the chosen names are not answered, and others are", "[net.faults]") {
  const Bound server(AF_INET, SOCK_DGRAM);
  Injection injection("net.dns", "service", server.target("udp"), {{"names", {"db.staging"}}});
  const auto query = [](const std::string& first, const std::string& second) {
    std::string out("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
    for (const std::string& label : {first, second}) out += static_cast<char>(label.size()), out += label;
    return out + std::string("\x00\x00\x01\x00\x01", 5);
  };
  send_datagrams(AF_INET, server.port, 10, query("db", "staging"));
  send_datagrams(AF_INET, server.port, 10, query("www", "staging"));
  const Effect effect = injection.effect_in_time();
  INFO(effect.because);
  CHECK(effect.bites);
  CHECK(server.drain() == 10);
  check_gone(injection);
}

TEST_CASE("a fault that nobody's traffic meets does not bite, and says so", "[net.faults]") {
  const Bound service(AF_INET, SOCK_STREAM);
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
