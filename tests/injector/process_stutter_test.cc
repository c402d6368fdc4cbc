// What process.stutter plans, refuses and measures.
#include "tests/injector/process_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

FaultPlan plan(Json params, const Json& changes = Json::object(), int count = 1) {
  std::vector<Json> looks;
  for (int i = 0; i < count; ++i) looks.push_back(look_at(some_process(12 + i), changes));
  ProcessView view({{"process.identify", found(looks)}});
  FaultRequest request;
  request.params = std::move(params);
  request.target = {{"exe", "/usr/bin/server"}};
  if (count > 1) request.target["match"] = "all";
  return plan_fault("process.stutter", std::move(request), view);
}

std::pair<ErrorKind, std::string> refusal(const Json& params, const Json& changes = Json::object()) {
  try {
    plan(params, changes);
  } catch (const Error& error) {
    CHECK_FALSE(error.remedy().empty());
    return {error.kind(), error.what()};
  }
  return {ErrorKind::bug, "it was planned"};
}

Json seen(std::vector<double> shares, const char* same = "yes") {
  Json out = {{"processes", Json::array()}, {"window_s", 2.0}};
  for (const double share : shares) out["processes"].push_back({{"pid", 12}, {"same", same}, {"because", std::string(same) == "yes" ? "" : "process 12 (server) has ended"}, {"stopped_share", share}, {"stops", 4}});
  return out;
}

}  // namespace

TEST_CASE("a stutter is held by the kernel, a step for each process", "[process.stutter]") {
  const FaultPlan made = plan({{"share", "40%"}, {"period", "500ms"}}, Json::object(), 2);
  REQUIRE(made.steps.size() == 2);
  CHECK(made.steps[1].apply == Op{"process.stutter", {{"identity", to_json(some_process(13))}, {"share", "40%"}, {"period", "500ms"}}});
  CHECK(made.steps[1].undo == Op{"process.release", {{"identity", to_json(some_process(13))}}});
  CHECK(made.observe.type == "process.rhythm");
  CHECK(made.observe.args["identities"].size() == 2);
  CHECK(made.intended["stopped_share"] == 0.4);
  CHECK(made.intended["period_ms"] == 500.0);
  CHECK(plan(Json::object()).summary == "process 12 (server) stands still for 50% of every 1s, by tracing: the kernel lets go should capsize die");
}

TEST_CASE("a stutter that cannot be traced or measured is refused", "[process.stutter]") {
  CHECK(refusal({{"share", "0%"}}).second.find("is not a stutter") != std::string::npos);
  CHECK(refusal({{"share", "99%"}}).second.find("process.pause") != std::string::npos);
  CHECK(refusal({{"period", "50ms"}}).second.find("from \"100ms\" to \"2s\"") != std::string::npos);
  CHECK(refusal({{"period", "3s"}}).second.find("process.pause") != std::string::npos);
  const auto traced = refusal(Json::object(), {{"tracer", {{"pid", 77}, {"name", "gdb"}}}});
  CHECK(traced.first == ErrorKind::unavailable);
  CHECK(traced.second.find("process 77 (gdb) already traces it") != std::string::npos);
  CHECK(refusal(Json::object(), {{"stopped", true}}).first == ErrorKind::refused);
  const auto foreign = refusal(Json::object(), {{"trace", {{"allowed", false}, {"because", "it belongs to user 0"}}}});
  CHECK(foreign.first == ErrorKind::privilege);
  CHECK(foreign.second.find("CAP_SYS_PTRACE") != std::string::npos);
}

TEST_CASE("a stutter bites when the process is seen stopped for about the share that was meant", "[process.stutter]") {
  const FaultType* type = find_fault("process.stutter");
  const FaultPlan forty = plan({{"share", "40%"}});
  const auto effect = [&](const FaultPlan& made, const Json& after) { return type->effect(made, seen({0.0}), after); };
  for (const double share : {0.31, 0.40, 0.49}) CHECK(effect(forty, seen({share})).bites);
  for (const double share : {0.0, 0.25, 0.55, 1.0}) CHECK_FALSE(effect(forty, seen({share})).bites);
  CHECK(effect(forty, seen({0.42})).because == "stopped for 42 % of the time, intended 40 %");
  const FaultPlan five = plan({{"share", "5%"}});
  CHECK(effect(five, seen({0.05})).bites);
  CHECK_FALSE(effect(five, seen({0.01})).bites);
  CHECK_FALSE(effect(forty, seen({0.4, 0.1})).bites);
  CHECK(effect(forty, seen({0.4, 0.42})).bites);
  CHECK_FALSE(effect(forty, seen({0.4}, "no")).bites);
  CHECK(effect(forty, seen({0.4}, "no")).because == "process 12 (server) has ended");
  CHECK_FALSE(effect(forty, Json()).bites);
  CHECK_FALSE(effect(forty, seen({})).bites);
}
