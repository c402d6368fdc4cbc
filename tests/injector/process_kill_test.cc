// What process.kill plans, refuses and measures, and what a signal is called.
#include <csignal>

#include "injector/ops/process_signal.h"
#include "injector/targets/signal.h"
#include "tests/injector/process_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

FaultRequest request_for(Json params = Json::object(), std::set<std::string> allow = {"irreversible"}) {
  FaultRequest request;
  request.params = std::move(params);
  request.target_type = "process";
  request.target = {{"pid_file", "/run/server.pid"}};
  request.allow = std::move(allow);
  return request;
}

FaultPlan plan(FaultRequest request, const Json& look = look_at(some_process(12))) {
  ProcessView view({{"process.identify", found({look})}});
  return plan_fault("process.kill", std::move(request), view);
}

test::Refused refusal(FaultRequest request, const Json& look = look_at(some_process(12))) {
  return test::refused_by([&] { plan(std::move(request), look); });
}

Json fate(const char* runs, bool signalled, const char* reaction = "ends") {
  Json one = {{"pid", 12}, {"name", "server"}, {"runs", runs}, {"because", ""}, {"signalled", signalled}};
  if (std::string(runs) == "yes") one["reaction"] = reaction;
  return {{"processes", Json::array({one})}, {"successors", Json::array()}, {"listening", Json::array()}};
}

}  // namespace

TEST_CASE("a signal has the names that people write, and no other", "[process.kill]") {
  CHECK(signal_number("SIGKILL") == SIGKILL);
  CHECK(signal_number("TERM") == SIGTERM);
  for (const char* wrong : {"", "SIG", "kill", "9", "SIGRTMIN", "SIGSIGTERM"}) CHECK_FALSE(signal_number(wrong));
  for (int number = 1; number <= 31; ++number) CHECK(signal_number(signal_name(number)) == number);
  CHECK(ends_by_default(SIGHUP));
  CHECK_FALSE(ends_by_default(SIGCONT));
  CHECK_FALSE(ends_by_default(SIGSTOP));
}

TEST_CASE("a kill is one step for all that were chosen, and the playbook must permit it", "[process.kill]") {
  const FaultPlan made = plan(request_for());
  REQUIRE(made.steps.size() == 1);
  const Json args = {{"identities", {to_json(some_process(12))}}, {"signal", "SIGKILL"}, {"mark_folder", "/var/lib/capsize/marks"}, {"target_type", "process"}, {"target", {{"pid_file", "/run/server.pid"}}}};
  CHECK(made.steps[0].apply == Op{"process.signal", args});
  CHECK(made.steps[0].undo == Op{"process.revive", args});
  CHECK(made.observe == Op{"process.fate", args});
  CHECK(made.allowed == std::vector<std::string>{"irreversible"});
  CHECK(made.intended == Json{{"signal", "SIGKILL"}, {"processes", 1}, {"end", true}});
  CHECK(made.summary == "process 12 (server) gets SIGKILL; whoever supervises it must start it again");
  const FaultPlan restarted = plan(request_for({{"restart", {"/bin/server", "-d"}}, {"signal", "TERM"}}));
  CHECK(restarted.steps[0].undo.args["restart"] == Json{"/bin/server", "-d"});
  CHECK(restarted.steps[0].undo.args["signal"] == "SIGTERM");
  CHECK(restarted.summary.find("`/bin/server` starts it again, if nothing else has") != std::string::npos);
  CHECK_FALSE(plan(request_for({{"signal", "SIGHUP"}})).intended["end"].get<bool>());
}

TEST_CASE("a kill is refused where nothing permits it, and a stop is no kill", "[process.kill]") {
  CHECK(refusal(request_for(Json::object(), {})).kind == ErrorKind::refused);
  CHECK(refusal(request_for(Json::object(), {})).text.find("\"allow\": [\"irreversible\"]") != std::string::npos);
  CHECK(refusal(request_for({{"signal", "SIGSTOP"}})).text.find("use process.pause") != std::string::npos);
  CHECK(refusal(request_for({{"signal", "9"}})).text.find("is not a signal") != std::string::npos);
  CHECK(refusal(request_for({{"restart", {""}}})).text.find("without a program") != std::string::npos);
  const test::Refused foreign = refusal(request_for(), look_at(some_process(12), {{"signal", {{"allowed", false}, {"because", "it belongs to user 0"}}}}));
  CHECK(foreign.kind == ErrorKind::privilege);
  CHECK(foreign.text.find("CAP_KILL") != std::string::npos);
  CHECK(refusal(request_for(), look_at(some_process(12), {{"mark_folder", ""}})).kind == ErrorKind::unavailable);
}

TEST_CASE("a kill bites when all have ended by our signal, and says who has taken their place", "[process.kill]") {
  const FaultType* type = find_fault("process.kill");
  const FaultPlan made = plan(request_for());
  const auto effect = [&](const Json& after) { return type->effect(made, fate("yes", false), after); };
  CHECK(effect(fate("no", true)).bites);
  CHECK(effect(fate("no", true)).because == "1 of 1 processes ended by SIGKILL");
  CHECK_FALSE(effect(fate("no", false)).bites);
  CHECK(effect(fate("no", false)).because.find("has ended, but not by capsize") != std::string::npos);
  CHECK_FALSE(effect(fate("yes", true)).bites);
  CHECK_FALSE(effect(fate("yes", false)).bites);
  CHECK_FALSE(effect(fate("cannot_tell", true)).bites);
  CHECK_FALSE(effect(Json()).bites);
  CHECK_FALSE(effect(Json::object()).bites);
  Json replaced = fate("no", true);
  replaced["successors"] = {{{"pid", 99}, {"name", "server"}}};
  CHECK(effect(replaced).because == "1 of 1 processes ended by SIGKILL; in their place: 99 (server)");
}

TEST_CASE("a signal that asks for something bites when it is caught, not when it is blocked or ignored", "[process.kill]") {
  const FaultType* type = find_fault("process.kill");
  const FaultPlan made = plan(request_for({{"signal", "HUP"}}));
  const auto effect = [&](const Json& after) { return type->effect(made, fate("yes", false), after); };
  CHECK(effect(fate("yes", true, "caught")).bites);
  CHECK(effect(fate("no", true)).bites);
  CHECK(effect(fate("yes", true, "ignored")).because.find("ignores it") != std::string::npos);
  CHECK_FALSE(effect(fate("yes", true, "ignored")).bites);
  CHECK_FALSE(effect(fate("yes", true, "pending")).bites);
  CHECK_FALSE(effect(fate("yes", true, "ends")).bites);
  CHECK_FALSE(effect(fate("yes", false, "caught")).bites);
}

TEST_CASE("an order to signal survives JSON, and what is none is our mistake", "[process.kill]") {
  const Json args = plan(request_for({{"restart", {"/bin/x"}}})).steps[0].undo.args;
  const SignalOrder order = signal_order_from_json(Json::parse(args.dump()));
  CHECK(order.processes == std::vector<TargetProcess>{some_process(12)});
  CHECK(order.signal == SIGKILL);
  CHECK(order.restart == std::vector<std::string>{"/bin/x"});
  CHECK_FALSE(has_no_successor(order));
  CHECK(signal_mark(order, order.processes[0]) == "/var/lib/capsize/marks/signalled-aaaa-bbbb-12-345-682");
  for (const char* key : {"identities", "signal", "mark_folder", "target_type", "target"}) {
    Json without = args;
    without.erase(key);
    CHECK_THROWS_AS(signal_order_from_json(without), Error);
  }
}
