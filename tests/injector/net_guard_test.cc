// The lock-out guard: no fault of the network meets the connections by which this machine is controlled, unless the playbook allows it.
#include "tests/injector/net_view.h"

#include "injector/net/tcp_table.h"
#include "injector/ops/net_looks.h"
#include "tests/injector/scratch_dir.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kDelay = {{"delay", "200ms"}};

Json controlled_machine() {
  Json out = net_machine();
  out["net.control_path"] = Json::parse(R"({
    "connections": [{"what": "the SSH session that capsize was started from", "protocol": "tcp", "namespace": 100,
                     "local": {"address": "10.0.0.5", "port": 22}, "peer": {"address": "10.1.2.3", "port": 50122}}],
    "resolvers": ["10.0.0.2"], "namespace": 100})");
  return out;
}

Json peers(const char* address) { return {{"peers", Json::array({address})}}; }

// A /proc with processes that have sockets.
class ProcWithSockets {
 public:
  void process(int pid, const std::string& name, int parent, const std::vector<std::pair<int, int>>& descriptors) {
    const auto folder = root_.path() / std::to_string(pid);
    std::filesystem::create_directories(folder / "fd");
    std::filesystem::create_directories(folder / "net");
    write_file(folder / "stat", std::to_string(pid) + " (" + name + ") S " + std::to_string(parent) + " 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 100 0 0\n");
    write_file(folder / "net" / "tcp", "header\n");
    for (const auto& [number, inode] : descriptors) std::filesystem::create_symlink("socket:[" + std::to_string(inode) + "]", folder / "fd" / std::to_string(number));
  }
  void connection(int pid, const char* local, const char* peer, int inode) {
    std::ofstream(root_.path() / std::to_string(pid) / "net" / "tcp", std::ios::app) << "   0: " << local << " " << peer << " 01 0:0 0:0 0 0 0 " << inode << " 1\n";
  }
  Words found(const std::string& session = "") const {
    const Json answer = find_control_path(ProcFs(root_.path().string(), false), 40, session);
    Words out;
    for (const Json& one : answer["connections"]) out.push_back(one["what"].get<std::string>() + ": " + one["peer"]["address"].get<std::string>() + " " + one["peer"]["port"].dump());
    return out;
  }

 private:
  ScratchDir root_;
};

}  // namespace

TEST_CASE("the sessions above the agent, and what it speaks through, are the control path", "[net.guard]") {
  ProcWithSockets proc;
  proc.process(1, "systemd", 0, {{9, 1}});
  proc.process(10, "sshd", 1, {{4, 10}, {5, 11}});
  proc.process(20, "bash", 10, {});
  proc.process(30, "python3", 20, {{7, 30}, {8, 31}});
  proc.process(40, "capsize", 30, {{0, 40}, {6, 41}});
  proc.connection(1, "0500000A:0050", "0902010A:1000", 1);
  proc.connection(10, "0500000A:0016", "0302010A:C3CA", 10);
  proc.connection(30, "0500000A:8001", "0402010A:01BB", 30);
  proc.connection(30, "0100007F:8002", "0100007F:1F91", 31);
  proc.connection(40, "0500000A:9999", "0602010A:8003", 40);
  proc.connection(40, "0500000A:8004", "0702010A:01BB", 41);
  CHECK(proc.found() == Words{"the connection that capsize's agent speaks through: 10.1.2.6 32771", "a connection of python3 (process 30), from which capsize was started: 10.1.2.4 443",
                              "the session of sshd (process 10), from which capsize was started: 10.1.2.3 50122"});
}

TEST_CASE("the SSH session that the environment names is the control path, also where its processes are out of sight", "[net.guard]") {
  ProcWithSockets proc;
  proc.process(40, "capsize", 0, {});
  CHECK(proc.found("10.1.2.3 50122 10.0.0.5 22") == Words{"the SSH session that capsize was started from: 10.1.2.3 50122"});
  CHECK(proc.found("fe80::1%eth0 50122 fe80::2%eth0 22") == Words{"the SSH session that capsize was started from: fe80::1 50122"});
  for (const char* odd : {"", "10.1.2.3", "a b c d", "10.1.2.3 99999 10.0.0.5 22"}) CHECK(proc.found(odd).empty());
}

TEST_CASE("a fault that covers the SSH session in use is refused, and names it", "[net.guard]") {
  const test::Refused refused = refusal_of("net.delay", "network", peers("10.1.0.0/16"), kDelay, controlled_machine());
  says(refused, ErrorKind::refused, "this fault would meet the SSH session that capsize was started from (with 10.1.2.3:50122)");
  says(refused, ErrorKind::refused, "\"allow\": [\"control_path\"]");
  says(refusal_of("net.delay", "network", {{"local_ports", {22}}}, {{"delay", "1s"}, {"direction", "out"}}, controlled_machine()), ErrorKind::refused, "the SSH session");
  says(refusal_of("net.delay", "service", {{"address", "0.0.0.0:22"}}, kDelay, controlled_machine()), ErrorKind::refused, "the SSH session");
  says(refusal_of("net.delay", "network", Json::object(), kDelay, controlled_machine(), {"everything"}), ErrorKind::refused, "the SSH session");
}

