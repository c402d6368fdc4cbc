// net.cut: which connections, and how it is seen that they ended.
#include "injector/net/connections.h"
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kService = {{"address", "127.0.0.1:8081"}};

Json connections(std::vector<std::string> cookies) { return {{"matching", cookies.size()}, {"exempt", 0}, {"others", 3}, {"cookies", cookies}, {"listed", true}, {"sample", Json::array()}}; }

}  // namespace

TEST_CASE("connections are selected by the packets of either end, and the undo has nothing to do", "[net.cut]") {
  const FaultPlan plan = plan_of("net.cut", "service", {{"address", "10.0.0.9:5432"}}, Json::object(), net_machine({"netem", "queue"}));
  REQUIRE(plan.steps.size() == 1);
  CHECK(plan.steps[0].apply.type == "net.cut");
  CHECK(plan.steps[0].undo.type == "net.cut_done");
  const ConnectionMatch match = connection_match_from_json(plan.steps[0].apply.args);
  CHECK(match.affected.size() == 2);
  CHECK(match.exempt.empty());
  CHECK(connection_match_from_json(plan.observe.args) == match);
  CHECK(connection_match_from_json(plan.steps[0].undo.args).affected.empty());
  CHECK(plan.summary == "connections of tcp packets to 10.0.0.9:5432 leaving, tcp packets from 10.0.0.9:5432 arriving are cut, both ends with a reset");
}

TEST_CASE("the control path is spared, and a choice that covers it refused", "[net.cut]") {
  Json machine = net_machine();
  machine["net.control_path"]["connections"] = Json::parse(R"([{"what": "the SSH session", "protocol": "tcp", "namespace": 100, "local": {"address": "10.0.0.5", "port": 22}, "peer": {"address": "10.1.2.3", "port": 50122}}])");
  says(refusal_of("net.cut", "network", {{"peers", {"10.1.0.0/16"}}}, Json::object(), machine), ErrorKind::refused, "the SSH session");
  const FaultPlan plan = plan_of("net.cut", "service", kService, Json::object(), machine);
  CHECK(connection_match_from_json(plan.steps[0].apply.args).exempt.size() == 4);
}

TEST_CASE("what has no connections, and kernels that cannot cut, are refused", "[net.cut]") {
  says(refusal_of("net.cut", "network", {{"peers", {"10.0.0.9"}}, {"protocol", "udp"}}, Json::object()), ErrorKind::refused, "only TCP has connections");
  says(refusal_of("net.cut", "service", kService, Json::object(), net_machine({"sock_destroy"})), ErrorKind::unavailable, "lacks sock_destroy");
}

TEST_CASE("a cut bites when the connections of before have ended, whatever came since", "[net.cut]") {
  const FaultType* type = find_fault("net.cut");
  const FaultPlan plan = plan_of("net.cut", "service", kService, Json::object());
  const Effect good = type->effect(plan, connections({"a1", "a2"}), connections({"b1", "b2", "b3"}));
  CHECK(good.bites);
  CHECK(good.because == "2 of 2 connections have ended");
  CHECK_FALSE(type->effect(plan, connections({"a1", "a2"}), connections({"a2"})).bites);
  CHECK(type->effect(plan, connections({}), connections({"b1"})).because == "there was no connection to cut");
  CHECK_FALSE(type->effect(plan, Json::object(), Json::object()).bites);
}
