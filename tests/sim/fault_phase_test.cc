// Faults whose injection or undo takes long, fails or is stopped: who waits for whom, and what is said of it.
#include "experiments/report/junit.h"
#include "experiments/report/summary.h"
#include "injector/base/error.h"
#include "tests/sim/game_play.h"

using namespace capsize;
using namespace capsize::test;
using namespace std::chrono_literals;

namespace {

constexpr double kBaseline = 4;  // seconds

Json pause(const char* target, const char* at, const char* lasting) { return {{"fault", "process.pause"}, {"target", target}, {"at", at}, {"for", lasting}}; }

Playbook pauses(LoginWorld& world, std::vector<Json> faults, const Json& more = Json::object()) {
  Json json = Json::parse(R"({
    "playbook": 1, "title": "pauses",
    "variables": {"login_url": "", "session_url": ""},
    "targets": {"one": {"type": "process", "pid": "1001"}, "two": {"type": "process", "pid": "1002"}},
    "probes": {"login": {"probe": "login.http", "url": "${login_url}", "session_url": "${session_url}", "rate": "60/s", "users": 500, "timeout": "1s"}},
    "timing": {"baseline": "4s", "recovery": "20s", "settle": "4s"},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "90%"}]
  })");
  json["faults"] = std::move(faults);
  json.merge_patch(more);
  return world.playbook(json.dump());
}

// When this happened to that fault, in seconds of the fault phase; -1: never.
double when(const LoginWorld::Result& result, const std::string& event, std::size_t fault) {
  for (const Json& one : events_of(result, event)) {
    if (one["fault"] == fault) return one["t"].get<double>() - kBaseline;
  }
  return -1;
}

Task<> sleep(OpContext* context, Duration how_long) {
  co_await context->clock.sleep(how_long);
}

// As an apply that waits for others.
Task<> wait_for_others(OpContext* context, Duration how_long) {
  for (const TimePoint end = context->clock.now() + how_long; context->clock.now() < end;) {
    co_await context->pause(20ms);
  }
}

Task<> break_after(OpContext* context, Duration how_long) {
  co_await context->clock.sleep(how_long);
  throw Error(ErrorKind::unavailable, "nothing took its place");
}

Task<> nothing() { co_return; }

void check_half_injected(const LoginWorld::Result& result, const Playbook& playbook) {
  CHECK(events_of(result, "injecting").size() == 1);
  CHECK(events_of(result, "injected").empty());
  const Json& fault = result.verdict["faults"][0];
  CHECK(fault["effect"]["bites"].is_null());
  CHECK(fault["effect"]["because"] == "its injection failed or was stopped");
  const Summary summary = summarize(playbook.as_run, result.events, result.verdict);
  CHECK(says(summary.done.at(0), ", but its injection failed or was stopped, under 60 logins/s."));
  CHECK(summary.recovery == "Not known: the run ended before its recovery was watched.");
  for (const std::string& text : {summary.undo, junit_report(result.verdict)}) {
    INFO(text);
    CHECK(!says(text, "There was nothing to undo"));
    CHECK(!says(text, "it was never injected"));
  }
}

}  // namespace

TEST_CASE("a fault whose injection fails is not said never to have been injected, and its undo is told", "[sim][runner]") {
  LoginWorld world("hardened");
  world.on_hold = [](std::string, OpContext& context) { return break_after(&context, 500ms); };
  const Playbook playbook = pauses(world, {pause("one", "0s", "6s")});
  SECTION("what was done is undone") {
    const auto result = world.run(playbook);
    INFO(result.verdict.dump(1));
    CHECK(result.verdict["outcome"] == "invalid");
    CHECK(result.verdict["because"] == "nothing took its place");
    CHECK(result.verdict["faults"][0]["undo"] == "undone");
    REQUIRE(events_of(result, "undo").size() == 1);
    CHECK(events_of(result, "undo")[0]["step"] == "f0.s0");
    CHECK(summarize(playbook.as_run, result.events, result.verdict).undo == "Everything was undone, and read back to make sure.");
    check_half_injected(result, playbook);
  }
  SECTION("what nothing takes back is said") {
    world.on_release = [](const std::string&) { return UndoResult{UndoState::nothing_to_undo, "it ended, and that is left to you", "start it again", Json::object()}; };
    const auto result = world.run(playbook);
    CHECK(result.verdict["faults"][0]["undo"] == "nothing_to_undo");
    CHECK(summarize(playbook.as_run, result.events, result.verdict).undo == "Nothing is left that could be undone. process.pause: it ended, and that is left to you.");
    check_half_injected(result, playbook);
  }
}

TEST_CASE("a stop in the midst of an injection ends it at once, and the verdict says that it was begun", "[sim][runner]") {
  LoginWorld world("hardened");
  world.on_hold = [](std::string, OpContext& context) { return sleep(&context, 20s); };
  world.at(6s, [](StopSource& stop) { stop.request("operator", "Ctrl-C"); });
  const Playbook playbook = pauses(world, {pause("one", "0s", "30s")});
  const auto result = world.run(playbook);
  INFO(result.verdict.dump(1));
  CHECK(result.verdict["outcome"] == "aborted");
  CHECK(result.verdict["faults"][0]["undo"] == "undone");
  CHECK(undone_at(result) == Approx(6).margin(0.1));
  check_half_injected(result, playbook);
}

