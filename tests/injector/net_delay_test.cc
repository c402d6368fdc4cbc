// What net.delay plans, refuses and measures: JSON in, JSON out. What all faults of the network share is tested here.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kService = {{"address", "127.0.0.1:8081"}};
const Json kDelay = {{"delay", "200ms"}};
const Json kNoNetem = net_machine({"netem"});

Json with(Json base, const Json& changes) {
  base.merge_patch(changes);
  return base;
}

Json network(const char* text) { return Json::parse(text); }

}  // namespace

TEST_CASE("a delayed service: requests are held when they arrive, and the plan says by what", "[net.delay]") {
  NetView view(kNoNetem);
  const FaultPlan plan = plan_of("net.delay", "service", kService, kDelay, view);
  CHECK(view.asked["net.resolve"] == Json{{"names", Json::array()}});
  CHECK(view.asked["net.capabilities"] == Json::parse(R"({"place": {"path": "", "inode": 100}})"));
  REQUIRE(plan.steps.size() == 1);
  const Impairment one = impairment_of(plan);
  CHECK(one.name == "capsize_0123456789ab");
  CHECK(one.mark == 4660);
  CHECK(one.place == NetworkNamespace{"", 100});
  CHECK(one.backend == ImpairBackend::queue);
  CHECK(one.effect.delay == DelayEffect{std::chrono::milliseconds(200), {}, DelayDistribution::constant, 0, false});
  CHECK(one.exempt.empty());
  CHECK(plan.summary == "tcp packets to 127.0.0.1:8081 arriving are 200ms late (queue: this kernel has no netem)");
  CHECK(plan.intended["round_trip_ms"] == 200.0);
  CHECK(plan.intended["back_ends"] == Json::array({"queue: this kernel has no netem"}));
  const Impairment undone = impairment_from_json(plan.steps[0].undo.args);
  CHECK(undone.name == one.name);
  CHECK(undone.place == one.place);
  CHECK(undone.affected.empty());
  CHECK(plan.observe.type == "net.watch");
  CHECK(plan.observe.args["echo"] == Json::parse(R"([{"connect": "127.0.0.1:8081"}])"));
}

TEST_CASE("on a kernel with netem a device holds the packets, at whichever hook", "[net.delay]") {
  const FaultPlan here = plan_of("net.delay", "service", kService, kDelay);
  CHECK(impairment_of(here).backend == ImpairBackend::device);
  CHECK(here.summary.ends_with("(device: netem)"));
  const FaultPlan both = plan_of("net.delay", "network", network(R"({"peers": ["10.0.0.9"], "peer_ports": [5432]})"), with(kDelay, {{"direction", "both"}}));
  REQUIRE(both.steps.size() == 1);
  CHECK(met_by(both) == Words{"packets from 10.0.0.9:5432 arriving", "packets to 10.0.0.9:5432 leaving"});
  CHECK(both.intended["round_trip_ms"] == 400.0);
  CHECK(both.summary.find("200ms late, each way") != std::string::npos);
}

TEST_CASE("packets that stay on this machine are met once, when they arrive, in both directions", "[net.delay]") {
  CHECK(met_by(plan_of("net.delay", "service", kService, with(kDelay, {{"direction", "in"}}))) == Words{"tcp packets to 127.0.0.1:8081 arriving"});
  CHECK(met_by(plan_of("net.delay", "service", {{"address", "[::1]:8081"}}, kDelay)) == Words{"tcp packets to [::1]:8081 arriving"});
  // What a loopback address sends never leaves, so nothing but the queue is needed for it.
  const FaultPlan loopback = plan_of("net.delay", "service", kService, with(kDelay, {{"direction", "both"}}), kNoNetem);
  REQUIRE(loopback.steps.size() == 1);
  CHECK(impairment_of(loopback).affected.size() == 2);
  CHECK(impairment_of(loopback).affected[1].hook == Hook::arrive);
  CHECK(impairment_of(loopback).exempt.empty());
  const FaultPlan out = plan_of("net.delay", "service", {{"address", "10.0.0.5:8081"}}, with(kDelay, {{"direction", "out"}}));
  const Impairment one = impairment_of(out);
  // Answers of a service of this machine may go anywhere: those that stay are met when they arrive, and not when they leave.
  REQUIRE(one.affected.size() == 2);
  CHECK(describe(one.affected[0]) == "tcp packets from 10.0.0.5:8081 leaving");
  CHECK(one.affected[1].hook == Hook::arrive);
  CHECK(one.affected[1].destination.addresses.size() == 4);
  REQUIRE(one.exempt.size() == 1);
  CHECK(one.exempt[0].hook == Hook::leave);
  CHECK(one.exempt[0].destination.addresses == one.affected[1].destination.addresses);
  const FaultPlan local_peer = plan_of("net.delay", "network", network(R"({"peers": ["127.0.0.1"], "peer_ports": [5432], "protocol": "tcp"})"), with(kDelay, {{"direction", "both"}}), kNoNetem);
  CHECK(met_by(local_peer) == Words{"tcp packets from 127.0.0.1:5432 arriving", "tcp packets to 127.0.0.1:5432 arriving"});
  CHECK(impairment_of(local_peer).exempt.empty());
}

