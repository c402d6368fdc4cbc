// What process.cpu plans, refuses and measures: JSON in, JSON out.
#include <catch2/catch.hpp>

#include "injector/cgroup/limit_step.h"
#include "tests/injector/cgroup_view.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

constexpr const char* kFault = "process.cpu";

std::vector<LimitChange> changes(const Json& placed, const char* share) {
  const FaultPlan made = plan(kFault, placed, {{"share", share}});
  REQUIRE(made.steps.size() == 1);
  CHECK(made.steps[0].apply.type == "cgroup.limit");
  CHECK(made.steps[0].undo == Op{"cgroup.restore", made.steps[0].apply.args});
  return limit_step_from_json(made.steps[0].apply.args).changes;
}

Json own_v1(const char* quota, const char* period) {
  Json look = placed_v1();
  look.update({{"topmost", false}, {"path", "/web"}, {"folder", "/sys/fs/cgroup/cpu/web"}, {"inode", 5}, {"members", 1}});
  look["values"] = {{"cpu.cfs_quota_us", quota}, {"cpu.cfs_period_us", period}};
  return look;
}

Json own_v2(const char* max) {
  Json look = placed_v2();
  look["values"]["cpu.max"] = max;
  return look;
}

Json use(double share, int throttled, const char* quota = "20000") {
  return {{"window_s", 1.0}, {"groups", Json::array({{{"same", "yes"}, {"because", ""}, {"cgroup_there", true}, {"outside", 0}, {"processes", 1}, {"share", share}, {"periods", 10}, {"throttled", throttled},
                                                         {"limits", {{"cpu.cfs_quota_us", quota}, {"cpu.cfs_period_us", "100000"}}}}})}};
}

}  // namespace

TEST_CASE("a share of a core becomes a quota in the cgroup that the process has, with the old one noted", "[process.cpu]") {
  CHECK(changes(own_v1("-1", "100000"), "20%") == std::vector<LimitChange>{{"cpu.cfs_quota_us", "", "-1", "20000"}});
  CHECK(changes(own_v1("50000", "50000"), "20%") == std::vector<LimitChange>{{"cpu.cfs_quota_us", "", "50000", "10000"}});
  CHECK(changes(own_v2("max 100000"), "20%") == std::vector<LimitChange>{{"cpu.max", "", "max 100000", "20000 100000"}});
  CHECK(changes(own_v2("90000 100000"), "7.5%") == std::vector<LimitChange>{{"cpu.max", "", "90000 100000", "7500 100000"}});
  CHECK(changes(placed_v1(), "20%") == std::vector<LimitChange>{{"cpu.cfs_quota_us", "", "-1", "20000"}});
}

TEST_CASE("a period too short or too long to be exact is changed too, in an order that never gives more", "[process.cpu]") {
  CHECK(changes(own_v1("10000", "10000"), "20%") == std::vector<LimitChange>{{"cpu.cfs_period_us", "", "10000", "100000"}, {"cpu.cfs_quota_us", "", "10000", "20000"}});
  CHECK(changes(own_v1("500000", "1000000"), "20%") == std::vector<LimitChange>{{"cpu.cfs_quota_us", "", "500000", "20000"}, {"cpu.cfs_period_us", "", "1000000", "100000"}});
  CHECK(changes(own_v1("-1", "50000"), "1%") == std::vector<LimitChange>{{"cpu.cfs_period_us", "", "50000", "100000"}, {"cpu.cfs_quota_us", "", "-1", "1000"}});
  CHECK(changes(own_v2("max 10000"), "20%") == std::vector<LimitChange>{{"cpu.max", "", "max 10000", "20000 100000"}});
}

TEST_CASE("the plan says who gets how much, by which cgroup, and looks at the cgroup that is limited", "[process.cpu]") {
  const FaultPlan own = plan(kFault, placed_v2(), {{"share", "20%"}});
  CHECK(own.summary == "process 12 (server) gets 20 % of a processor core, by its own cgroup /system.slice/web.service, in which are 3 processes");
  CHECK(own.intended == Json{{"share", 0.2}});
  const FaultPlan moved = plan(kFault, placed_v1(), {{"share", "20%"}});
  CHECK(moved.summary == "process 12 (server) gets 20 % of a processor core, moved from cgroup / to /sys/fs/cgroup/cpu/capsize-0123456789ab");
  CHECK(moved.observe.type == "cgroup.usage");
  CHECK(moved.observe.args["watched"] == Json::array({{{"identities", Json::array({to_json(server())})}, {"cgroup", {{"folder", "/sys/fs/cgroup/cpu/capsize-0123456789ab"}, {"inode", 0}}},
                                                              {"limit", {{"file", "cpu.cfs_quota_us"}, {"key", ""}, {"set", "20000"}}}}}));
}

TEST_CASE("a share that would be no less, and one that is none, are refused", "[process.cpu]") {
  CHECK(refusal(kFault, own_v2("10000 100000"), {{"share", "20%"}}).text.find("is limited to 10 % of a core already") != std::string::npos);
  CHECK(refusal(kFault, own_v1("20000", "100000"), {{"share", "20%"}}).kind == ErrorKind::refused);
  Json shared = own_v2("10000 100000");
  shared["stranger_count"] = 3;
  CHECK(refusal(kFault, shared, {{"share", "20%"}}).kind == ErrorKind::refused);  // moved, it would even get more
  CHECK(refusal(kFault, placed_v1(), {{"share", "0.5%"}}).text.find("process.pause") != std::string::npos);
  CHECK(refusal(kFault, placed_v1(), {{"share", "101%"}}).kind == ErrorKind::refused);
  CHECK(refusal(kFault, placed_v1(), Json::object()).kind == ErrorKind::refused);
}

TEST_CASE("it bites when the process was held back and got no more than its share", "[process.cpu]") {
  const FaultType* type = find_fault(kFault);
  const FaultPlan made = plan(kFault, placed_v1(), {{"share", "20%"}});
  const Json before = {{"window_s", 1.0}, {"groups", Json::array({{{"same", "yes"}, {"share", 0.97}, {"cgroup_there", false}}})}};
  const Effect whole = type->effect(made, before, use(0.2, 10));
  CHECK(whole.bites);
  CHECK(whole.because == "got 20 % of a core (intended 20 %, before 97 %), held back in 10 of 10 periods");
  CHECK(whole.measured == Json{{"groups", Json::array({{{"share", 0.2}, {"share_before", 0.97}, {"throttled", 10}, {"periods", 10}}})}});
  CHECK(type->effect(made, before, use(0.225, 10)).bites);
  CHECK_FALSE(type->effect(made, before, use(0.24, 10)).bites);
  const Effect idle = type->effect(made, before, use(0.05, 0));
  CHECK_FALSE(idle.bites);
  CHECK(idle.because.find("it did not ask for more") != std::string::npos);
  const Effect changed = type->effect(made, before, use(0.2, 10, "-1"));
  CHECK_FALSE(changed.bites);
  CHECK(changed.because == "cpu.cfs_quota_us is \"-1\", not \"20000\"");
  Json gone = use(0.2, 10);
  gone["groups"][0]["outside"] = 12;
  CHECK(type->effect(made, before, gone).because == "process 12 is not in /sys/fs/cgroup/cpu/capsize-0123456789ab any more");
  gone["groups"][0].update({{"same", "no"}, {"because", "process 12 (server) has ended"}});
  CHECK(type->effect(made, before, gone).because == "process 12 (server) has ended");
  CHECK_FALSE(type->effect(made, before, Json::object()).bites);
}