TEST_CASE("with permission the control path is met too, and the report says that it was needed", "[net.guard]") {
  const FaultPlan plan = plan_of("net.delay", "network", peers("10.1.0.0/16"), kDelay, controlled_machine(), {"control_path"});
  CHECK(plan.allowed == Words{"control_path"});
  CHECK(impairment_of(plan).exempt.empty());
  CHECK(plan_of("net.delay", "network", peers("10.7.0.0/16"), kDelay, controlled_machine(), {"control_path"}).allowed.empty());
}

TEST_CASE("the control path is exempt from every fault, also from those that seem not to meet it", "[net.guard]") {
  const Impairment one = impairment_of(plan_of("net.delay", "network", peers("10.7.0.0/16"), kDelay, controlled_machine()));
  Words exempt;
  for (const PacketMatch& match : one.exempt) exempt.push_back(describe(match));
  CHECK(exempt == Words{"tcp packets from 10.0.0.5:22 to 10.1.2.3:50122 arriving", "tcp packets from 10.1.2.3:50122 to 10.0.0.5:22 arriving", "packets to 10.0.0.2:53 arriving",
                        "packets from 10.0.0.2:53 arriving"});
}

TEST_CASE("the resolver and HAProxy's admin sockets are guarded too", "[net.guard]") {
  says(refusal_of("net.delay", "network", peers("10.0.0.2"), kDelay, controlled_machine()), ErrorKind::refused, "the resolver 10.0.0.2");
  says(refusal_of("net.delay", "network", peers("10.0.0.9"), kDelay, controlled_machine(), {}, {"10.0.0.9:9999"}), ErrorKind::refused,
       "HAProxy's admin socket 10.0.0.9:9999, which this run needs in order to undo");
  Json named = controlled_machine();
  named["net.resolve"]["addresses"] = Json::parse(R"({"edge.staging": ["10.0.0.9"]})");
  says(refusal_of("net.delay", "network", peers("10.0.0.9"), kDelay, named, {}, {"edge.staging:9999"}), ErrorKind::refused, "HAProxy's admin socket edge.staging:9999");
  CHECK(plan_of("net.delay", "network", {{"peers", {"10.0.0.9"}}, {"peer_ports", {443}}}, kDelay, controlled_machine(), {}, {"10.0.0.9:9999"}).allowed.empty());
}

TEST_CASE("a service is not taken for a client of the resolver, whatever its port", "[net.guard]") {
  Json machine = controlled_machine();
  machine["net.control_path"]["resolvers"] = {"127.0.0.53"};
  CHECK(plan_of("net.delay", "service", {{"address", "127.0.0.1:45123"}}, {{"delay", "1s"}, {"direction", "out"}}, machine).allowed.empty());
}

TEST_CASE("in another network namespace only its own connections matter", "[net.guard]") {
  Json machine = controlled_machine();
  machine["net.resolve"]["place"] = {{"path", "/run/netns/blue"}, {"inode", 200}};
  machine["net.resolve"]["own_namespace"] = false;
  const FaultPlan plan = plan_of("net.delay", "network", {{"peers", {"10.0.0.0/8"}}, {"network_namespace", "/run/netns/blue"}}, kDelay, machine, {}, {"10.0.0.9:9999"});
  CHECK(plan.allowed.empty());
  CHECK(impairment_of(plan).exempt.empty());
  machine["net.control_path"]["connections"][0]["namespace"] = 200;
  says(refusal_of("net.delay", "network", {{"peers", {"10.0.0.0/8"}}}, kDelay, machine), ErrorKind::refused, "the SSH session");
}

TEST_CASE("the kernel's table of TCP sockets is read, and IPv4 in IPv6 notation is IPv4", "[net.guard]") {
  const auto sockets = parse_tcp_table(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0\n"
      "   1: 0500000A:0016 0302010A:C3CA 01 00000000:00000000 02:000A7B4E 00000000     0        0 4712 4 0000000000000000 20 4 31 10 -1\n"
      "   2: 0000000000000000FFFF00000500000A:0016 0000000000000000FFFF00000302010A:C3CB 01 00000000:00000000 00:00000000 00000000 0 0 4713 1\n"
      "   3: 00000000000000000000000001000000:0050 00000000000000000000000001000000:8000 01 00000000:00000000 00:00000000 00000000 0 0 4714 1\n"
      "nonsense\n   4: XX:1 YY:2 01 0 0 0 0 0 0\n");
  REQUIRE(sockets.size() == 4);
  CHECK(sockets[0].listens);
  CHECK(show(sockets[0].local.address) == "127.0.0.1");
  CHECK(sockets[0].local.port == 8081);
  CHECK_FALSE(sockets[1].listens);
  CHECK(show(sockets[1].local.address) == "10.0.0.5");
  CHECK(show(sockets[1].peer.address) == "10.1.2.3");
  CHECK(sockets[1].peer.port == 50122);
  CHECK(sockets[1].inode == 4712);
  CHECK(show(sockets[2].peer.address) == "10.1.2.3");
  CHECK(show(sockets[3].local.address) == "::1");
  CHECK(sockets[3].peer.port == 32768);
  CHECK(parse_tcp_table("").empty());
}

TEST_CASE("the nameservers of resolv.conf are read, whatever else is in it", "[net.guard]") {
  CHECK(parse_nameservers("# nameserver 1.1.1.1\nsearch staging\nnameserver 10.0.0.2\nnameserver\tfd00::2%eth0\n nameserver 127.0.0.53 # local\nnameserver none\noptions edns0\n") ==
        Words{"10.0.0.2", "fd00::2", "127.0.0.53"});
}
