// What a doctor makes of what it sees: made inputs in, symptoms out.
#include <catch2/catch.hpp>

#include "injector/doctor/balancer_sockets.h"
#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"

using namespace capsize;
using Verdict = PacketRule::Verdict;

namespace {

const NetworkPlace kHere{{"", 1}, "", ""};
const NetworkPlace kBlue{{"/run/netns/blue", 2}, "network namespace /run/netns/blue", "nsenter --net=/run/netns/blue "};

std::vector<std::string> kinds(const std::vector<Symptom>& found) {
  std::vector<std::string> out;
  for (const Symptom& symptom : found) out.push_back(symptom.kind);
  return out;
}
using Kinds = std::vector<std::string>;

QueueDiscipline netem(std::uint32_t parent, std::uint32_t handle) { return {2, "netem", handle, parent, "delay 100ms"}; }
const NetworkDevice kEth0{2, "eth0", "", true};

PacketRule rule(const std::string& chain, Verdict verdict) {
  PacketRule out;
  out.family = "ip";
  out.table = "filter";
  out.chain = chain;
  out.handle = 7;
  out.verdict = verdict;
  return out;
}

SeenProcess process(int pid, const std::string& name, char state) {
  SeenProcess out;
  out.pid = pid;
  out.name = name;
  out.program = name;
  out.state = state;
  return out;
}

CgroupLook cgroup(const std::string& path) {
  CgroupLook out;
  out.path = path;
  out.folder = "/sys/fs/cgroup" + path;
  out.v2 = true;
  out.processes = 3;
  return out;
}

}  // namespace

TEST_CASE("what a host has by itself is no symptom", "[doctor]") {
  DisciplineLook seen;
  seen.devices = {{1, "lo", "", true}, kEth0, {3, "ifb0", "ifb", false}, {4, "ifb1", "ifb", false}, {5, "docker0", "bridge", true}};
  seen.disciplines = {{1, "noqueue", 0, kRootParent, ""}, {2, "mq", 0, kRootParent, ""}, {2, "fq_codel", 0, 1, ""}, {5, "htb", 0x10000, kRootParent, ""}, {2, "clsact", kIngress, 0xfffffff1, ""}};
  seen.filters = {{2, "bpf", kClsactIn, 1, 1, 3, 0, 0}, {2, "u32", kClsactIn, 1, 1, 3, 5, 0}};  // one redirects to the bridge
  CHECK(judge_traffic_control(seen, kHere).empty());

  PacketRuleset rules;
  PacketRule balancing = rule("KUBE-SVC-ABC", Verdict::jump);  // kube-proxy chooses a pod by chance
  balancing.random = true;
  balancing.jumps_to = "KUBE-SEP-DEF";
  rules.rules = {rule("INPUT", Verdict::drop), rule("INPUT", Verdict::reject), balancing, rule("ISTIO_REDIRECT", Verdict::redirect)};
  rules.chains = {{"ip", "filter", "INPUT", false}, {"ip", "filter", "DOCKER-USER", false}, {"ip", "nat", "KUBE-SVC-ABC", false}};
  CHECK(judge_rules(rules, kHere).empty());
  CHECK(judge_tables({{"ip", "filter", false, false, 0}, {"inet", "firewalld", true, true, 99}}, kHere, [](const PacketTable&) { return TableOwner{}; }).empty());
  CHECK(judge_ip_sets({"KUBE-CLUSTER-IP", "cali40s:abc", "f2b-sshd", "blocklist_src"}, kHere).empty());
  for (const char state : {'R', 'S', 'D', 'I', 'Z'}) CHECK(judge_process(process(9, "nginx", state), nullptr, false).empty());
}

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

TEST_CASE("a stopped process is told with who may have stopped it", "[doctor]") {
  const auto plain = judge_process(process(12, "nginx", 'T'), nullptr, false);
  REQUIRE(kinds(plain) == Kinds{"process.stopped"});
  CHECK(plain[0].severity == Gravity::harm);
  CHECK(plain[0].undo == "kill -CONT 12");
  SeenProcess editor = process(13, "vim", 'T');
  editor.has_terminal = true;
  CHECK(judge_process(editor, nullptr, false)[0].severity == Gravity::suspect);
  CHECK(judge_process(editor, nullptr, true)[0].severity == Gravity::harm);
  CHECK(judge_process(editor, nullptr, true)[0].from.find("capsize") == 0);
}

