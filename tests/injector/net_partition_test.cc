// net.partition: who is cut off from whom, and what proves it.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kDatabases = {{"peers", {"10.0.0.9", "fd00::9"}}};

}  // namespace

TEST_CASE("a partition drops both ways, silently, by rules alone", "[net.partition]") {
  const FaultPlan plan = plan_of("net.partition", "network", kDatabases, Json::object(), net_machine({"netem", "queue", "ifb"}));
  REQUIRE(plan.steps.size() == 1);
  CHECK(met_by(plan) == Words{"packets from 10.0.0.9, fd00::9 arriving", "packets to 10.0.0.9, fd00::9 leaving"});
  const Impairment one = impairment_of(plan);
  CHECK(one.backend == ImpairBackend::rules);
  CHECK(one.effect.refusal == Refusal::silent);
  CHECK(plan.summary == "packets from 10.0.0.9, fd00::9 arriving, packets to 10.0.0.9, fd00::9 leaving are cut off, silently (rules)");
}

TEST_CASE("one way is one way", "[net.partition]") {
  CHECK(met_by(plan_of("net.partition", "network", kDatabases, {{"direction", "in"}})) == Words{"packets from 10.0.0.9, fd00::9 arriving"});
  CHECK(met_by(plan_of("net.partition", "network", kDatabases, {{"direction", "out"}})) == Words{"packets to 10.0.0.9, fd00::9 leaving"});
}

TEST_CASE("addresses of this machine within a block are met when they arrive, the rest when it leaves", "[net.partition]") {
  const Impairment one = impairment_of(plan_of("net.partition", "network", {{"peers", {"10.0.0.0/24"}}}, {{"direction", "out"}}));
  REQUIRE(one.affected.size() == 2);
  CHECK(describe(one.affected[0]) == "packets to 10.0.0.0/24 leaving");
  CHECK(one.affected[1].hook == Hook::arrive);
  CHECK(one.affected[1].destination.addresses.size() == 1);
  CHECK(show(one.affected[1].destination.addresses[0]) == "10.0.0.5");
  CHECK(one.exempt.size() == 1);
}

TEST_CASE("packets that are only routed through this machine are met once", "[net.partition]") {
  CHECK(met_by(plan_of("net.partition", "network", {{"local", {"10.0.1.1"}}, {"peers", {"10.0.2.1"}}}, Json::object())) ==
        Words{"packets from 10.0.2.1 to 10.0.1.1 arriving", "packets from 10.0.1.1 to 10.0.2.1 arriving"});
}

TEST_CASE("ten thousand addresses fit into a line of the protocol, and the undo does not repeat them", "[net.partition]") {
  Json peers = Json::array();
  for (int i = 0; i < 10000; ++i) peers.push_back("fd00:1234:5678:9abc:def0:1234:" + std::to_string(1000 + i / 1000) + ":" + std::to_string(1000 + i % 1000));
  const FaultPlan plan = plan_of("net.partition", "network", {{"peers", peers}}, Json::object());
  const std::string line = to_json(plan.steps[0]).dump();
  CHECK(line.size() < 1'000'000);
  CHECK(plan.steps[0].undo.args.dump().size() < 1000);
  CHECK(plan.observe.args.dump().size() < 1000);
  CHECK(plan.summary.size() < 1000);
}

TEST_CASE("a partition is from somebody", "[net.partition]") {
  says(refusal_of("net.partition", "network", {{"local_ports", {80}}}, Json::object()), ErrorKind::refused, "the target has no \"peers\"");
}

TEST_CASE("a partition bites when packets were dropped", "[net.partition]") {
  const FaultType* type = find_fault("net.partition");
  const FaultPlan plan = plan_of("net.partition", "network", kDatabases, Json::object());
  const Effect good = type->effect(plan, watched(nullptr), watched({{"matched", 40}, {"dropped", 40}}));
  CHECK(good.bites);
  CHECK(good.because == "40 packets met: 40 of them dropped");
  CHECK_FALSE(type->effect(plan, watched(nullptr), watched({{"matched", 0}})).bites);
}
