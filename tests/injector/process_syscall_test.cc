// What process.syscall plans, refuses and measures: JSON in, JSON out.
#include <sys/syscall.h>

#include <catch2/catch.hpp>

#include "injector/syscall/syscall_table.h"
#include "tests/injector/cgroup_view.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

constexpr const char* kFault = "process.syscall";

class ProcessView final : public HostView {
 public:
  explicit ProcessView(const Json& changes = Json::object()) : answer_(identified()) { answer_["found"][0].merge_patch(changes); }
  Task<Json> inspect(Op) override { co_return answer_; }

 private:
  Json answer_;
};

FaultPlan plan_calls(const Json& params, const Json& changes = Json::object()) {
  ProcessView view(changes);
  FaultRequest request;
  request.params = params;
  request.target = {{"pid", 12}};
  request.target_type = "process";
  request.seed = 42;
  return test::plan_fault(kFault, std::move(request), view);
}

test::Refused refused(const Json& params, const Json& changes = Json::object()) {
  return test::refused_by([&] { plan_calls(params, changes); });
}

const Json kFsyncFails = {{"calls", {"fsync"}}, {"error", "EIO"}};

}  // namespace

TEST_CASE("system calls and errors are read by name, calls by number too", "[process.syscall]") {
  const auto call = [](const Json& json) { return std::get<SystemCall>(ParamTraits<SystemCall>::parse(json)).number; };
  const auto mistake = [](const Json& json) { return std::get<Mistake>(ParamTraits<SystemCall>::parse(json)); };
  CHECK(call("fsync") == SYS_fsync);
  CHECK(call("74") == 74);
  CHECK(call(74) == 74);
  CHECK(mistake("fsnc").remedy.find("did you mean \"fsync\"?") == 0);
  CHECK(mistake("-1").fact == "\"-1\" is no number of a system call");
  CHECK(mistake("1024").fact == "\"1024\" is no number of a system call");
  CHECK(mistake(1.5).remedy.find("the name of a system call") != std::string::npos);
  CHECK(name_of(SystemCall{SYS_accept4}) == "accept4");
  CHECK(name_of(SystemCall{1000}) == "system call 1000");
  CHECK(std::get<SystemError>(ParamTraits<SystemError>::parse("ENOSPC")).number == ENOSPC);
  CHECK(std::holds_alternative<Mistake>(ParamTraits<SystemError>::parse("ENOSPACE")));
  CHECK(name_of(SystemError{EIO}) == "EIO");
}

TEST_CASE("the step says which calls, what becomes of them, how many and by which chance, its undo is the release", "[process.syscall]") {
  const FaultPlan fails = plan_calls({{"calls", {"fsync", "fdatasync"}}, {"error", "EIO"}, {"share", "50%"}});
  REQUIRE(fails.steps.size() == 1);
  CHECK(fails.steps[0].apply == Op{"process.tamper_syscalls", {{"identity", to_json(server())}, {"calls", {SYS_fsync, SYS_fdatasync}}, {"error", EIO}, {"share", 0.5}, {"seed", 42}}});
  CHECK(fails.steps[0].undo == Op{"process.release", {{"identity", to_json(server())}}});
  CHECK(fails.intended == Json{{"share", 0.5}, {"error", "EIO"}});
  CHECK(fails.summary == "50 % of the calls fsync, fdatasync of process 12 (server) fail with EIO, by tracing: the kernel lets it go should capsize die");
  const FaultPlan late = plan_calls({{"calls", {"read"}}, {"delay", "20ms"}});
  CHECK(late.steps[0].apply.args["delay_ns"] == 20'000'000);
  CHECK(late.intended == Json{{"share", 1.0}, {"delay_ms", 20.0}});
  CHECK(late.summary.find("all calls read of process 12 (server) are 20ms late") == 0);
}