TEST_CASE("a traced process is told with its tracer", "[doctor]") {
  SeenProcess held = process(12, "nginx", 't');
  held.tracer = 40;
  SeenProcess agent = process(40, "capsize", 'S');
  const auto by_us = judge_process(held, &agent, false);
  REQUIRE(kinds(by_us) == Kinds{"process.traced"});
  CHECK(by_us[0].severity == Gravity::held);
  const SeenProcess gdb = process(40, "gdb", 'S');
  CHECK(judge_process(held, &gdb, false)[0].advice == "somebody may be debugging it");
  CHECK(judge_process(held, nullptr, false)[0].undo == "kill 40");

  SeenProcess strace = process(40, "strace", 'S');
  held.state = 'S';
  CHECK(judge_process(held, &strace, false).empty());  // it only watches
  strace.words = {"strace", "-e", "inject=fsync:error=EIO", "-p", "12"};
  CHECK(kinds(judge_process(held, &strace, false)) == Kinds{"process.tampered"});
}

TEST_CASE("chaos tools that run and false clocks are found", "[doctor]") {
  CHECK(kinds(judge_process(process(5, "toxiproxy-server", 'S'), nullptr, false)) == Kinds{"process.tool"});
  SeenProcess fake = process(6, "java", 'S');
  fake.preload = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
  const auto found = judge_process(fake, nullptr, false);
  REQUIRE(kinds(found) == Kinds{"process.faketime"});
  CHECK(found[0].undo.empty());
  CHECK(found[0].advice.find("without LD_PRELOAD=/usr/lib") != std::string::npos);
}

TEST_CASE("limits that services have on purpose are none, odd ones are", "[doctor]") {
  CgroupLook look = cgroup("/system.slice/web.service");
  CHECK(judge_cgroup(look).empty());
  look.quota_us = 200000;
  look.memory_limit = 512u << 20;
  CHECK(judge_cgroup(look).empty());
  look.quota_us = 20000;
  const auto starved = judge_cgroup(look);
  REQUIRE(kinds(starved) == Kinds{"cgroup.cpu"});
  CHECK(starved[0].what == "3 processes share 20 % of one processor");
  CHECK(starved[0].from == "systemd unit web.service");
  CHECK(starved[0].undo == "echo max > /sys/fs/cgroup/system.slice/web.service/cpu.max");
  look.v2 = false;
  CHECK(judge_cgroup(look)[0].undo == "echo -1 > /sys/fs/cgroup/system.slice/web.service/cpu.cfs_quota_us");
  look.processes = 0;
  CHECK(judge_cgroup(look).empty());  // nobody is in it

  CgroupLook pod = cgroup("/kubepods.slice/pod1");
  pod.quota_us = 10000;
  pod.periods = 1000;
  pod.throttled = 900;
  CHECK(judge_cgroup(pod).empty());
  pod.quota_us = 2000;
  CHECK(kinds(judge_cgroup(pod)) == Kinds{"cgroup.cpu"});

  CgroupLook busy = cgroup("/app");
  busy.quota_us = 400000;
  busy.periods = 1000;
  busy.throttled = 400;
  CHECK(judge_cgroup(busy).empty());
  busy.throttled = 900;
  CHECK(kinds(judge_cgroup(busy)) == Kinds{"cgroup.cpu"});
}

