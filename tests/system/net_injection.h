// For tests of whole network faults: services on loopback with ports of their own, and a fault from its plan to its undo.
#pragma once
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>

#include "injector/net/impairment.h"
#include "injector/net/packet_rules.h"
#include "tests/system/net_pair.h"
#include "tests/system/process_children.h"

namespace capsize::net_test {

using process_test::Control;
using process_test::LocalView;

inline SocketAddress loopback(int family, int port) { return socket_address(family == AF_INET6 ? "::1" : "127.0.0.1", static_cast<std::uint16_t>(port)); }

// A socket on loopback at a port of its own.
class BoundSocket {
 public:
  BoundSocket(int family, int type) : family_(family), fd(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    SocketAddress where = loopback(family, 0);
    REQUIRE(::bind(fd.get(), where.get(), where.size) == 0);
    REQUIRE(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&where.bytes), &where.size) == 0);
    port = ntohs(reinterpret_cast<const sockaddr_in&>(where.bytes).sin_port);  // at the same place in both families
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

inline Outcome connect_to(int family, int port, int limit_ms) {
  const UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const SocketAddress where = loopback(family, port);
  if (::connect(fd.get(), where.get(), where.size) == 0) return Outcome::connected;
  pollfd waiting{fd.get(), POLLOUT, 0};
  if (::poll(&waiting, 1, limit_ms) == 0) return Outcome::timed_out;
  int problem = 0;
  socklen_t size = sizeof problem;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &problem, &size);
  return problem == 0 ? Outcome::connected : Outcome::refused;
}

inline void send_datagrams(int family, int port, int count, const std::string& text = "hello") {
  const UniqueFd fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const SocketAddress where = loopback(family, port);
  for (int i = 0; i < count; ++i) {
    ::sendto(fd.get(), text.data(), text.size(), 0, where.get(), where.size);
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
    for (;;) {
      seen = effect();
      if (seen.bites || control_.clock.now() >= end) return seen;
      ::usleep(200'000);  // what meets it meanwhile is not our own echo
    }
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

inline void check_bites(const Effect& effect) {
  INFO(effect.because);
  CHECK(effect.bites);
}

inline void check_gone(Injection& injection) {
  for (const UndoState state : injection.undo()) CHECK(state == UndoState::undone);
  for (const Step& step : injection.plan.steps) {
    const Impairment one = impairment_from_json(step.apply.args);
    CHECK_FALSE(look_for_table(one.place, one.name).there);
  }
}

}  // namespace capsize::net_test
