// What process.pause plans, refuses and measures: JSON in, JSON out.
#include <catch2/catch.hpp>

#include "injector/fault.h"
#include "injector/ops/process_ops.h"
#include "tests/injector/plan_fault.h"

using namespace capsize;

namespace {

const TargetProcess kServer{"aaaa-bbbb", 12, 345, 678, 4026531836, ExeFile{1, 2, "/usr/bin/server"}, "server"};

Json look_at_server() {
  return {{"identity", to_json(kServer)}, {"never_a_target", ""}, {"threads", 3}, {"states", {{"S", 3}}}, {"ended", false}, {"stopped", false}, {"tracer", nullptr},
          {"trace", {{"allowed", true}, {"because", ""}}}, {"signal", {{"allowed", true}, {"because", ""}}}, {"mark_folder", "/var/lib/capsize/marks"}};
}

Json with(const Json& changes) {
  Json look = look_at_server();
  look.merge_patch(changes);
  return look;
}

class FakeView final : public HostView {
 public:
  explicit FakeView(Json look) : look_(std::move(look)) {}
  Task<Json> inspect(Op query) override {
    asked = query;
    const Json answer = {{"that", "of number 12"}, {"found", Json::array({look_})}};
    co_return answer;
  }
  Op asked;

 private:
  Json look_;
};

FaultPlan plan(FakeView& view, Json params = Json::object(), Json target = {{"pid", "12"}}) {
  FaultRequest request;
  request.params = std::move(params);
  request.target = std::move(target);
  return test::plan_fault("process.pause", std::move(request), view);
}

FaultPlan plan(const Json& look, Json params = Json::object()) {
  FakeView view(look);
  return plan(view, std::move(params));
}

test::Refused refusal(const Json& look, Json params = Json::object()) {
  return test::refused_by([&] { plan(look, std::move(params)); });
}

const Json kTracedBySomeone = {{"tracer", {{"pid", 77}, {"name", "gdb"}}}};
const Json kUntraceable = {{"trace", {{"allowed", false}, {"because", "kernel.yama.ptrace_scope is 1"}}}};
const Json kForeign = {{"trace", {{"allowed", false}, {"because", "it belongs to user 0, capsize runs as user 65534"}}},
                       {"signal", {{"allowed", false}, {"because", "it belongs to user 0, capsize runs as user 65534"}}}};

}  // namespace

TEST_CASE("a process that can be traced is held by the kernel, and its identity is in the step and its undo", "[process.pause]") {
  FakeView view(look_at_server());
  const FaultPlan made = plan(view);
  CHECK(view.asked == Op{"process.identify", {{"pid", "12"}}});
  REQUIRE(made.steps.size() == 1);
  CHECK(made.steps[0].apply == Op{"process.hold", {{"identity", to_json(kServer)}}});
  CHECK(made.steps[0].undo == Op{"process.release", {{"identity", to_json(kServer)}}});
  CHECK(made.observe == Op{"process.state", {{"identity", to_json(kServer)}}});
  CHECK(made.intended == Json{{"state", "stopped"}});
  CHECK(made.summary == "process 12 (server) is paused by tracing it: the kernel lets it go should capsize die");
}

TEST_CASE("a process that cannot be traced is stopped by a signal, and the plan says why", "[process.pause]") {
  const Json args = {{"identity", to_json(kServer)}, {"mark_folder", "/var/lib/capsize/marks"}};
  for (const auto& [look, why] : {std::pair<Json, std::string>{with(kTracedBySomeone), "it cannot be traced: process 77 (gdb) already traces it"},
                                  {with(kUntraceable), "it cannot be traced: kernel.yama.ptrace_scope is 1"}}) {
    const FaultPlan made = plan(look);
    REQUIRE(made.steps.size() == 1);
    CHECK(made.steps[0].apply == Op{"process.stop", args});
    CHECK(made.steps[0].undo == Op{"process.continue", args});
    CHECK(made.summary.find("is paused by SIGSTOP (" + why + ")") != std::string::npos);
  }
  const FaultPlan asked = plan(look_at_server(), {{"method", "sigstop"}});
  CHECK(asked.steps[0].apply.type == "process.stop");
  CHECK(asked.summary.find("SIGSTOP (as the playbook asks)") != std::string::npos);
}

TEST_CASE("what is never paused is refused, with the reason and what to do", "[process.pause]") {
  struct Case {
    Json look;
    Json params;
    ErrorKind kind;
    std::string says;
  };
  const std::vector<Case> cases = {
      {with({{"never_a_target", "process 1 is the first process of this machine or container"}}), {}, ErrorKind::refused, "process 1 is the first process of this machine or container"},
      {with({{"stopped", true}}), {}, ErrorKind::refused, "is already stopped: a pause would change nothing"},
      {with({{"stopped", true}}), {{"method", "sigstop"}}, ErrorKind::refused, "kill -CONT 12"},
      {with({{"stopped", true}, {"tracer", {{"pid", 77}, {"name", "gdb"}}}}), {}, ErrorKind::refused, "already stopped by process 77 (gdb)"},
      {with({{"ended", true}}), {}, ErrorKind::unavailable, "has ended"},
      {with(kTracedBySomeone), {{"method", "ptrace"}}, ErrorKind::unavailable, "process 77 (gdb) already traces it"},
      {with(kUntraceable), {{"method", "ptrace"}}, ErrorKind::privilege, "CAP_SYS_PTRACE"},
      {with(kForeign), {}, ErrorKind::privilege, "CAP_SYS_PTRACE"},
      {with(kForeign), {}, ErrorKind::privilege, "the same user"},
      {with(kForeign), {{"method", "sigstop"}}, ErrorKind::privilege, "CAP_KILL"},
      {with({{"mark_folder", ""}}), {{"method", "sigstop"}}, ErrorKind::unavailable, "CAPSIZE_STATE"},
      {look_at_server(), {{"method", "freeze"}}, ErrorKind::refused, "known: \"auto\", \"ptrace\", \"sigstop\""},
  };
  for (const Case& one : cases) {
    const test::Refused got = refusal(one.look, one.params.is_null() ? Json::object() : one.params);
    INFO(got.text);
    CHECK(got.kind == one.kind);
    CHECK(got.text.find(one.says) != std::string::npos);
  }
}

