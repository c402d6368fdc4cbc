// What process.restart plans, refuses and measures.
#include "tests/injector/process_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

FaultPlan plan(Json params, Json target = {{"listens_on", "8443"}}, std::set<std::string> allow = {}) {
  ProcessView view({{"process.identify", found({look_at(some_process(12))}, "that listen on 8443")}});
  FaultRequest request;
  request.params = std::move(params);
  request.target_type = "process";
  request.target = std::move(target);
  request.allow = std::move(allow);
  return plan_fault("process.restart", std::move(request), view);
}

std::string refusal(const Json& params, const Json& target = {{"listens_on", "8443"}}) {
  try {
    plan(params, target);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::refused);
    return error.what();
  }
  return "it was planned";
}

Json fate(bool ended, std::vector<int> successors, std::vector<std::string> listening) {
  Json one = {{"pid", 12}, {"name", "server"}, {"runs", ended ? "no" : "yes"}, {"because", ""}, {"signalled", true}};
  if (!ended) one["reaction"] = "caught";
  Json out = {{"processes", Json::array({one})}, {"successors", Json::array()}, {"listening", listening}};
  for (const int pid : successors) out["successors"].push_back({{"pid", pid}, {"name", "server"}});
  return out;
}

const Json kCommand = {{"restart", {"systemctl", "start", "server"}}};

}  // namespace

TEST_CASE("a restart ends a process and waits for another, and its undo starts it where nothing has", "[process.restart]") {
  const FaultPlan made = plan(kCommand);
  REQUIRE(made.steps.size() == 1);
  CHECK(made.steps[0].apply.type == "process.signal");
  CHECK(made.steps[0].apply.args["within"] == "15s");
  CHECK(made.steps[0].apply.args["signal"] == "SIGTERM");
  CHECK(made.steps[0].undo.type == "process.revive");
  CHECK_FALSE(made.steps[0].undo.args.contains("within"));
  CHECK(made.steps[0].undo.args["restart"] == kCommand["restart"]);
  CHECK(made.summary == "process 12 (server) gets SIGTERM and is started again by `systemctl` within 15s");
  CHECK(made.allowed.empty());
}

TEST_CASE("a restart without a command must be permitted, and one by pid cannot be followed", "[process.restart]") {
  CHECK(refusal(Json::object()).find("no command is named that starts it again") != std::string::npos);
  CHECK(plan(Json::object(), {{"listens_on", "8443"}}, {"irreversible"}).allowed == std::vector<std::string>{"irreversible"});
  CHECK(refusal(kCommand, {{"pid", 12}}).find("has another pid") != std::string::npos);
  CHECK(refusal({{"signal", "CONT"}}).find("ends no process") != std::string::npos);
  CHECK(refusal({{"within", "26s"}}).find("at most \"25s\"") != std::string::npos);
  CHECK(refusal({{"within", "0s"}}).find("nobody waits") != std::string::npos);
}

TEST_CASE("a restart bites when another listens where the old one did", "[process.restart]") {
  const FaultType* type = find_fault("process.restart");
  const FaultPlan made = plan(kCommand);
  const Json before = fate(false, {}, {"0.0.0.0:8443"});
  const auto effect = [&](const Json& after) { return type->effect(made, before, after); };
  const Effect good = effect(fate(true, {99}, {"0.0.0.0:8443", "127.0.0.1:9"}));
  CHECK(good.bites);
  CHECK(good.because == "1 of 1 processes ended by SIGTERM; 99 (server) took their place and listen at 0.0.0.0:8443");
  CHECK_FALSE(effect(fate(true, {99}, {})).bites);
  CHECK(effect(fate(true, {99}, {})).because.find("nobody listens at 0.0.0.0:8443") != std::string::npos);
  CHECK_FALSE(effect(fate(true, {}, {"0.0.0.0:8443"})).bites);
  CHECK_FALSE(effect(fate(false, {99}, {"0.0.0.0:8443"})).bites);
  CHECK_FALSE(effect(Json()).bites);
  CHECK(type->effect(made, fate(false, {}, {}), fate(true, {99}, {})).bites);  // it listened nowhere
}
