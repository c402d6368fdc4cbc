// What a doctor makes of disciplines, devices, rules and sets: made inputs in, symptoms out.
#include "tests/injector/doctor_made.h"

using namespace capsize;
using namespace capsize::doctor_test;

TEST_CASE("netem is a fault wherever it is, and the command names exactly it", "[doctor]") {
  DisciplineLook seen;
  seen.devices = {kEth0};
  seen.disciplines = {netem(kRootParent, 0x80010000)};
  const auto at_root = judge_traffic_control(seen, kBlue);
  REQUIRE(kinds(at_root) == Kinds{"qdisc.netem"});
  CHECK(at_root[0].severity == Gravity::harm);
  CHECK(at_root[0].what == "netem impairs packets that leave eth0 (delay 100ms)");
  CHECK(at_root[0].where == "network namespace /run/netns/blue");
  CHECK(at_root[0].undo == "nsenter --net=/run/netns/blue tc qdisc del dev eth0 root");

  seen.disciplines = {{2, "prio", 0x10000, kRootParent, ""}, netem(0x10003, 0x300000)};
  const auto pumba = judge_traffic_control(seen, kHere);
  REQUIRE(kinds(pumba) == Kinds{"qdisc.netem"});
  CHECK(pumba[0].undo == "tc qdisc del dev eth0 parent 1:3 handle 30:");
  CHECK(pumba[0].from.find("Pumba") != std::string::npos);
  CHECK(pumba[0].advice.find("tc qdisc del dev eth0 root") != std::string::npos);

  seen.disciplines = {{2, "prio", 0x10000, kRootParent, ""}, netem(0x10004, 0x70000)};
  CHECK(judge_traffic_control(seen, kHere)[0].from.find("Chaos Mesh") != std::string::npos);
  seen.disciplines = {{2, "tbf", 0x80010000, kRootParent, "rate 125000 bytes/s"}};
  const auto tbf = judge_traffic_control(seen, kHere);
  REQUIRE(kinds(tbf) == Kinds{"qdisc.tbf"});
  CHECK(tbf[0].severity == Gravity::suspect);
}

TEST_CASE("an ifb device in use and the filter that leads to it are found, those of capsize as leftovers", "[doctor]") {
  DisciplineLook seen;
  seen.devices = {kEth0, {9, "ifb0", "ifb", true}};
  seen.filters = {{2, "u32", kClsactOut, 0x80000800, 49152, 0x0800, 9, 0}};
  const auto found = judge_traffic_control(seen, kHere);
  REQUIRE(kinds(found) == Kinds{"filter.redirect", "device.ifb"});
  CHECK(found[0].severity == Gravity::harm);
  CHECK(found[0].undo == "tc filter del dev eth0 egress protocol ip pref 49152 handle 800:0:800 u32");
  CHECK(found[1].undo == "ip link set dev ifb0 down");

  seen.devices = {kEth0, {9, "cpz0123456789ab", "ifb", true}};
  seen.disciplines = {{9, "netem", 0x10000, kRootParent, "loss 1 %"}};
  seen.filters = {{2, "bpf", kClsactOut, 1, 1, 0x0003, 9, 0}};
  const auto ours = judge_traffic_control(seen, kHere);
  REQUIRE(kinds(ours) == Kinds{"filter.redirect", "qdisc.netem", "device.ifb"});
  for (const Symptom& symptom : ours) {
    CHECK(symptom.severity == Gravity::leftover);
    CHECK(symptom.from == "capsize");
  }
  CHECK(ours[0].undo == "tc filter del dev eth0 egress protocol all pref 1 handle 0x1 bpf");
  CHECK(ours[2].undo == "ip link del dev cpz0123456789ab");
  seen.devices[1].name = "cpzg123456789ab";  // of packets that leave
  const auto leaving = judge_traffic_control(seen, kHere);
  REQUIRE(leaving.size() == 3);
  for (const Symptom& symptom : leaving) {
    CHECK(symptom.severity == Gravity::leftover);
    CHECK(symptom.impairment == "0123456789ab");
  }

  seen.filters = {{2, "bpf", kClsactIn, 1, 1, 0x0003, 77, 0}};
  CHECK(judge_traffic_control(seen, kHere)[0].what.find("a device that is gone: they are lost") != std::string::npos);
}

