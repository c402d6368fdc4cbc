// What process.memory plans, refuses and measures: JSON in, JSON out.
#include <catch2/catch.hpp>

#include "injector/cgroup/limit_step.h"
#include "tests/injector/cgroup_view.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

constexpr const char* kFault = "process.memory";
constexpr std::uint64_t kMiB = 1048576;

Json memory(std::uint64_t group, std::uint64_t group_fixed, std::uint64_t alone, std::uint64_t swap = 0) {
  return {{"group", {{"bytes", group * kMiB}, {"fixed", group_fixed * kMiB}}}, {"processes", {{"bytes", alone * kMiB}, {"fixed", alone * kMiB}}}, {"free_swap", swap * kMiB}};
}

Json own(int version, std::uint64_t bytes, std::uint64_t fixed, const char* limit, std::uint64_t swap = 0) {
  Json look = version == 2 ? placed_v2() : placed_v1();
  if (version == 1) look.update({{"topmost", false}, {"path", "/web"}, {"folder", "/sys/fs/cgroup/memory/web"}, {"inode", 5}, {"members", 1}});
  look["values"] = Json::object();
  look["values"][version == 2 ? "memory.max" : "memory.limit_in_bytes"] = limit;
  look["memory"] = memory(bytes, fixed, 1, swap);
  return look;
}

Json shared(std::uint64_t alone) {
  Json look = placed_v1();
  look["memory"] = memory(5000, 4000, alone);
  return look;
}

LimitChange change(const Json& placed, const Json& params, std::set<std::string> allow = {}) {
  const FaultPlan made = plan(kFault, placed, params, std::move(allow));
  REQUIRE(made.steps.size() == 1);
  const auto changes = limit_step_from_json(made.steps[0].apply.args).changes;
  REQUIRE(changes.size() == 1);
  return changes[0];
}

std::string bytes(double mebibytes) { return std::to_string(static_cast<std::uint64_t>(mebibytes * static_cast<double>(kMiB))); }

Json use(std::uint64_t used, int hits, int kills, bool there = true, const std::string& limit = bytes(80)) {
  Json one = {{"same", "yes"}, {"because", ""}, {"cgroup_there", there}, {"outside", 0}, {"processes", 1}, {"memory", {{"bytes", used * kMiB}, {"hits", hits}, {"kills", kills}}}};
  if (there) one["limits"] = {{"memory.max", limit}};
  return {{"window_s", 0.0}, {"groups", Json::array({one})}};
}

}  // namespace

TEST_CASE("a limit of memory is a share of what is used, an amount, or an amount more", "[process.memory]") {
  CHECK(change(own(2, 100, 20, "max"), {{"share", "80%"}}) == LimitChange{"memory.max", "", "max", bytes(80)});
  CHECK(change(own(2, 100, 20, "max"), {{"limit", "64MiB"}}) == LimitChange{"memory.max", "", "max", bytes(64)});
  CHECK(change(own(2, 100, 20, bytes(512).c_str()), {{"room", "8MiB"}}) == LimitChange{"memory.max", "", bytes(512), bytes(108)});
  CHECK(change(own(1, 100, 20, "9223372036854771712"), {{"share", "80%"}}) == LimitChange{"memory.limit_in_bytes", "", "9223372036854771712", bytes(80)});
  CHECK(change(own(2, 100, 20, "max"), {{"limit", "67108865B"}}).set == bytes(64));  // whole pages, of whatever size
}

TEST_CASE("a process that shares its cgroup is limited in what it takes on top, and cannot be made to give back", "[process.memory]") {
  CHECK(change(shared(30), {{"room", "8MiB"}}) == LimitChange{"memory.limit_in_bytes", "", "9223372036854771712", bytes(8)});
  CHECK(change(shared(30), {{"limit", "40MiB"}}).set == bytes(10));
  for (const Json& params : {Json{{"share", "100%"}}, Json{{"limit", "30MiB"}}, Json{{"room", "64KiB"}}}) {
    const test::Refused got = refusal(kFault, shared(30), params);
    CHECK(got.kind == ErrorKind::refused);
    CHECK(got.text.find("shares its cgroup with others") != std::string::npos);
  }
  CHECK(plan(kFault, shared(30), {{"room", "8MiB"}}).summary ==
        "process 12 (server) may use 8 MiB of memory beside the 30 MiB that it uses, moved from cgroup / to /sys/fs/cgroup/cpu/capsize-0123456789ab; the kernel may kill processes for want of it");
}

