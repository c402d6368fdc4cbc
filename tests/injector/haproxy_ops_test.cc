// The ops on HAProxy against the fake runtime API, in virtual time.
#include <catch2/catch.hpp>

#include "injector/faults/balancer.h"
#include "injector/ops/haproxy_change.h"
#include "tests/sim/await.h"
#include "tests/sim/fake_haproxy_server.h"

using namespace capsize;

namespace {

struct World {
  asio::io_context io;
  SimClock clock;
  FakeHaproxy fake{"auth", {{.name = "a"}, {.name = "b"}, {.name = "c"}}};
  FakeHaproxyServer server{io, fake};
  OpContext context{clock, {}, {}};

  Json look() {
    const Json args = {{"socket", server.socket()}, {"backend", "auth"}};
    return await_in(clock, io, find_op("haproxy.servers")->look(args, context));
  }
  Step skew() {
    const HaproxyTarget target{server.socket(), Name{"auth"}};
    return plan_balancer_skew({Name{"a"}, Share{0.8}}, target, backend_from_json(look()), {}).steps.at(0);
  }
  Step drain() {
    const HaproxyTarget target{server.socket(), Name{"auth"}};
    return plan_balancer_drain({{Name{"a"}}}, target, backend_from_json(look()), {}).steps.at(0);
  }
  void apply(const Op& op) { await_in(clock, io, find_op(op.type)->apply(op.args, context)); }
  UndoResult undo(const Op& op) { return await_in(clock, io, find_op(op.type)->undo(op.args, context)); }
  // What can be set, without counters.
  std::string settings() {
    std::string out;
    for (const auto& one : fake.servers()) out += fmt::format("{} {} {} {};", one.name, one.weight, one.admin_state, one.max_connections);
    return out;
  }
  // Sessions come, 100 a second of virtual time, for two seconds.
  void send_traffic() { asio::co_spawn(io, traffic(clock, fake), asio::detached); }