TEST_CASE("of a service elsewhere the directions are still its own", "[net.delay]") {
  const Json database = {{"address", "10.0.0.9:5432"}};
  CHECK(met_by(plan_of("net.delay", "service", database, with(kDelay, {{"direction", "in"}}))) == Words{"tcp packets to 10.0.0.9:5432 leaving"});
  CHECK(met_by(plan_of("net.delay", "service", database, with(kDelay, {{"direction", "out"}}))) == Words{"tcp packets from 10.0.0.9:5432 arriving"});
}

TEST_CASE("a service at every address is selected by its port", "[net.delay]") {
  CHECK(met_by(plan_of("net.delay", "service", {{"address", "0.0.0.0:8081"}}, kDelay)) == Words{"tcp packets to port 8081 arriving"});
  CHECK(plan_of("net.delay", "service", {{"address", "0.0.0.0:8081"}}, kDelay).observe.args["echo"][0]["connect"] == "127.0.0.1:8081");
}

TEST_CASE("without netem, TCP that leaves is late on its way back, and the summary says so", "[net.delay]") {
  const Json database = {{"address", "10.0.0.9:5432"}};
  const FaultPlan there = plan_of("net.delay", "service", database, with(kDelay, {{"direction", "in"}}), kNoNetem);
  CHECK(met_by(there) == Words{"tcp packets from 10.0.0.9:5432 arriving"});
  CHECK(there.intended["round_trip_ms"] == 200.0);
  CHECK(there.summary.find("so what comes back is late instead, which gives the same round trip") != std::string::npos);
  const FaultPlan both = plan_of("net.delay", "service", database, with(kDelay, {{"direction", "both"}}), kNoNetem);
  REQUIRE(both.steps.size() == 2);
  CHECK(met_by(both) == Words{"tcp packets from 10.0.0.9:5432 arriving", "tcp packets from 10.0.0.9:5432 arriving"});
  CHECK(impairment_of(both, 0).name != impairment_of(both, 1).name);
  CHECK(both.intended["round_trip_ms"] == 400.0);
  CHECK(both.observe.args["impairments"].size() == 2);
}

TEST_CASE("what stays on this machine is not late twice where the way back is delayed instead", "[net.delay]") {
  const FaultPlan plan = plan_of("net.delay", "service", {{"address", "10.0.0.5:8081"}}, with(kDelay, {{"direction", "out"}}), kNoNetem);
  REQUIRE(plan.steps.size() == 2);
  const Impairment back = impairment_of(plan, 0);
  CHECK(describe(back.affected.at(0)) == "tcp packets to 10.0.0.5:8081 arriving");
  REQUIRE(back.exempt.size() == 1);
  CHECK(back.exempt[0].hook == Hook::arrive);
  CHECK(back.exempt[0].source.addresses.size() == 4);
  const Impairment here = impairment_of(plan, 1);
  CHECK(here.affected.at(0).source.ports == std::vector<PortRange>{{8081, 8081}});
  CHECK(here.exempt.empty());
}

TEST_CASE("a choice that no packet can match is refused", "[net.delay]") {
  says(refusal_of("net.delay", "network", network(R"({"local": ["127.0.0.1"], "peers": ["10.0.0.9"]})"), with(kDelay, {{"direction", "out"}})), ErrorKind::refused, "no packet can match");
}