TEST_CASE("where a kill is likely it has to be allowed", "[process.memory]") {
  const Json tight = own(2, 100, 90, "max");
  const test::Refused got = refusal(kFault, tight, {{"share", "80%"}});
  CHECK(got.kind == ErrorKind::refused);
  CHECK(got.text.find("would most likely kill processes: 90 MiB of the 100 MiB") != std::string::npos);
  const FaultPlan made = plan(kFault, tight, {{"share", "80%"}}, {"irreversible"});
  CHECK(made.allowed == std::vector<std::string>{"irreversible"});
  CHECK(made.summary.find("will most likely kill") != std::string::npos);
  CHECK(refusal(kFault, own(2, 100, 79, "max"), {{"share", "80%"}}).kind == ErrorKind::refused);  // by a hair
  CHECK(plan(kFault, own(2, 100, 78, "max"), {{"share", "80%"}}).allowed.empty());
  CHECK(plan(kFault, own(2, 100, 90, "max", 50), {{"share", "80%"}}).allowed.empty());            // it can be swapped out
  CHECK(refusal(kFault, own(1, 100, 90, "9223372036854771712"), {{"share", "80%"}}, {"irreversible"}).text.find("takes no limit below") != std::string::npos);
}

TEST_CASE("limits that are none, too small or no smaller are refused", "[process.memory]") {
  CHECK(refusal(kFault, own(2, 100, 20, bytes(50).c_str()), {{"share", "80%"}}).text.find("limited to 50 MiB already") != std::string::npos);
  CHECK(refusal(kFault, own(2, 100, 20, "max"), {{"limit", "512KiB"}}, {"irreversible"}).text.find("nothing runs with so little") != std::string::npos);
  CHECK(refusal(kFault, own(2, 100, 20, "max"), {{"limit", "50MiB"}, {"share", "50%"}}).kind == ErrorKind::refused);
  CHECK(refusal(kFault, own(2, 100, 20, "max"), Json::object()).kind == ErrorKind::refused);
  CHECK(refusal(kFault, own(2, 100, 20, "max"), {{"share", "0%"}}).kind == ErrorKind::refused);
}

TEST_CASE("it bites when the limit is met, something is given back, or a process is killed", "[process.memory]") {
  const FaultType* type = find_fault(kFault);
  const FaultPlan made = plan(kFault, own(2, 100, 20, "max"), {{"share", "80%"}});
  CHECK(made.intended == Json{{"limit_bytes", {80 * kMiB}}});
  const auto effect = [&](const Json& before, const Json& after) { return type->effect(made, before, after); };
  const Effect back = effect(use(100, 3, 0, true, "max"), use(79, 3, 0));
  CHECK(back.bites);
  CHECK(back.because == "uses 79 MiB of 80 MiB (before: 100 MiB), met its limit 0 times and gave back what was beyond it");
  const Effect met = effect(use(60, 3, 0, true, "max"), use(80, 9, 0));
  CHECK(met.bites);
  CHECK(met.measured == Json{{"groups", {{{"bytes", 80 * kMiB}, {"bytes_before", 60 * kMiB}, {"met_limit", 6}, {"killed", 0}}}}});
  CHECK_FALSE(effect(use(60, 3, 0, true, "max"), use(61, 3, 0)).bites);
  CHECK(effect(use(60, 3, 0, true, "max"), use(61, 3, 0)).because.find("it did not ask for more") != std::string::npos);
  CHECK(effect(use(90, 0, 0, false), use(8, 2, 0)).bites);           // ours, which was not there before
  CHECK_FALSE(effect(use(90, 0, 0, false), use(8, 0, 0)).bites);     // fewer bytes there are no bytes given back
  CHECK_FALSE(effect(use(100, 0, 0, true, "max"), use(79, 5, 0, true, "max")).bites);  // someone has lifted it
  Json killed = use(0, 9, 1);
  killed["groups"][0].update({{"same", "no"}, {"because", "process 12 (server) has ended"}});
  CHECK(effect(use(60, 3, 0, true, "max"), killed).bites);
  killed["groups"][0]["memory"]["kills"] = 0;
  CHECK_FALSE(effect(use(60, 3, 0, true, "max"), killed).bites);
  CHECK(effect(use(60, 3, 0, true, "max"), killed).because == "process 12 (server) has ended; whether for want of memory cannot be told");
  CHECK_FALSE(effect(Json::object(), Json::object()).bites);
}