 private:
  static Task<> traffic(SimClock& time, FakeHaproxy& haproxy) {
    for (int i = 0; i < 300; ++i) {
      const auto chosen = haproxy.arrive();
      if (chosen) haproxy.finish(*chosen);
      co_await time.sleep(std::chrono::milliseconds(10));
    }
  }
};

std::string kind_of_failure(World& world, const Op& op) {
  try {
    world.apply(op);
  } catch (const Error& error) {
    return std::string(to_string(error.kind())) + ": " + error.fact();
  }
  return "none";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("apply and undo leave the balancer as it was, and a second undo finds nothing", "[haproxy]") {
  for (const bool skewed : {true, false}) {
    World world;
    const std::string before = world.settings();
    const Step step = skewed ? world.skew() : world.drain();
    world.apply(step.apply);
    CHECK(world.settings() != before);
    CHECK(world.undo(step.undo).state == UndoState::undone);
    CHECK(world.settings() == before);
    const std::size_t changes = world.fake.changes.size();
    CHECK(world.undo(step.undo).state == UndoState::nothing_to_undo);
    CHECK(world.fake.changes.size() == changes);
  }
}

TEST_CASE("an undo without its apply sends no change at all", "[haproxy]") {
  World world;
  const Step step = world.skew();
  const UndoResult result = world.undo(step.undo);
  CHECK(result.state == UndoState::nothing_to_undo);
  CHECK(world.fake.changes.empty());
}

TEST_CASE("a half-done apply is undone", "[haproxy]") {
  World world;
  const std::string before = world.settings();
  const Step step = world.skew();
  world.fake.answer("set server auth/a weight 8");  // the first of three, then the writer died
  CHECK(world.undo(step.undo).state == UndoState::undone);
  CHECK(world.settings() == before);
}

TEST_CASE("a weight changed by someone else is refused, not restored, the others are restored", "[haproxy]") {
  World world;
  const Step step = world.skew();
  world.apply(step.apply);
  world.fake.server("b").weight = 33;
  const UndoResult result = world.undo(step.undo);
  CHECK(result.state == UndoState::refused);
  CHECK(has(result.because, "auth/b has weight 33, neither 1 as injected nor 10 as before"));
  CHECK(has(result.remedy, "set server auth/b weight 10"));
  CHECK(world.fake.server("a").weight == 10);
  CHECK(world.fake.server("b").weight == 33);
  CHECK(world.fake.server("c").weight == 10);
  CHECK(world.undo(step.undo).state == UndoState::refused);
}

TEST_CASE("an operator's maintenance stays", "[haproxy]") {
  World world;
  const Step step = world.drain();
  world.apply(step.apply);
  world.fake.answer("set server auth/a state maint");
  const UndoResult result = world.undo(step.undo);
  CHECK(result.state == UndoState::refused);
  CHECK(has(result.because, "\"maint\""));
  CHECK(world.fake.server("a").admin_state == 1);
}

TEST_CASE("after a reload there is nothing to undo, and it is said", "[haproxy]") {
  World world;
  const Step step = world.skew();
  world.apply(step.apply);
  world.fake.reload();
  const UndoResult result = world.undo(step.undo);
  CHECK(result.state == UndoState::nothing_to_undo);
  CHECK(has(result.because, "HAProxy was reloaded (pid 1000 -> 1007)"));
}

TEST_CASE("a reload that kept our weights is undone all the same, and one to other weights is left alone", "[haproxy]") {
  World world;
  const std::string before = world.settings();
  const Step step = world.skew();
  world.apply(step.apply);
  world.fake.reload(true);
  CHECK(world.undo(step.undo).state == UndoState::undone);
  CHECK(world.settings() == before);
  world.fake.reload();
  world.fake.server("a").weight = 77;
  CHECK(world.undo(step.undo).state == UndoState::nothing_to_undo);
  CHECK(world.fake.server("a").weight == 77);
}

TEST_CASE("nothing is applied to a backend that is not as planned", "[haproxy]") {
  World world;
  const Step step = world.skew();
  world.fake.server("c").weight = 11;
  CHECK(kind_of_failure(world, step.apply) == "changed: auth/c has weight 11, the plan saw 10");
  world.fake.reload();
  CHECK(has(kind_of_failure(world, step.apply), "changed: HAProxy at"));
  CHECK(world.fake.changes.empty());
}

TEST_CASE("a change that HAProxy denies or silently ignores is an error", "[haproxy]") {
  World world;
  const Step step = world.skew();
  world.fake.admin_level = false;
  CHECK(has(kind_of_failure(world, step.apply), "privilege: "));
  world.fake.admin_level = true;
  world.fake.ignores_changes = true;
  CHECK(has(kind_of_failure(world, step.apply), "has weight 10 right after 8 was set"));
}

TEST_CASE("an undo that HAProxy ignores ends as failed, with the commands to send by hand", "[haproxy]") {
  World world;
  const Step step = world.skew();
  world.apply(step.apply);
  world.fake.ignores_changes = true;
  const UndoResult result = world.undo(step.undo);
  CHECK(result.state == UndoState::failed);
  CHECK(has(result.remedy, "set server auth/a weight 10"));
}

TEST_CASE("a write that is executed after the undo looked is undone too", "[haproxy]") {
  World world;
  const std::string before = world.settings();
  const Step step = world.skew();
  int looks = 0;
  world.fake.other_cli_sessions = 1;  // the dead writer's connection, still waiting
  const auto late = [](SimClock& clock, FakeHaproxy& fake, int& seen) -> Task<> {
    co_await clock.sleep(std::chrono::milliseconds(1200));  // longer than the barrier waits
    fake.answer("set server auth/a weight 8;set server auth/b weight 1;set server auth/c weight 1");
    fake.other_cli_sessions = 0;
    ++seen;
  };
  asio::co_spawn(world.io, late(world.clock, world.fake, looks), asio::detached);
  const UndoResult result = world.undo(step.undo);
  CHECK(looks == 1);
  CHECK(result.state == UndoState::undone);
  CHECK(world.settings() == before);
}

TEST_CASE("a connection that an operator leaves open does not hold the undo up", "[haproxy]") {
  World world;
  const std::string before = world.settings();
  const Step step = world.skew();
  world.apply(step.apply);
  world.fake.other_cli_sessions = 1;
  const TimePoint began = world.clock.now();
  TimePoint restored{};
  world.fake.on_change = [&](const std::string&) { restored = world.clock.now(); };
  const UndoResult result = world.undo(step.undo);
  CHECK(result.state == UndoState::undone);
  CHECK(world.settings() == before);
  CHECK(restored - began <= std::chrono::milliseconds(1100));
  CHECK(world.clock.now() - began <= std::chrono::seconds(5));
  CHECK(has(result.detail["barrier"].get<std::string>(), "1 other connection"));
}

TEST_CASE("an undo is verified by traffic when there is some, and says so when there is none", "[haproxy]") {
  World world;
  const Step step = world.skew();
  world.apply(step.apply);
  CHECK(world.undo(step.undo).detail["traffic"] == "no traffic to verify by");
  world.apply(step.apply);
  world.send_traffic();
  const UndoResult result = world.undo(step.undo);
  CHECK(result.state == UndoState::undone);
  CHECK(result.detail["traffic"] == "verified");
}

TEST_CASE("a server that starves after the restore is requeued, and that is reported", "[haproxy]") {
  World world;
  const Step step = world.skew();
  world.apply(step.apply);
  world.fake.server("b").agent_check = false;
  bool exiled = false;
  world.fake.on_change = [&](const std::string& command) {
    if (exiled || command != "set server auth/c weight 10") return;  // after the restore's own requeue of c
    exiled = world.fake.changes.size() > 12;
    if (exiled) world.fake.server("c").exiled = true;
  };
  world.send_traffic();
  const UndoResult result = world.undo(step.undo);
  REQUIRE(exiled);
  CHECK(result.state == UndoState::undone);
  CHECK(result.detail["traffic"] == "cured: no sessions for c until requeued");
}

TEST_CASE("a server that starves whatever is done makes the undo fail", "[haproxy]") {
  World world;
  const Step step = world.skew();
  world.apply(step.apply);
  world.fake.on_change = [&](const std::string&) { world.fake.server("c").exiled = true; };
  world.send_traffic();
  const UndoResult result = world.undo(step.undo);
  CHECK(result.state == UndoState::failed);
  CHECK(has(result.because, "c got none of"));
  CHECK(world.fake.server("c").weight == 10);
}

TEST_CASE("an undo waits for an HAProxy that does not answer for a while, and tells when it never does", "[haproxy]") {
  World world;
  const std::string before = world.settings();
  const Step step = world.skew();
  world.apply(step.apply);
  world.server.stall();
  const auto wake = [](SimClock& clock, FakeHaproxyServer& server) -> Task<> {
    co_await clock.sleep(std::chrono::seconds(3));
    server.resume();
  };
  asio::co_spawn(world.io, wake(world.clock, world.server), asio::detached);
  CHECK(world.undo(step.undo).state == UndoState::undone);
  CHECK(world.settings() == before);

  world.apply(step.apply);
  world.server.stall();
  const TimePoint began = world.clock.now();
  const UndoResult result = world.undo(step.undo);
  CHECK(result.state == UndoState::failed);
  CHECK(has(result.because, "does not answer within 2s"));
  CHECK(world.clock.now() - began <= std::chrono::seconds(10));
}

TEST_CASE("where HAProxy has ended, its settings have ended with it", "[haproxy]") {
  World world;
  Step step = world.skew();
  world.apply(step.apply);
  world.server.close();
  step.undo.args["process"]["pid"] = 2147483646;  // no process has this number
  CHECK(world.undo(step.undo).state == UndoState::nothing_to_undo);
  step.undo.args["process"]["pid"] = 1;  // this one lives: it cannot be told
  CHECK(world.undo(step.undo).state == UndoState::failed);
}

TEST_CASE("the connection is shared before the first command that changes something", "[haproxy]") {
  World world;
  const Step step = world.skew();
  int shared = 0;
  std::size_t written = 1;
  world.context.share_connection = [&](int fd) -> Task<> {
    shared += fd >= 0 ? 1 : 0;
    written = world.fake.changes.size();
    co_return;
  };
  world.apply(step.apply);
  CHECK(shared == 1);
  CHECK(written == 0);
}

TEST_CASE("an op whose arguments name something else than a server is refused before anything is sent", "[haproxy]") {
  World world;
  Step step = world.skew();
  step.apply.args["servers"] = {{"a weight 1; shutdown frontend x", {{"from", 10}, {"to", 1}}}};
  CHECK(has(kind_of_failure(world, step.apply), "refused: "));
  step.apply.args["servers"] = {{"a", {{"from", 10}, {"to", 257}}}};
  CHECK(has(kind_of_failure(world, step.apply), "bug: "));
  step.apply.args["backend"] = "auth;x";
  CHECK(has(kind_of_failure(world, step.apply), "refused: "));
  CHECK(world.fake.changes.empty());
}
