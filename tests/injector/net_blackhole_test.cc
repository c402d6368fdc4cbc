// net.blackhole: what vanishes, and how our own connections prove it.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kService = {{"address", "127.0.0.1:8081"}};

}  // namespace

TEST_CASE("what is sent to a service vanishes, by rules alone", "[net.blackhole]") {
  const FaultPlan plan = plan_of("net.blackhole", "service", kService, Json::object(), net_machine({"netem", "queue"}));
  CHECK(plan.summary == "tcp packets to 127.0.0.1:8081 arriving vanish, silently (rules)");
  CHECK(impairment_of(plan).effect.refusal == Refusal::silent);
}

TEST_CASE("a blackhole bites when our own connections hang that came about before", "[net.blackhole]") {
  const FaultType* type = find_fault("net.blackhole");
  const FaultPlan plan = plan_of("net.blackhole", "service", kService, Json::object());
  const Json before = watched(nullptr, echo_in(0.2));
  const Json dropped = {{"matched", 12}, {"dropped", 12}};
  const Effect good = type->effect(plan, before, watched(dropped, echo_in(0, 0)));
  CHECK(good.bites);
  CHECK(good.because == "12 packets met: 12 of them dropped; of our own connections to 127.0.0.1:8081 0 of 5 come about (before: 5 of 5)");
  CHECK_FALSE(type->effect(plan, before, watched(dropped, echo_in(0.2))).bites);
  CHECK(type->effect(plan, watched(nullptr, echo_in(0, 0)), watched(dropped, echo_in(0, 0))).bites);
}