TEST_CASE("a table of ours is told by who holds it", "[doctor]") {
  const PacketTable table{"inet", "capsize_0123456789ab", true, false, 4711};
  const auto judge = [&](const PacketTable& seen, const TableOwner& owner) { return judge_tables({seen}, kBlue, [&](const PacketTable&) { return owner; }).at(0); };
  const Symptom held = judge(table, {4711, "capsize", true});
  CHECK(held.severity == Gravity::held);
  CHECK(held.undo == "kill 4711");
  CHECK(judge(table, {4711, "python3", false}).severity == Gravity::harm);
  CHECK(judge(table, {}).undo.empty());
  const Symptom nobodys = judge({"inet", "capsize_0123456789ab", false, false, 0}, {});
  CHECK(nobodys.severity == Gravity::harm);
  CHECK(nobodys.undo == "nsenter --net=/run/netns/blue nft delete table inet capsize_0123456789ab");
  CHECK(judge({"inet", "faults", true, true, 0}, {}).what.find("outlived") != std::string::npos);
  CHECK(judge({"inet", "faults", true, false, 12}, {12, "agent", false}).severity == Gravity::suspect);
}

TEST_CASE("rules that drop by chance, queue, redirect or count connections are found, in both kinds of tables", "[doctor]") {
  PacketRuleset seen;
  PacketRule loss = rule("INPUT", Verdict::drop);
  loss.random = true;
  PacketRule limit = rule("INPUT", Verdict::reject);
  limit.limits_connections = true;
  PacketRule queue = rule("OUTPUT", Verdict::queue);
  queue.queue = 4;
  PacketRule legacy = loss;
  legacy.legacy = true;
  legacy.place = 3;
  legacy.family = "ip6";
  seen.rules = {loss, limit, queue, rule("PREROUTING", Verdict::redirect), legacy};
  const auto found = judge_rules(seen, kBlue);
  REQUIRE(kinds(found) == Kinds{"rule.loss", "rule.connections", "rule.queue", "rule.redirect", "rule.loss"});
  CHECK(found[0].undo == "nsenter --net=/run/netns/blue nft delete rule ip filter INPUT handle 7");
  CHECK(found[0].severity == Gravity::harm);
  CHECK(found[2].what.find("NFQUEUE 4") != std::string::npos);
  CHECK(found[4].undo == "nsenter --net=/run/netns/blue ip6tables-legacy -t filter -D INPUT 3");
}

TEST_CASE("a chain of a known tool is one symptom with what is in it, and goes after the rules that lead to it", "[doctor]") {
  PacketRuleset seen;
  seen.chains = {{"ip", "filter", "INPUT", false}, {"ip", "filter", "CHAOS-INPUT", false}, {"ip", "filter", "blockade-86c6c42ff9-p1", true}};
  PacketRule jump = rule("INPUT", Verdict::jump);
  jump.jumps_to = "CHAOS-INPUT";
  PacketRule loss = rule("CHAOS-INPUT", Verdict::drop);
  loss.random = true;
  PacketRule legacy_jump = rule("FORWARD", Verdict::jump);
  legacy_jump.legacy = true;
  legacy_jump.jumps_to = "blockade-86c6c42ff9-p1";
  legacy_jump.place = 1;
  seen.rules = {jump, loss, legacy_jump};
  const auto found = judge_rules(seen, kHere);
  REQUIRE(kinds(found) == Kinds{"chain.chaos", "chain.chaos"});
  CHECK(found[0].from == "Chaos Mesh or chaosd");
  CHECK(found[0].severity == Gravity::harm);
  CHECK(found[0].undo == "nft delete rule ip filter INPUT handle 7 && nft flush chain ip filter CHAOS-INPUT && nft delete chain ip filter CHAOS-INPUT");
  CHECK(found[1].from == "Blockade");
  CHECK(found[1].severity == Gravity::leftover);
  CHECK(found[1].undo == "iptables-legacy -t filter -D FORWARD 1 && iptables-legacy -t filter -F blockade-86c6c42ff9-p1 && iptables-legacy -t filter -X blockade-86c6c42ff9-p1");
}

