// What process.fds plans, refuses and measures: JSON in, JSON out.
#include <catch2/catch.hpp>

#include "injector/ops/descriptor_ops.h"
#include "tests/injector/cgroup_view.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

Json descriptors(int soft, int open, int free, int limit, const char* connection = nullptr) {
  Json one = {{"same", "yes"}, {"because", ""}, {"soft", soft}, {"hard", 4096}, {"open", open}, {"free", free}, {"limit", limit}, {"now_ticks", 777}};
  if (connection != nullptr) one["connection"] = connection;
  return {{"processes", Json::array({one})}};
}

FaultPlan plan_fds(const Json& look, Json params = Json::object()) {
  FakeView view(Json{});
  view.extra = look;
  return plan("process.fds", view, std::move(params));
}

}  // namespace

TEST_CASE("the limit that spares so many is found between the gaps, and so is what is free below it", "[process.fds]") {
  const std::set<int> open = {0, 1, 2, 5, 6};
  CHECK(limit_that_spares(open, 0) == 3);
  CHECK(limit_that_spares(open, 1) == 4);
  CHECK(limit_that_spares(open, 2) == 7);
  CHECK(limit_that_spares(open, 3) == 8);
  CHECK(limit_that_spares({}, 0) == 0);
  for (const std::uint64_t spare : {0, 1, 2, 3, 10}) CHECK(free_below(open, limit_that_spares(open, spare)) == spare);
  CHECK(free_below(open, 3) == 0);
  CHECK(free_below(open, 1024) == 1019);
}

TEST_CASE("the soft limit goes down to what is open, and the undo knows both limits", "[process.fds]") {
  const FaultPlan made = plan_fds(descriptors(1024, 20, 1004, 20));
  REQUIRE(made.steps.size() == 1);
  const Json args = {{"identity", to_json(server())}, {"was", 1024}, {"hard", 4096}, {"set", 20}, {"since_ticks", 777}};
  CHECK(made.steps[0].apply == Op{"process.limit_descriptors", args});
  CHECK(made.steps[0].undo == Op{"process.restore_descriptors", args});
  CHECK(made.summary == "process 12 (server) can open no more descriptors than the 20 that it has: its limit goes from 1024 to 20");
  CHECK(made.observe == Op{"process.descriptors", {{"identities", Json::array({to_json(server())})}, {"spare", 0}, {"connect", true}}});
  FakeView view(Json{});
  view.extra = descriptors(1024, 20, 1004, 25);
  CHECK(plan("process.fds", view, {{"spare", 5}}).intended == Json{{"spare", 5}, {"limits", {25}}});
  CHECK(view.asked.back().args == Json{{"identities", Json::array({to_json(server())})}, {"spare", 5}, {"connect", false}});
}

TEST_CASE("a limit that would take nothing away is refused, and so is a process that is gone", "[process.fds]") {
  CHECK_THROWS_WITH(plan_fds(descriptors(1024, 1000, 24, 1030), {{"spare", 30}}), Catch::Contains("write a smaller \"spare\""));
  CHECK_THROWS_WITH(plan_fds({{"processes", {{{"same", "no"}, {"because", "process 12 (server) has ended"}}}}}), Catch::Contains("has ended"));
  CHECK_THROWS_AS(plan_fds(descriptors(1024, 20, 1004, 20), {{"spare", -1}}), Error);
}

TEST_CASE("it bites when nothing more can be opened, or a connection that was accepted before is not", "[process.fds]") {
  const FaultType* type = find_fault("process.fds");
  const FaultPlan made = plan_fds(descriptors(1024, 20, 1004, 20));
  const auto effect = [&](const Json& after) { return type->effect(made, descriptors(1024, 20, 1004, 20, "accepted"), after); };
  const Effect whole = effect(descriptors(20, 20, 0, 20, "not accepted"));
  CHECK(whole.bites);
  CHECK(whole.because == "20 descriptors open, 0 more possible below the limit of 20; a connection of ours was not accepted (before: accepted)");
  CHECK(whole.measured == Json{{"processes", Json::array({{{"soft", 20}, {"open", 20}, {"free", 0}, {"connection", "not accepted"}}})}});
  CHECK(effect(descriptors(20, 20, 0, 20, "not tried")).bites);
  CHECK(effect(descriptors(20, 20, 0, 20)).bites);
  CHECK(effect(descriptors(20, 19, 1, 20, "not accepted")).bites);  // for a moment one was free
  CHECK_FALSE(effect(descriptors(20, 20, 0, 20, "accepted")).bites);
  CHECK_FALSE(effect(descriptors(20, 10, 10, 20, "not tried")).bites);
  CHECK_FALSE(effect(descriptors(1024, 20, 1004, 20, "not accepted")).bites);  // someone has set it back
  CHECK(effect(descriptors(1024, 20, 1004, 20)).because == "its limit is 1024, not 20");
  CHECK_FALSE(effect(Json::object()).bites);
  const FaultPlan roomy = plan_fds(descriptors(2048, 20, 2028, 1020));
  CHECK_FALSE(type->effect(roomy, descriptors(2048, 20, 2028, 1020, "accepted"), descriptors(1020, 20, 1000, 1020, "not accepted")).bites);  // it hangs
  CHECK(effect({{"processes", {{{"same", "no"}, {"because", "process 12 (server) has ended"}}}}}).because == "process 12 (server) has ended");
}
