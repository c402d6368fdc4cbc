// The command line as scripts see it: exit codes are pinned, and what must not touch anything does not.
#include "tests/system/machine.h"

using namespace capsize;

namespace {

// Seven mistakes, each of another kind, on known lines.
constexpr const char* kSevenMistakes = R"({
  "playbook": 1,
  "title": "seven mistakes",
  "targets": { "balancer": { "type": "haproxyy", "socket": "/run/x.sock", "backend": "auth" } },
  "probes": { "login": { "probe": "login.http", "url": "http://127.0.0.1:8000/login", "rate": "120" } },
  "timing": { "baseline": "10" },
  "steady_state": [ { "measure": "login.sucess_ratio", "at_least": "99%" } ],
  "faults": [ { "fault": "balancer.skew", "target": "balancer", "server": "auth1", "share": "180%" } ],
  "hypothesis": [ { "measure": "recovery_time", "at_most": "99%" } ]
})";

}  // namespace

TEST_CASE("exit codes are pinned: 0 for help, 64 for a wrong command line, 69 for a missing file", "[cli][beside]") {
  const TestFolder folder;
  CHECK(run_capsize({"--version"}, folder.path()).code == 0);
  CHECK(run_capsize({"--help"}, folder.path()).code == 0);
  CHECK(run_capsize({"tip-over"}, folder.path()).code == 64);
  CHECK(run_capsize({"check", (folder / "none.json").string()}, folder.path()).code == 69);
}

TEST_CASE("seven mistakes get seven diagnostics with their lines, exit 65, and not one packet is sent", "[cli][beside]") {
  const TestFolder folder;
  write_text(folder / "seven.json", kSevenMistakes);
  const std::string trace = (folder / "trace").string();
  Spawned run({"/usr/bin/strace", "-f", "-e", "trace=%network", "-o", trace, capsize_program(), "--state", (folder / "state").string(), "run", (folder / "seven.json").string()}, folder / "out");
  CHECK(run.wait() == 65);
  std::vector<int> lines;
  std::istringstream text(run.err());
  for (std::string line; std::getline(text, line);) {
    const std::size_t at = line.find("seven.json:");
    if (at != std::string::npos) lines.push_back(std::stoi(line.substr(at + 11)));
  }
  INFO(run.err());
  CHECK(lines == std::vector<int>{4, 5, 6, 7, 8, 8, 9});
  CHECK(read_text(trace).find("connect(") == std::string::npos);
  CHECK(read_text(trace).find("sendto(") == std::string::npos);
}

TEST_CASE("plan prints each step and its undo, and writes nothing to HAProxy but queries", "[cli][beside]") {
  const LabFixture lab;
  const std::string trace = (lab.folder() / "trace").string();
  const std::string playbook = std::string(CAPSIZE_SOURCE_DIR) + "/experiments/playbooks/favourite-server.json";
  const std::string before = balancer_state(lab.variable("balancer_socket"));
  Spawned plan({"/usr/bin/strace", "-f", "-s", "400", "-e", "trace=write,writev,sendto,sendmsg", "-o", trace, capsize_program(), "--state", (lab.folder() / "state").string(), "plan", "--variables", lab.file().string(), playbook}, lab.folder() / "out");
  CHECK(plan.wait() == 0);
  CHECK(plan.out().find("haproxy.weights") != std::string::npos);
  CHECK(plan.out().find("haproxy.restore_weights") != std::string::npos);
  const std::string calls = read_text(trace);
  CHECK(calls.find("show servers state auth") != std::string::npos);
  for (const char* change : {"set server", "set weight", "set maxconn", "disable ", "enable "}) CHECK(calls.find(change) == std::string::npos);
  CHECK(balancer_state(lab.variable("balancer_socket")) == before);
}

TEST_CASE("a lab can be brought up, looked at and taken down by hand", "[cli][beside]") {
  const TestFolder folder;
  const std::string dir = (folder / "lab").string();
  const Ran up = run_capsize({"lab", "up", "--dir", dir}, folder.path());
  INFO(up.err);
  CHECK(up.code == 0);
  CHECK(up.out.find("login_url") != std::string::npos);
  CHECK(run_capsize({"lab", "status", "--dir", dir}, folder.path()).code == 0);
  CHECK(run_capsize({"lab", "down", "--dir", dir}, folder.path()).code == 0);
  CHECK(run_capsize({"lab", "status", "--dir", dir}, folder.path()).code == 1);
}