TEST_CASE("what is found in one table of iptables-legacy is undone by one command, from the last rule up", "[doctor]") {
  PacketRuleset seen;
  seen.chains = {{"ip", "filter", "CHAOS-INPUT", true}};
  const auto legacy = [](const std::string& chain, int place, Verdict verdict, const std::string& jump) {
    PacketRule out = rule(chain, verdict);
    out.legacy = true;
    out.place = place;
    out.jumps_to = jump;
    return out;
  };
  PacketRule loss = legacy("INPUT", 3, Verdict::drop, "");
  loss.random = true;
  seen.rules = {legacy("INPUT", 1, Verdict::jump, "CHAOS-INPUT"), legacy("INPUT", 2, Verdict::drop, ""), loss, legacy("INPUT", 9, Verdict::queue, ""), legacy("FORWARD", 2, Verdict::jump, "CHAOS-INPUT"),
                legacy("CHAOS-INPUT", 1, Verdict::drop, "")};
  const auto found = judge_rules(seen, kHere);
  REQUIRE(kinds(found) == Kinds{"rules.legacy"});
  CHECK(found[0].severity == Gravity::harm);
  CHECK(found[0].what.find("3 things") == 0);
  CHECK(found[0].undo ==
        "iptables-legacy -t filter -D FORWARD 2 && iptables-legacy -t filter -D INPUT 9 && iptables-legacy -t filter -D INPUT 3 && iptables-legacy -t filter -D INPUT 1 && "
        "iptables-legacy -t filter -F CHAOS-INPUT && iptables-legacy -t filter -X CHAOS-INPUT");
}

TEST_CASE("what is in an owned table is told with the table alone", "[doctor]") {
  PacketRuleset seen;
  seen.tables = {{"inet", "capsize_0123456789ab", true, false, 9}};
  PacketRule loss = rule("arrive", Verdict::drop);
  loss.random = true;
  loss.family = "inet";
  loss.table = "capsize_0123456789ab";
  seen.rules = {loss};
  CHECK(judge_rules(seen, kHere).empty());
}

TEST_CASE("sets of Chaos Mesh are known by the shape of their names", "[doctor]") {
  const auto found = judge_ip_sets({"netwo_5d41402abc4b2a76b_tgt", "web_d41d8cd98f00b2_set_src", "capsize-x"}, kBlue);
  CHECK(kinds(found) == Kinds{"set.chaos", "set.chaos", "set.chaos"});
  CHECK(found[0].undo == "nsenter --net=/run/netns/blue ipset destroy netwo_5d41402abc4b2a76b_tgt");
}

TEST_CASE("a device of a fault that a run in progress holds is held too, another one of ours is a leftover", "[doctor]") {
  DisciplineLook seen;
  seen.devices = {{9, "cpz0123456789ab", "ifb", true}, {10, "cpzba9876543210", "ifb", true}, {11, "cpzg123456789ab", "ifb", true}};
  auto found = judge_traffic_control(seen, kHere);
  REQUIRE(found.size() == 3);
  found.push_back(judge_tables({{"inet", "capsize_0123456789ab", true, false, 5}}, kHere, [](const PacketTable&) { return TableOwner{5, "capsize", true}; }).at(0));
  mark_held(found);
  CHECK(found[0].severity == Gravity::held);
  CHECK(found[1].severity == Gravity::leftover);
  CHECK(found[2].severity == Gravity::held);
}