TEST_CASE("frozen processes, tiny memory and held back disks are found with their way back", "[doctor]") {
  CgroupLook look = cgroup("/docker/" + std::string(64, 'a'));
  look.frozen = true;
  look.memory_limit = 1u << 20;
  look.memory_file = "memory.max";
  look.io_limits = {{"io.max", "8:0 wbps=1024\n8:16 riops=10"}};
  const auto found = judge_cgroup(look);
  REQUIRE(kinds(found) == Kinds{"cgroup.frozen", "cgroup.memory", "cgroup.io"});
  CHECK(found[0].severity == Gravity::harm);
  CHECK(found[0].from == "container aaaaaaaaaaaa");
  CHECK(found[0].advice.find("docker unpause aaaaaaaaaaaa") != std::string::npos);
  CHECK(found[2].undo.find("echo '8:0 rbps=max wbps=max riops=max wiops=max' > ") == 0);
  CHECK(found[2].undo.find(" && echo '8:16 ") != std::string::npos);
  look = cgroup("/capsize_0123456789ab");
  look.processes = 0;
  CHECK(judge_cgroup(look).at(0).undo == "rmdir /sys/fs/cgroup/capsize_0123456789ab");
}

TEST_CASE("a cgroup of capsize is known by its name, empty and with what was moved to it", "[doctor]") {
  CgroupLook look = cgroup("/web.service/capsize-0123456789ab");
  look.quota_us = 20000;
  const auto found = judge_cgroup(look);
  REQUIRE(kinds(found) == Kinds{"cgroup.cpu", "cgroup.left"});
  CHECK(found[0].from == "capsize, by its name");
  CHECK(found[1].what == "3 processes were moved to a cgroup of capsize");
  CHECK(found[1].advice.find("capsize revert --all") != std::string::npos);
  look.processes = 0;
  REQUIRE(kinds(judge_cgroup(look)) == Kinds{"cgroup.left"});
  CHECK(judge_cgroup(look)[0].undo == "rmdir /sys/fs/cgroup/web.service/capsize-0123456789ab");
}

TEST_CASE("servers that were set aside at runtime are found, those that the configuration or an agent sets are not", "[doctor]") {
  BackendState backend;
  backend.name = "auth";
  const auto server = [](const std::string& name, int admin, std::int64_t weight, std::int64_t initial, int agent) {
    ServerState out;
    out.name = name;
    out.admin_state = admin;
    out.weight = weight;
    out.initial_weight = initial;
    out.agent_state = agent;
    return out;
  };
  backend.servers = {server("a", 0, 10, 10, 0), server("b", 4, 10, 10, 0), server("c", kAdminForcedDrain, 10, 10, 0), server("d", kAdminForcedMaint, 10, 10, 0),
                     server("e", 0, 200, 10, 0), server("f", 0, 1, 10, kAgentOn)};
  const auto found = judge_backend(backend, "/run/haproxy/admin.sock");
  REQUIRE(kinds(found) == Kinds{"balancer.drain", "balancer.maintenance", "balancer.weight"});
  CHECK(found[0].undo == "echo 'set server auth/c state ready' | socat stdio /run/haproxy/admin.sock");
  CHECK(found[2].undo == "echo 'set server auth/e weight 10' | socat stdio /run/haproxy/admin.sock");
  CHECK(judge_backend(backend, "127.0.0.1:9999")[0].undo.find("socat stdio TCP:127.0.0.1:9999") != std::string::npos);
}

TEST_CASE("the sockets of an HAProxy are read from its command line and configuration", "[doctor]") {
  CHECK(configurations_of({"haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg", "-f", "conf.d", "-p", "/run/h.pid"}) == std::vector<std::string>{"/etc/haproxy/haproxy.cfg", "conf.d"});
  CHECK(configurations_of({"haproxy", "--", "a.cfg", "b.cfg"}) == std::vector<std::string>{"a.cfg", "b.cfg"});
  CHECK(configurations_of({"haproxy", "-f"}).empty());
  CHECK(sockets_in("global\n  stats socket /run/haproxy/admin.sock mode 660 level admin\n  stats socket ipv4@*:9999 level admin\n # stats socket /no\n  stats socket unix@/run/b.sock\n"
                   "  stats socket \"/run/c d.sock\"\n  stats socket abns@x\n  stats socket fd@5\n  stats timeout 2m\n") ==
        std::vector<std::string>{"/run/haproxy/admin.sock", "127.0.0.1:9999", "/run/b.sock", "/run/c d.sock"});
}