TEST_CASE("a stop does not wait for an undo that an injection holds up", "[sim][runner]") {
  LoginWorld world("hardened");
  world.on_hold = [](std::string server, OpContext& context) { return server == "auth2" ? sleep(&context, 25s) : nothing(); };
  world.at(10s, [](StopSource& stop) { stop.request("operator", "Ctrl-C"); });
  const auto result = world.run(pauses(world, {pause("one", "0s", "4s"), pause("two", "2s", "30s")}));
  INFO(result.verdict.dump(1));
  CHECK(undone_at(result) == Approx(10).margin(0.1));
  REQUIRE(events_of(result, "undo").size() == 2);
  for (std::size_t fault : {0, 1}) CHECK(result.verdict["faults"][fault]["undo"] == "undone");
}

TEST_CASE("guardrails look while an injection is awaited", "[sim][runner]") {
  LoginWorld world("as-it-was");
  world.on_hold = [](std::string server, OpContext& context) { return server == "auth2" ? sleep(&context, 25s) : nothing(); };
  const Json guardrail = {{"abort_when", Json::array({{{"measure", "login.success_ratio"}, {"below", "90%"}, {"for", "2s"}}})}};
  const auto result = world.run(pauses(world, {pause("one", "0s", "30s"), pause("two", "1s", "30s")}, guardrail));
  INFO(result.verdict.dump(1));
  CHECK(result.verdict["outcome"] == "aborted");
  REQUIRE(events_of(result, "stop").size() == 1);
  CHECK(events_of(result, "stop")[0]["kind"] == "guardrail");
  CHECK(undone_at(result) < kBaseline + 8);
}

TEST_CASE("a fault ends in its time while another is still being injected", "[sim][runner]") {
  LoginWorld world("hardened");
  SECTION("in the phase") {
    world.on_hold = [](std::string server, OpContext& context) { return server == "auth2" ? wait_for_others(&context, 8s) : nothing(); };
    const auto result = world.run(pauses(world, {pause("one", "0s", "4s"), pause("two", "2s", "10s")}));
    INFO(result.verdict.dump(1));
    CHECK(when(result, "undo", 0) == Approx(4).margin(0.2));
    CHECK(when(result, "injected", 1) == Approx(10).margin(0.2));
    CHECK(when(result, "undo", 1) == Approx(12).margin(0.2));
    CHECK(result.verdict["outcome"] == "held");
    CHECK(result.verdict["faults"][0]["effect"]["bites"] == true);
  }
  SECTION("at its end, which waits for the injection") {
    world.on_hold = [](std::string server, OpContext& context) { return server == "auth2" ? wait_for_others(&context, 4s) : nothing(); };
    const auto result = world.run(pauses(world, {pause("one", "0s", "6s"), pause("two", "5s", "1s")}));
    INFO(result.verdict.dump(1));
    CHECK(when(result, "undo", 0) == Approx(6).margin(0.2));
    CHECK(when(result, "injected", 1) == Approx(9).margin(0.2));
    CHECK(when(result, "undo", 1) == Approx(9).margin(0.4));
    CHECK(result.verdict["faults"][1]["effect"]["bites"] == true);
  }
}

TEST_CASE("what ends when another begins has ended before that", "[sim][runner]") {
  LoginWorld world("hardened");
  const auto result = world.run(pauses(world, {pause("one", "0s", "4s"), pause("one", "4s", "4s")}));
  INFO(result.verdict.dump(1));
  std::vector<std::string> order;
  for (const Json& event : result.events) {
    if (event["event"] == "injecting" || event["event"] == "undo") order.push_back(event["event"].get<std::string>() + " " + event["fault"].dump());
  }
  CHECK(order == std::vector<std::string>{"injecting 0", "undo 0", "injecting 1", "undo 1"});
  CHECK(result.verdict["outcome"] == "held");
}

TEST_CASE("an undo that fails in the fault phase stops the run, and is no residue once it is done", "[sim][runner]") {
  LoginWorld world("hardened");
  int answers = 0;
  world.on_release = [&](const std::string&) -> std::optional<UndoResult> {
    if (++answers > 5) return std::nullopt;  // so often an undo is tried
    return UndoResult{UndoState::failed, "no answer", "wake it", Json::object()};
  };
  const auto result = world.run(pauses(world, {pause("one", "0s", "2s"), pause("two", "8s", "4s")}));
  INFO(result.verdict.dump(1));
  CHECK(when(result, "injecting", 1) == -1);
  std::vector<std::string> states;
  for (const Json& event : events_of(result, "undo")) states.push_back(event["step"].get<std::string>() + " " + event["state"].get<std::string>());
  CHECK(states == std::vector<std::string>{"f0.s0 failed", "f0.s0 undone"});
  CHECK(events_of(result, "undone").at(0)["ok"] == true);
  CHECK(result.verdict["outcome"] == "invalid");
  CHECK(result.verdict["because"] == "an undo was refused or failed in the fault phase, so nothing more is injected: process.pause on one");
  CHECK(result.verdict["faults"][0]["undo"] == "undone");
  CHECK(result.verdict["residue"].empty());
}
