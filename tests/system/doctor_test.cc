// capsize doctor on leftovers of this host: processes, cgroups, balancers and journals (those of the network: doctor_network_test.cc); and
// what it says, and to whom.
#include <sys/ptrace.h>

#include <regex>

#include "injector/targets/process_identity.h"
#include "injector/undo/journal.h"
#include "tests/system/doctor_bench.h"
#include "tests/system/process_children.h"
#include "tests/system/real_haproxy.h"

using namespace capsize;
using namespace capsize::doctor_test;
using namespace capsize::process_test;

TEST_CASE("a host without faults is clean, however it is set up", "[doctor]") {
  if (!is_root()) return;
  Bench bench;
  // Processes, networks and mounts of its own: what others do on this machine is not seen.
  const std::string set_up =
      "for each in /run/netns/* /run/docker/netns/*; do umount \"$each\" 2>/dev/null; done; "
      "ip link set lo up; ip link add br0 type bridge; ip link add d0 type veth peer name d1; ip link set d0 up; "
      "tc qdisc add dev d0 root handle 1: htb default 1; tc class add dev d0 parent 1: classid 1:1 htb rate 1gbit; tc qdisc add dev d1 clsact; "
      "nft add table inet mine; nft 'add chain inet mine input { type filter hook input priority 0; }'; nft add rule inet mine input tcp dport 23 drop; "
      "iptables -A INPUT -p tcp --dport 25 -j REJECT; iptables -N DOCKER; iptables-legacy -A INPUT -p tcp --dport 25 -j DROP; ";
  const std::string look = capsize_program() + " --json --state " + (bench.folder() / "state").string() + " doctor";
  const Ran ran = bench.sh("unshare --fork --pid --mount --net --mount-proc sh -c '" + std::regex_replace(set_up + look, std::regex("'"), "'\\''") + "'");
  INFO(ran.out << ran.err);
  const Json answer = Json::parse(ran.out, nullptr, false);
  REQUIRE(answer.is_object());
  CHECK(answer["findings"] == Json::array());
  CHECK(answer["not_seen"] == Json::array());
  CHECK(ran.code == 0);
}

TEST_CASE("stopped and traced processes, false clocks and tools are found and undone", "[doctor]") {
  Bench bench;
  Control control;
  SharedMemory shared;
  const auto idle = [] {
    for (;;) ::pause();
    return 0;
  };
  Child stopped(idle);
  ::kill(stopped.pid(), SIGSTOP);
  Child traced(idle);
  Child tracer([&] {
    ::signal(SIGTERM, SIG_DFL);  // not the test framework's
    if (::ptrace(PTRACE_SEIZE, traced.pid(), nullptr, nullptr) != 0) return 1;
    ::ptrace(PTRACE_INTERRUPT, traced.pid(), nullptr, nullptr);
    int status = 0;
    ::waitpid(traced.pid(), &status, __WALL);
    shared->word = 1;
    return idle();
  });
  const fs::path tool = bench.folder() / "toxiproxy-server";
  fs::copy_file("/bin/sleep", tool);
  Spawned proxy({tool.string(), "1000"}, bench.folder() / "tool");
  Spawned fake({"/usr/bin/env", "LD_PRELOAD=/nowhere/libfaketime.so.1", "/bin/sleep", "1000"}, bench.folder() / "fake");
  const auto about = [&](pid_t pid) { return bench.findings(fmt::format("process {} (", pid)); };
  REQUIRE(control.until([&] { return shared->word == 1 && all_in(stopped.pid(), 'T') && all_in(traced.pid(), 't'); }));
  REQUIRE(control.until([&] { return about(fake.pid()).size() == 1 && about(proxy.pid()).size() == 1; }));

  const auto first = about(stopped.pid());
  REQUIRE(kinds(first) == Kinds{"process.stopped"});
  bench.run_undo(first);
  CHECK(control.until([&] { return runs(stopped.pid()); }));
  CHECK(about(stopped.pid()).empty());

  const auto second = about(traced.pid());
  REQUIRE(kinds(second) == Kinds{"process.traced"});
  CHECK(second[0]["undo"] == fmt::format("kill {}", tracer.pid()));
  bench.run_undo(second);
  CHECK(control.until([&] { return runs(traced.pid()); }));
  CHECK(about(traced.pid()).empty());

  CHECK(kinds(about(fake.pid())) == Kinds{"process.faketime"});
  const auto third = about(proxy.pid());
  REQUIRE(kinds(third) == Kinds{"process.tool"});
  bench.run_undo(third);
  CHECK(proxy.wait() == 128 + SIGTERM);
  CHECK(about(proxy.pid()).empty());
}

