// What a doctor makes of processes, cgroups, balancers, journals and names, and how it tells: made inputs in, symptoms out.
#include "injector/doctor/balancer_sockets.h"
#include "tests/injector/doctor_made.h"

using namespace capsize;
using namespace capsize::doctor_test;

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
