// capsize doctor on leftovers of the network: each is planted by the tools that people use, found, undone by the command that the doctor
// names, and found no more.
#include "injector/net/backends.h"
#include "injector/netlink/network_namespace.h"
#include "tests/system/doctor_bench.h"
#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::doctor_test;
using namespace capsize::process_test;

TEST_CASE("rate limits, ifb devices and redirecting filters are found in a namespace and undone", "[doctor]") {
  if (!is_root()) return;
  Bench bench;
  const std::string net = bench.new_network();
  CHECK(bench.findings(net).empty());
  const std::string tc = "ip netns exec " + net + " tc ";
  bench.must(tc + "qdisc add dev d0 root tbf rate 1mbit burst 10kb latency 10ms");
  bench.must("ip -n " + net + " link add slow type ifb && ip -n " + net + " link set slow up");
  bench.must(tc + "qdisc add dev slow root handle 7: tbf rate 2mbit burst 10kb latency 10ms");
  bench.must(tc + "qdisc add dev d1 clsact");
  bench.must(tc + "filter add dev d1 egress protocol ip u32 match ip dport 80 0xffff action mirred egress redirect dev slow");
  bench.must(tc + "filter add dev d1 ingress protocol all matchall action mirred egress redirect dev slow || " + tc +
             "filter add dev d1 ingress protocol all bpf bytecode '1,6 0 0 4294967295' action mirred egress redirect dev slow");
  const auto found = bench.findings(net);
  CHECK(kinds(found) == Kinds{"device.ifb", "filter.redirect", "filter.redirect", "qdisc.tbf", "qdisc.tbf"});
  CHECK(found.front()["kind"] == "filter.redirect");
  bench.run_undo(found);
  CHECK(bench.findings(net).empty());
  CHECK(bench.sh(tc + "qdisc show dev d1").out.find("clsact") != std::string::npos);  // what does nothing is left alone
}

TEST_CASE("netem is found, alone and under prio, and undone", "[doctor][netem]") {
  if (!is_root()) return;
  Bench bench;
  const std::string net = bench.new_network();
  const std::string tc = "ip netns exec " + net + " tc ";
  if (bench.sh(tc + "qdisc add dev d0 root netem delay 100ms 10ms loss 5%").code != 0) {
    WARN("skipped: this kernel has no netem (tests/system/vm/run has one)");
    return;
  }
  bench.must(tc + "qdisc add dev d1 root handle 1: prio && " + tc + "qdisc add dev d1 parent 1:3 handle 30: netem loss gemodel 2% 20% && " + tc +
             "filter add dev d1 protocol ip parent 1:0 prio 3 u32 match ip dst 10.0.0.1 flowid 1:3");
  const auto found = bench.findings(net);
  REQUIRE(kinds(found) == Kinds{"qdisc.netem", "qdisc.netem"});
  const std::string all = Json(found).dump();
  INFO(all);
  CHECK(all.find("delay 100ms, jitter 10ms, loss 5 %") != std::string::npos);
  CHECK(all.find("loss gemodel 2 % 20 %") != std::string::npos);
  CHECK(all.find("Pumba") != std::string::npos);
  bench.run_undo(found);
  CHECK(bench.findings(net).empty());
}