namespace {

// The folder of a controller, where a cgroup can be made: version 2 wherever it has the file, else version 1.
std::string cgroup_for(Bench& bench, const std::string& v1_controller, const std::string& v2_file) {
  const std::vector<std::string> parents = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/" + v1_controller};
  for (const std::string& parent : parents) {
    if (!fs::exists(parent + "/cgroup.procs")) continue;
    if (!v2_file.starts_with("cgroup.")) bench.sh("echo +" + v1_controller + " > " + parent + "/cgroup.subtree_control");
    const std::string folder = fmt::format("{}/doc-{}-{}", parent, ::getpid(), v1_controller);
    std::error_code problem;
    fs::create_directory(folder, problem);
    const bool is_v1 = parent.ends_with("/" + v1_controller);
    if (!problem && (is_v1 || fs::exists(folder + "/" + v2_file))) {
      bench.at_end("rmdir " + folder);
      return folder;
    }
    fs::remove(folder, problem);
  }
  return "";
}

}  // namespace

TEST_CASE("throttled, frozen and starved cgroups are found and undone", "[doctor]") {
  if (!is_root()) return;
  Bench bench;
  Control control;
  struct Plant {
    const char *controller, *v2_file, *v2_text, *v1_file, *v1_text, *kind;
  };
  const std::string disk = bench.sh("for d in /sys/block/vd* /sys/block/sd* /sys/block/nvme*; do [ -e $d/dev ] && cat $d/dev && break; done").out;
  const std::string device = disk.substr(0, disk.find('\n'));
  const std::string v2_io = device + " wbps=1048576", v1_io = device + " 1048576";
  std::vector<Plant> plants = {{"cpu", "cpu.max", "20000 100000", "cpu.cfs_quota_us", "20000", "cgroup.cpu"},
                               {"freezer", "cgroup.freeze", "1", "freezer.state", "FROZEN", "cgroup.frozen"},
                               {"memory", "memory.max", "4194304", "memory.limit_in_bytes", "4194304", "cgroup.memory"}};
  if (!device.empty()) plants.push_back({"blkio", "io.max", v2_io.c_str(), "blkio.throttle.write_bps_device", v1_io.c_str(), "cgroup.io"});
  std::size_t planted = 0;
  for (const Plant& plant : plants) {
    const std::string folder = cgroup_for(bench, plant.controller, plant.v2_file);
    const bool v2 = !folder.empty() && fs::exists(folder + "/" + plant.v2_file);
    if (folder.empty() || (!v2 && !fs::exists(folder + "/" + plant.v1_file))) {
      WARN("skipped: no cgroup controller " << plant.controller << " here");
      continue;
    }
    Child inside([] {
      for (;;) ::pause();
      return 0;
    });
    bench.must(fmt::format("echo {} > {}/cgroup.procs", inside.pid(), folder));
    CHECK(bench.findings(folder).empty());
    bench.must(fmt::format("echo '{}' > {}/{}", v2 ? plant.v2_text : plant.v1_text, folder, v2 ? plant.v2_file : plant.v1_file));
    ++planted;
    const auto found = bench.findings(folder);
    INFO(Json(found).dump());
    CHECK(kinds(found) == Kinds{plant.kind});
    bench.run_undo(found);
    CHECK(bench.findings(folder).empty());
    inside.kill();
    CHECK(control.until([&] { return read_text(folder + "/cgroup.procs").empty(); }));
  }
  CHECK(planted >= 2);
}

TEST_CASE("servers of a running HAProxy that were set aside are found by themselves and by their socket, and undone", "[doctor]") {
  Bench bench;
  RealHaproxy haproxy({{"weight 10", "weight 10", "weight 10"}, {}, "roundrobin", 1, false, false});
  CHECK(bench.findings(haproxy.socket()).empty());
  haproxy.ask("set server auth/auth1 weight 200");
  haproxy.ask("set server auth/auth2 state drain");
  haproxy.ask("set server auth/auth3 state maint");
  for (const std::vector<std::string>& flags : {std::vector<std::string>{}, std::vector<std::string>{"--haproxy", haproxy.socket()}}) {
    const auto found = bench.findings(haproxy.socket(), flags);
    INFO(bench.last.dump());
    CHECK(kinds(found) == Kinds{"balancer.drain", "balancer.maintenance", "balancer.weight"});
  }
  bench.run_undo(bench.findings(haproxy.socket()));
  CHECK(bench.findings(haproxy.socket()).empty());
  const Json unseen = (bench.findings("nobody", {"--haproxy", "/nowhere/admin.sock"}), bench.last["not_seen"]);
  CHECK(unseen.dump().find("/nowhere/admin.sock") != std::string::npos);
}