TEST_CASE("journals of dead runs are told with their way back, those in progress with how to stop them", "[doctor]") {
  JournalStatus journal;
  journal.run = "2026-11-22-a";
  journal.path = "/var/lib/capsize/undo/2026-11-22-a.journal";
  CHECK(judge_journal(journal).empty());
  JournalStep step;
  step.id = "f0.s0";
  journal.contents.steps = {step};
  REQUIRE(journal.contents.outstanding());
  CHECK(judge_journal(journal).at(0).undo == "capsize revert 2026-11-22-a");
  CHECK(judge_journal(journal).at(0).severity == Gravity::harm);
  journal.holder = Holder::in_progress;
  CHECK(judge_journal(journal).at(0).undo == "capsize stop 2026-11-22-a");
  CHECK(judge_journal(journal).at(0).severity == Gravity::held);
}

TEST_CASE("false names and file systems of chaos tools are found", "[doctor]") {
  CHECK(judge_hosts_file("127.0.0.1 localhost\n", "/etc/hosts").empty());
  CHECK(judge_hosts_file("10.0.0.1 db #chaosblade\n", "/etc/hosts").at(0).undo == "sed -i '/#chaosblade/d' /etc/hosts");
  const auto mounts = parse_mounts(
      "36 35 98:0 / / rw,noatime master:1 - ext4 /dev/sda1 rw\n"
      "37 35 0:45 / /data rw - fuse.toda toda rw,user_id=0\n"
      "38 35 0:4 net:[4026532287] /run/netns/capsize_x rw shared:9 - nsfs nsfs rw\n"
      "39 35 0:46 / /home/me/remote rw - fuse.sshfs me@host: rw\n"
      "garbage\n40 35 0:1 / /x rw -\n");
  REQUIRE(mounts.size() == 4);
  CHECK(kinds(judge_mounts(mounts)) == Kinds{"mount.faults", "network.left"});
  CHECK(judge_mounts(mounts)[1].undo == "ip netns del capsize_x");
}

TEST_CASE("names reach a shell as one word, whatever is in them", "[doctor]") {
  CHECK(shell_word("eth0") == "eth0");
  CHECK(shell_word("") == "''");
  CHECK(shell_word("a b;rm -rf /") == "'a b;rm -rf /'");
  CHECK(shell_word("it's") == "'it'\\''s'");
}

TEST_CASE("containers and units are read from cgroup paths", "[doctor]") {
  const std::string id(64, 'f');
  CHECK(container_of("/docker/" + id) == "ffffffffffff");
  CHECK(container_of("/kubepods.slice/cri-containerd-" + id + ".scope") == "ffffffffffff");
  CHECK(container_of("/user.slice/user-0.slice") == "");
  CHECK(container_of("/x/" + id + "f") == "");
  CHECK(systemd_unit_of("/system.slice/nginx.service") == "nginx.service");
  CHECK(systemd_unit_of("/docker/abc") == "");
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

TEST_CASE("symptoms come worst first, and an examination says what it did not see", "[doctor]") {
  Examination examination;
  for (const Gravity severity : {Gravity::held, Gravity::leftover, Gravity::harm, Gravity::suspect}) {
    Symptom symptom;
    symptom.severity = severity;
    examination.findings.push_back(symptom);
  }
  sort_by_severity(examination.findings);
  Json order = Json::array();
  const Json told = to_json(examination);
  for (const Json& finding : told["findings"]) order.push_back(finding["severity"]);
  CHECK(order == Json({"harm", "suspect", "leftover", "held"}));
  CHECK(to_json(examination)["complete"] == true);
  examination.unseen.push_back({"the packet rules of this host", "no privilege", "run it as root"});
  CHECK(to_json(examination)["complete"] == false);
  CHECK(to_json(Examination())["clean"] == true);
}

TEST_CASE("every check of the doctor's table has a name, a sentence, and one way to look", "[doctor]") {
  for (const DoctorCheck& check : doctor_checks()) {
    CHECK_FALSE(check.name.empty());
    CHECK_FALSE(check.doc.empty());
    CHECK((check.look != nullptr) != (check.ask != nullptr));
  }
}