TEST_CASE("what cannot be traced, and calls without which nothing goes on, are refused", "[process.syscall]") {
  CHECK(refused(kFsyncFails, {{"tracer", {{"pid", 77}, {"name", "gdb"}}}}).kind == ErrorKind::unavailable);
  CHECK(refused(kFsyncFails, {{"tracer", {{"pid", 77}, {"name", "gdb"}}}}).text.find("cannot be traced: process 77 (gdb) already traces it") != std::string::npos);
  CHECK(refused(kFsyncFails, {{"stopped", true}}).kind == ErrorKind::refused);
  CHECK(refused(kFsyncFails, {{"filtered", true}}).text.find("has a filter of system calls (seccomp)") != std::string::npos);
  CHECK(refused({{"calls", {"fsync"}}, {"delay", "1s"}}, {{"filtered", true}}).text == "it was planned");
  CHECK(refused(kFsyncFails, {{"trace", {{"allowed", false}, {"because", "it belongs to user 5"}}}}).kind == ErrorKind::privilege);
  CHECK(refused(kFsyncFails, {{"never_a_target", "process 12 is capsize itself"}}).kind == ErrorKind::refused);
  CHECK(refused({{"calls", {"rt_sigreturn"}}, {"error", "EIO"}}).text.find("rt_sigreturn") != std::string::npos);
  CHECK(refused({{"calls", {"fsync"}}}).kind == ErrorKind::refused);
  CHECK(refused({{"calls", {"fsync"}}, {"error", "EIO"}, {"delay", "1s"}}).kind == ErrorKind::refused);
  CHECK(refused({{"calls", {"fsync"}}, {"delay", "61s"}}).text.find("process.pause") != std::string::npos);
  CHECK(refused({{"calls", Json::array()}, {"error", "EIO"}}).kind == ErrorKind::refused);
}

TEST_CASE("it bites when as many calls were hit as intended, and delays were as long", "[process.syscall]") {
  const FaultType* type = find_fault(kFault);
  const auto met = [](int calls, int hit, double mean_delay_ms = -1) {
    Json one = {{"same", "yes"}, {"because", ""}, {"tampered", true}, {"calls", calls}, {"hit", hit}, {"all_calls", 5000}, {"threads", 3}, {"delayed", hit}};
    if (mean_delay_ms >= 0) one["mean_delay_ms"] = mean_delay_ms;
    return Json{{"processes", Json::array({one})}};
  };
  const FaultPlan half = plan_calls({{"calls", {"fsync"}}, {"error", "EIO"}, {"share", "50%"}});
  const auto fails = [&](const Json& after) { return type->effect(half, Json::object(), after); };
  CHECK(fails(met(1000, 510)).bites);
  CHECK(fails(met(1000, 510)).because == "510 of 1000 calls failed (51 %, intended 50 %)");
  CHECK(fails(met(1000, 510)).measured == Json{{"processes", {{{"calls", 1000}, {"hit", 510}, {"all_calls", 5000}, {"threads", 3}}}}});
  CHECK_FALSE(fails(met(1000, 600)).bites);
  CHECK_FALSE(fails(met(1000, 0)).bites);
  CHECK(fails(met(10, 8)).bites);  // so few say nothing of a share
  CHECK_FALSE(fails(met(0, 0)).bites);
  CHECK(fails(met(0, 0)).because == "none of these calls was made, among 5000 of any kind");
  Json gone = met(10, 5);
  gone["processes"][0]["tampered"] = false;
  CHECK_FALSE(fails(gone).bites);
  CHECK_FALSE(fails(Json::object()).bites);
  const FaultPlan late = plan_calls({{"calls", {"fsync"}}, {"delay", "20ms"}});
  const auto delays = [&](const Json& after) { return type->effect(late, Json::object(), after); };
  CHECK(delays(met(100, 100, 20.4)).bites);
  CHECK(delays(met(100, 100, 20.4)).because == "100 of 100 calls were delayed (100 %, intended 100 %), by 20.4 ms on average (intended 20)");
  CHECK_FALSE(delays(met(100, 100, 19)).bites);
  CHECK(delays(met(1, 1)).because == "1 of 1 calls were delayed (100 %, intended 100 %), the first of them is not over yet");
  CHECK(delays(met(1, 1)).bites);
  CHECK_FALSE(delays(met(100, 99, 20.4)).bites);
}