TEST_CASE("what a dead run owes is found, and reverted by the command that is named", "[doctor]") {
  Bench bench;
  const std::string run = "20261122-doctor";
  {
    const StateDir state = StateDir::open(bench.folder() / "state");
    JournalRun head;
    head.run = run;
    head.boot_id = boot_id();
    head.agent = {4194000, 1, 0, 0};  // nobody
    head.guard = head.agent;
    head.began = "2026-11-22T00:00:00.000Z";
    Journal journal = Journal::create(state, head);
    JournalStep step;
    step.id = "f0.s0";
    step.undo = {"net.cut_done", {{"place", {{"path", ""}, {"inode", 0}}}, {"affected", Json::array()}, {"exempt", Json::array()}}};
    step.lasts = Lasts::until_restart;
    step.at = head.began;
    journal.add_step(step);
  }
  const auto found = bench.findings(run);
  INFO(bench.last.dump());
  REQUIRE(kinds(found) == Kinds{"journal"});
  CHECK(found[0]["severity"] == "harm");
  CHECK(found[0]["undo"] == "capsize revert " + run);
  bench.must("PATH=" + std::string(CAPSIZE_BINARY_DIR) + ":$PATH CAPSIZE_STATE=" + (bench.folder() / "state").string() + " " + found[0]["undo"].get<std::string>());
  CHECK(bench.findings(run).empty());
}

TEST_CASE("without privileges it says what it could not see, and exits by what it did", "[doctor]") {
  if (!is_root()) return;
  Bench bench;
  const std::string net = bench.new_network();
  fs::permissions(bench.folder(), fs::perms::all);
  const fs::path program = bench.folder() / "capsize";
  fs::copy_file(capsize_program(), program);
  const Ran ran = bench.sh("setpriv --reuid 65534 --regid 65534 --clear-groups " + program.string() + " --json --state " + (bench.folder() / "none").string() + " doctor");
  INFO(ran.out << ran.err);
  const Json answer = Json::parse(ran.out, nullptr, false);
  REQUIRE(answer.is_object());
  CHECK(answer["complete"] == false);
  CHECK(answer["not_seen"].dump().find("the rules of nftables of this host") != std::string::npos);
  CHECK(answer["not_seen"].dump().find("\"network namespace /run/netns/" + net + "\"") != std::string::npos);  // once, with the reason
  CHECK(answer["not_seen"].dump().find("CAP_NET_ADMIN") != std::string::npos);
  CHECK(answer["not_seen"].dump().find("the network namespaces of ") != std::string::npos);
  CHECK(answer["not_seen"].dump().find("the queueing disciplines of this host") == std::string::npos);  // everybody may see those
  CHECK((ran.code == 0 || ran.code == 1));
}

TEST_CASE("it changes nothing, speaks in plain text to a file, and teaches", "[doctor]") {
  if (!is_root()) return;
  Bench bench;
  const std::string net = bench.new_network();
  const std::string in = "ip netns exec " + net + " ";
  bench.must(in + "nft add table inet mine && " + in + "iptables -A INPUT -m statistic --mode random --probability 0.3 -j DROP && " + in + "tc qdisc add dev d0 root tbf rate 1mbit burst 10kb latency 10ms");
  const std::string state = in + "nft -a list ruleset; " + in + "tc qdisc show; " + in + "tc filter show dev d0; ip -n " + net + " -o link; " + in + "cat /proc/net/ip_tables_names";
  const std::string before = bench.sh(state).out;
  const Ran ran = run_capsize({"--state", (bench.folder() / "state").string(), "doctor"}, bench.folder());
  CHECK(bench.sh(state).out == before);
  CHECK_FALSE(fs::exists(bench.folder() / "state"));
  CHECK(ran.code == 1);
  CHECK(ran.out.find('\x1b') == std::string::npos);
  CHECK(ran.out.find("harm      a rule drops packets at random\n") != std::string::npos);
  CHECK(ran.out.find("undo  nsenter --net=/run/netns/" + net + " tc qdisc del dev d0 root\n") != std::string::npos);
  CHECK(ran.out.find("\nLooked at ") != std::string::npos);
  const std::size_t harm = ran.out.find("\nharm "), suspect = ran.out.find("\nsuspect ");
  CHECK(harm < suspect);
  const Ran help = run_capsize({"doctor", "--help"}, bench.folder());
  CHECK(help.code == 0);
  for (const char* word : {"changes nothing", "--haproxy", "traffic control", "leftover", "Exit code 0", "not seen"}) CHECK(help.out.find(word) != std::string::npos);
}
