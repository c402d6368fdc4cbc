// net.loss: one by one or in bursts, where it can be done faithfully, and the interval that the share must be in.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kService = {{"address", "127.0.0.1:8081"}};
const Json kPeer = {{"peers", {"10.0.0.9"}}};

}  // namespace

TEST_CASE("independent loss needs nothing but rules, in both directions", "[net.loss]") {
  const Json machine = net_machine({"netem", "ifb", "clsact"});
  const FaultPlan in = plan_of("net.loss", "service", kService, {{"share", "10%"}}, machine);
  CHECK(impairment_of(in).backend == ImpairBackend::rules);
  CHECK(impairment_of(in).effect.loss->share == Approx(0.1));
  CHECK(in.summary == "tcp packets to 127.0.0.1:8081 arriving are lost, 10% of them (rules)");
  const FaultPlan out = plan_of("net.loss", "network", kPeer, {{"share", "10%"}, {"direction", "out"}}, machine);
  CHECK(met_by(out) == Words{"packets to 10.0.0.9 leaving"});
  CHECK(impairment_of(out).backend == ImpairBackend::rules);
  says(refusal_of("net.loss", "network", kPeer, {{"share", "10%"}, {"direction", "out"}}, net_machine({"netem", "queue"})), ErrorKind::unavailable, "loss of what leaves this machine: this machine lacks netem");
}

TEST_CASE("loss in bursts has its long-run mean, and needs netem or the queue", "[net.loss]") {
  const Json bursts = {{"enter_bad", "5%"}, {"leave_bad", "20%"}};
  const FaultPlan plan = plan_of("net.loss", "service", kService, bursts, net_machine({"netem"}));
  const Impairment one = impairment_of(plan);
  CHECK(one.backend == ImpairBackend::queue);
  CHECK(one.effect.loss->share == Approx(0.2));
  CHECK(one.effect.loss->burst == LossEffect::Burst{0.05, 0.2, 0, 1});
  CHECK(plan.summary.find("are lost in bursts, 20% of them in the long run") != std::string::npos);
  CHECK(impairment_of(plan_of("net.loss", "network", kPeer, {{"enter_bad", "5%"}, {"leave_bad", "20%"}, {"direction", "out"}})).backend == ImpairBackend::device);
  says(refusal_of("net.loss", "network", kPeer, {{"enter_bad", "5%"}, {"leave_bad", "20%"}, {"direction", "out"}}, net_machine({"netem"})), ErrorKind::unavailable, "loss in bursts of what leaves");
}

TEST_CASE("what makes no loss is refused", "[net.loss]") {
  says(refusal_of("net.loss", "service", kService, {{"enter_bad", "5%"}}), ErrorKind::refused, "\"leave_bad\" is missing");
  says(refusal_of("net.loss", "service", kService, {{"share", "5%"}, {"leave_bad", "5%"}}), ErrorKind::refused, "\"leave_bad\" without \"enter_bad\"");
  says(refusal_of("net.loss", "service", kService, {{"share", "0%"}}), ErrorKind::refused, "a loss of nothing");
  says(refusal_of("net.loss", "service", kService, Json::object()), ErrorKind::refused, "none of \"share\" or \"enter_bad\" is given");
}

TEST_CASE("a loss bites when the share dropped is within the interval of the share intended", "[net.loss]") {
  const FaultType* type = find_fault("net.loss");
  const auto bites = [&](const char* share, int matched, int dropped) {
    const FaultPlan plan = plan_of("net.loss", "service", kService, {{"share", share}});
    return type->effect(plan, watched(nullptr), watched({{"matched", matched}, {"dropped", dropped}})).bites;
  };
  CHECK(bites("10%", 1000, 100));
  CHECK(bites("10%", 1000, 70));
  CHECK_FALSE(bites("10%", 1000, 40));
  CHECK_FALSE(bites("10%", 1000, 200));
  CHECK_FALSE(bites("10%", 1000, 0));
  CHECK_FALSE(bites("10%", 20, 2));
  CHECK(bites("100%", 50, 50));
  CHECK_FALSE(bites("100%", 50, 20));
  const FaultPlan plan = plan_of("net.loss", "service", kService, {{"share", "10%"}});
  CHECK(type->effect(plan, watched(nullptr), watched({{"matched", 1000}, {"dropped", 100}})).because == "1000 packets met: 100 dropped, 10.00 % (10.00 % intended), interval 6.81 % to 14.45 %");
  CHECK(type->effect(plan, watched(nullptr), watched({{"matched", 20}, {"dropped", 2}})).because.ends_with("too few to tell"));
}

TEST_CASE("netem counts what it loses: where it lost nothing the fault does not bite", "[net.loss]") {
  const FaultType* type = find_fault("net.loss");
  const FaultPlan plan = plan_of("net.loss", "service", kService, {{"enter_bad", "5%"}, {"leave_bad", "20%"}});
  REQUIRE(impairment_of(plan).backend == ImpairBackend::device);
  CHECK(type->effect(plan, watched(nullptr), watched({{"matched", 1000}, {"dropped", 230}})).bites);
  CHECK_FALSE(type->effect(plan, watched(nullptr), watched({{"matched", 1000}, {"dropped", 0}})).bites);
}