TEST_CASE("what the kernel at hand cannot hold faithfully is refused, with what brings it", "[net.delay]") {
  const Json peers = network(R"({"peers": ["10.0.0.9"]})");
  const Json out = with(kDelay, {{"direction", "out"}});
  says(refusal_of("net.delay", "network", peers, out, kNoNetem), ErrorKind::unavailable, "a delay of what leaves this machine: this machine lacks netem");
  says(refusal_of("net.delay", "network", peers, out, kNoNetem), ErrorKind::unavailable, "the kernel has no netem: install it");
  says(refusal_of("net.delay", "network", peers, out, kNoNetem), ErrorKind::unavailable, "\"protocol\": \"tcp\"");
  says(refusal_of("net.delay", "service", kService, kDelay, net_machine({"netem", "queue"})), ErrorKind::unavailable, "a delay of what arrives: this machine lacks netem");
  says(refusal_of("net.delay", "service", kService, kDelay, net_machine({"rules"})), ErrorKind::unavailable, "lacks rules");
  says(refusal_of("net.delay", "service", kService, kDelay, net_machine({"cap_net_admin", "rules", "netem", "queue"})), ErrorKind::privilege, "CAP_NET_ADMIN");
}

TEST_CASE("names are resolved once, and what they stand for is in the plan", "[net.delay]") {
  Json machine = net_machine();
  machine["net.resolve"]["addresses"] = Json::parse(R"({"db.staging": ["10.0.0.9", "fd00::9"]})");
  NetView view(machine);
  const FaultPlan plan = plan_of("net.delay", "network", network(R"({"peers": ["db.staging", "192.0.2.0/24"], "user": "www-data", "network_namespace": "/run/netns/blue"})"),
                                 with(kDelay, {{"direction", "out"}}), view);
  CHECK(view.asked["net.resolve"] == Json::parse(R"({"names": ["db.staging"], "user": "www-data", "network_namespace": "/run/netns/blue"})"));
  CHECK(met_by(plan)[0].find("10.0.0.9, 192.0.2.0/24, fd00::9") != std::string::npos);
}

TEST_CASE("a name that stands for nothing is refused before anything is touched", "[net.delay]") {
  Json machine = net_machine();
  machine["net.resolve"]["addresses"] = Json::parse(R"({"db.staging": []})");
  machine["net.resolve"]["problems"] = Json::parse(R"x({"db.staging": "Host not found (authoritative)"})x");
  says(refusal_of("net.delay", "network", network(R"({"peers": ["db.staging", "10.0.0.9"]})"), kDelay, machine), ErrorKind::unavailable,
       "db.staging resolves to nothing on this machine (Host not found (authoritative))");
}

TEST_CASE("a fault that selects nothing in particular needs permission, and a namespace of its own is a selection", "[net.delay]") {
  says(refusal_of("net.delay", "network", Json::object(), kDelay), ErrorKind::refused, "it would meet everything this machine sends or receives");
  says(refusal_of("net.delay", "network", {{"protocol", "tcp"}}, kDelay), ErrorKind::refused, "\"allow\": [\"everything\"]");
  const FaultPlan all = plan_of("net.delay", "network", Json::object(), kDelay, net_machine(), {"everything"});
  CHECK(all.allowed == Words{"everything"});
  CHECK(met_by(all) == Words{"packets arriving"});
  Json blue = net_machine();
  blue["net.resolve"]["place"] = {{"path", "/run/netns/blue"}, {"inode", 200}};
  blue["net.resolve"]["own_namespace"] = false;
  const FaultPlan there = plan_of("net.delay", "network", {{"network_namespace", "/run/netns/blue"}}, kDelay, blue);
  CHECK(there.allowed.empty());
  CHECK(there.summary.starts_with("in /run/netns/blue: packets arriving are 200ms late"));
  CHECK(impairment_of(there).place == NetworkNamespace{"/run/netns/blue", 200});
}