TEST_CASE("the pause bites when no thread runs and no processor time is used", "[process.pause]") {
  const FaultType* type = find_fault("process.pause");
  const FaultPlan made = plan(look_at_server());
  const auto state = [](const char* states, int ticks) {
    return Json{{"same", "yes"}, {"because", ""}, {"threads", 3}, {"states", Json::parse(states)}, {"cpu_ticks", 100 + ticks}, {"cpu_ticks_in_window", ticks}, {"window", "100ms"}, {"tracer", nullptr}};
  };
  const auto effect = [&](const Json& after) { return type->effect(made, state(R"({"R": 3})", 18), after); };
  CHECK(effect(state(R"({"t": 3})", 0)).bites);
  CHECK(effect(state(R"({"T": 3})", 0)).bites);
  CHECK(effect(state(R"({"t": 2, "D": 1})", 0)).bites);
  CHECK(effect(state(R"({"t": 2, "Z": 1})", 0)).bites);
  CHECK_FALSE(effect(state(R"({"t": 2, "R": 1})", 0)).bites);
  CHECK_FALSE(effect(state(R"({"t": 2, "S": 1})", 0)).bites);
  CHECK_FALSE(effect(state(R"({"t": 3})", 1)).bites);
  CHECK_FALSE(effect(state(R"({"D": 3})", 0)).bites);
  CHECK_FALSE(effect(state(R"({})", 0)).bites);
  const Effect whole = effect(state(R"({"t": 3})", 0));
  CHECK(whole.intended == Json{{"state", "stopped"}});
  CHECK(whole.measured == Json::parse(R"({"before": {"same": "yes", "states": {"R": 3}, "cpu_ticks_in_window": 18, "window": "100ms"},
                                          "during": {"same": "yes", "states": {"t": 3}, "cpu_ticks_in_window": 0, "window": "100ms"}})"));
  CHECK(whole.because == "3 of 3 threads stopped, 0 ticks of processor time used in 100ms (before: 18)");
  const Effect gone = effect({{"same", "no"}, {"because", "process 12 (server) has ended"}});
  CHECK_FALSE(gone.bites);
  CHECK(gone.because == "process 12 (server) has ended");
  CHECK_FALSE(effect(Json::object()).bites);
}

TEST_CASE("the release of a held process answers by what is seen, and leaves what others have stopped", "[process.pause]") {
  const auto answer = [](const std::vector<ThreadLook>& threads, Tracer tracer = {}) { return judge_release(kServer, threads, tracer).state; };
  const Tracer debugger{77, "gdb", false};
  const Tracer capsize{78, "capsize", true};
  CHECK(answer({{12, 'S', 0, false}, {13, 'R', 0, false}}) == UndoState::undone);
  CHECK(answer({{12, 'R', 77, false}}, debugger) == UndoState::undone);
  CHECK(answer({{12, 't', 77, false}}, debugger) == UndoState::refused);
  CHECK(answer({{12, 'T', 0, false}}) == UndoState::refused);
  CHECK(answer({{12, 'R', 0, true}}) == UndoState::refused);
  CHECK(answer({{12, 't', 78, false}}, capsize) == UndoState::failed);
  CHECK(answer({{12, 'D', 78, false}}, capsize) == UndoState::failed);
  CHECK(answer({}) == UndoState::nothing_to_undo);
  CHECK(answer({{12, 'Z', 0, false}}) == UndoState::nothing_to_undo);
  CHECK(answer({{12, 'Z', 0, false}, {13, 'S', 0, false}}) == UndoState::undone);
  for (const auto& result : {judge_release(kServer, {{12, 'T', 0, false}}, {}), judge_release(kServer, {{12, 't', 78, false}}, capsize)}) {
    CHECK_FALSE(result.because.empty());
    CHECK_FALSE(result.remedy.empty());
  }
}

TEST_CASE("the mark of a stop is of one process of one boot, in the folder that the plan names", "[process.pause]") {
  CHECK(stop_mark({{"mark_folder", "/state/marks"}}, kServer) == "/state/marks/stopped-aaaa-bbbb-12-345-678");
  CHECK_THROWS_AS(stop_mark(Json::object(), kServer), Error);
  CHECK_THROWS_AS(stop_mark({{"mark_folder", "marks"}}, kServer), Error);
  TargetProcess outside = kServer;
  outside.boot_id = "../../etc/x";
  CHECK_THROWS_AS(stop_mark({{"mark_folder", "/state/marks"}}, outside), Error);
}