TEST_CASE("rules and chains of chaos tools are found in nftables, iptables and iptables-legacy, and undone", "[doctor]") {
  if (!is_root()) return;
  Bench bench;
  const std::string net = bench.new_network();
  const std::string in = "ip netns exec " + net + " ";
  bench.must(in + "nft add table inet mine");
  bench.must(in + "nft 'add chain inet mine input { type filter hook input priority 0; }'");
  bench.must(in + "nft add rule inet mine input tcp dport 80 numgen random mod 100 '<' 30 drop");
  bench.must(in + "nft add rule inet mine input tcp dport 81 counter accept");
  const std::string before = bench.sh(in + "nft -a list ruleset").out;
  std::vector<std::string> programs = {"iptables", "ip6tables"};
  if (bench.sh(in + "iptables-legacy -S").code == 0) programs.insert(programs.end(), {"iptables-legacy", "ip6tables-legacy"});
  else WARN("this kernel has no iptables-legacy: skipped");
  for (const std::string& program : programs) {
    const std::string run = in + program + " ";
    bench.must(run + "-A INPUT -p tcp --dport 22 -j ACCEPT");
    bench.must(run + "-A INPUT -m statistic --mode random --probability 0.3 -j DROP");
    bench.must(run + "-A INPUT -p tcp --dport 9 -m statistic --mode nth --every 3 --packet 0 -j DROP");
    bench.must(run + "-A INPUT -p tcp --dport 9 -j NFQUEUE --queue-num 3");
    bench.must(run + "-A INPUT -p tcp --syn -m connlimit --connlimit-above 3 -j REJECT");
    bench.must(run + "-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8081");
    bench.must(run + "-N CHAOS-INPUT");
    bench.must(run + "-I INPUT 1 -j CHAOS-INPUT");
    bench.must(run + "-A CHAOS-INPUT -s " + (program[2] == '6' ? "fd00::1" : "10.0.0.1") + " -j DROP");
  }
  const auto found = bench.findings(net);
  Kinds expected = {"rule.loss"};
  for (const std::string& program : programs) {
    if (program.ends_with("-legacy")) expected.insert(expected.end(), {"rules.legacy", "rule.redirect"});  // one command a table
    else expected.insert(expected.end(), {"chain.chaos", "rule.connections", "rule.loss", "rule.loss", "rule.queue", "rule.redirect"});
  }
  std::sort(expected.begin(), expected.end());
  CHECK(kinds(found) == expected);
  // A number of iptables-legacy changes when a rule before it goes: look again before the next, as the advice says.
  for (auto left = found; !left.empty() && left.size() <= found.size(); left = bench.findings(net)) bench.must(left.front()["undo"].get<std::string>());
  CHECK(bench.findings(net).empty());
  for (const std::string& program : programs) {  // what is the operator's own is there
    CHECK(bench.sh(in + program + " -S INPUT").out.find("--dport 22 -j ACCEPT") != std::string::npos);
    CHECK(bench.sh(in + program + " -S").out.find("CHAOS") == std::string::npos);
  }
  CHECK(bench.sh(in + "nft list ruleset").out.find("tcp dport 81 counter") != std::string::npos);
}

TEST_CASE("tables that a process holds, and tables and sets that nobody holds, are found and undone", "[doctor]") {
  if (!is_root()) return;
  Bench bench;
  const std::string net = bench.new_network();
  Control control;
  SharedMemory shared;
  Child holder([&] {
    ::signal(SIGTERM, SIG_DFL);  // not the test framework's
    Impairment impairment;
    impairment.name = "capsize_0123456789ab";
    impairment.place = look_up_network_namespace("/run/netns/" + net);
    PacketMatch match;
    match.destination.ports = {{80, 80}};
    match.protocol = Protocol::tcp;
    impairment.affected = {match};
    impairment.effect.refusal = Refusal::tcp_reset;
    const auto held = hold_by_rules(impairment);
    shared->word = 1;
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const auto held = bench.findings(net);
  INFO(Json(held).dump());
  REQUIRE(kinds(held) == Kinds{"table.capsize"});
  CHECK(held[0]["undo"] == fmt::format("kill {}", holder.pid()));
  bench.run_undo(held);
  REQUIRE(control.until([&] { return holder.poll().has_value(); }));
  CHECK(control.until([&] { return bench.findings(net).empty(); }));

  bench.must("ip netns exec " + net + " nft add table inet capsize_0123456789ab");
  const bool has_sets = bench.sh("ip netns exec " + net + " ipset create netwo_5d41402abc4b2a76b_tgt hash:net").code == 0;
  if (!has_sets) WARN("no ipset here: skipped");
  const auto left = bench.findings(net);
  INFO(Json(left).dump());
  CHECK(kinds(left) == (has_sets ? Kinds{"set.chaos", "table.capsize"} : Kinds{"table.capsize"}));
  bench.run_undo(left);
  CHECK(bench.findings(net).empty());
}