TEST_CASE("a user's or cgroup's packets are met when they leave, and only then", "[net.delay]") {
  Json machine = net_machine();
  machine["net.resolve"]["user"] = 33;
  const FaultPlan plan = plan_of("net.delay", "network", {{"user", "www-data"}}, with(kDelay, {{"direction", "out"}}), machine);
  const Impairment one = impairment_of(plan);
  REQUIRE(one.affected.size() == 1);
  CHECK(one.affected[0].hook == Hook::leave);
  CHECK(one.affected[0].user == 33u);
  CHECK(one.exempt.empty());
  says(refusal_of("net.delay", "network", {{"user", "www-data"}}, kDelay, machine), ErrorKind::refused, "\"direction\": \"out\"");
}

TEST_CASE("a jitter below zero is refused", "[net.delay]") {
  says(refusal_of("net.delay", "service", kService, {{"delay", "10ms"}, {"jitter", "20ms"}, {"distribution", "uniform"}}), ErrorKind::refused, "reaches below zero");
  const FaultPlan plan = plan_of("net.delay", "service", kService, {{"delay", "20ms"}, {"jitter", "5ms"}, {"correlation", "25%"}, {"reorder", true}});
  CHECK(impairment_of(plan).effect.delay == DelayEffect{std::chrono::milliseconds(20), std::chrono::milliseconds(5), DelayDistribution::normal, 0.25, true});
}

TEST_CASE("a delay bites when packets are held and our own connections are slower by what was intended", "[net.delay]") {
  const FaultType* type = find_fault("net.delay");
  const FaultPlan plan = plan_of("net.delay", "service", kService, kDelay, kNoNetem);
  const Json before = watched(nullptr, echo_in(0.2));
  const auto effect = [&](const Json& after) { return type->effect(plan, before, after); };
  const Json held = {{"matched", 120}, {"delayed", 118}, {"mean_delay_ms", 200.4}};
  const Effect good = effect(watched(held, echo_in(201.0)));
  CHECK(good.bites);
  CHECK(good.because == "120 packets met: held 200.4 ms in the mean (200 ms intended); our own connections to 127.0.0.1:8081 take 201.0 ms instead of 0.2 ms (200 ms more intended)");
  CHECK(effect(watched(held)).bites);
  CHECK_FALSE(effect(watched(held, echo_in(90.0))).bites);
  CHECK_FALSE(effect(watched(held, echo_in(1200.0))).bites);
  CHECK(effect(watched(held, echo_in(0, 0))).bites);
  CHECK_FALSE(effect(watched({{"matched", 120}, {"delayed", 118}, {"mean_delay_ms", 60.0}}, echo_in(201.0))).bites);
  CHECK_FALSE(effect(watched({{"matched", 120}, {"delayed", 0}})).bites);
  const Effect none = effect(watched({{"matched", 0}}, echo_in(0.2)));
  CHECK_FALSE(none.bites);
  CHECK(none.because == "no packet has matched: nothing that it selects is sent");
  Json lonely = watched(held, echo_in(201.0));
  lonely["impairments"][0]["others"] = 0;
  CHECK_FALSE(effect(lonely).bites);
  CHECK(effect(lonely).because.ends_with("but no traffic other than our own echo has met it"));
  Json gone = watched(nullptr, echo_in(0.2));
  gone["impairments"][0]["problem"] = "its table is gone";
  CHECK(effect(gone).because == "it cannot be told: its table is gone");
  CHECK_FALSE(effect(watched({{"matched", 120}, {"delayed", 60}, {"mean_delay_ms", 200.0}, {"overflowed", 60}}, echo_in(201.0))).bites);
  CHECK_FALSE(effect(Json::object()).bites);
}

TEST_CASE("with netem, which does not say how long it held them, our own connections prove the delay", "[net.delay]") {
  const FaultType* type = find_fault("net.delay");
  const FaultPlan plan = plan_of("net.delay", "service", kService, kDelay);
  const Json before = watched(nullptr, echo_in(0.2));
  const Json passed = {{"matched", 10}, {"delayed", 10}, {"mean_delay_ms", 0.0}};  // as a device answers
  const Effect good = type->effect(plan, before, watched(passed, echo_in(201.0)));
  CHECK(good.bites);
  CHECK(good.because == "10 packets met: our own connections to 127.0.0.1:8081 take 201.0 ms instead of 0.2 ms (200 ms more intended)");
  CHECK_FALSE(type->effect(plan, before, watched(passed, echo_in(0.3))).bites);
  CHECK(type->effect(plan, before, watched(passed)).bites);
}
