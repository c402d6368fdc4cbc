// Whole runs of the command line against the real lab: what an operator does in the middle of one.
#include "tests/system/machine.h"

using namespace capsize;

namespace {

constexpr const char* kPlaybook = R"({
  "playbook": 1, "title": "an operator in the middle",
  "variables": {"login_url": "", "session_url": "", "balancer_socket": "", "backend": "", "lasts": "4s"},
  "targets": {"balancer": {"type": "haproxy", "socket": "${balancer_socket}", "backend": "${backend}"}},
  "probes": {"login": {"probe": "login.http", "url": "${login_url}", "session_url": "${session_url}", "rate": "60/s", "timeout": "1s"}},
  "timing": {"baseline": "2s", "recovery": "10s", "settle": "2s"},
  "steady_state": [{"measure": "login.success_ratio", "at_least": "1%"}],
  "faults": [{"fault": "balancer.skew", "target": "balancer", "server": "auth1", "share": "70%", "for": "${lasts}"}]
})";

class Bench {
 public:
  Bench() {
    write_text(folder() / "playbook.json", kPlaybook);
    before = state();
  }
  std::filesystem::path folder() const { return lab.folder(); }
  std::string state() const { return balancer_state(lab.variable("balancer_socket")); }
  std::vector<std::string> run_words(const std::string& lasts) const {
    return {"--state", (folder() / "state").string(), "run", "--variables", lab.file().string(), "--set", "lasts=" + lasts, "--out", (folder() / "out").string(), (folder() / "playbook.json").string()};
  }
  std::unique_ptr<Spawned> start(const std::string& lasts) const {
    auto words = run_words(lasts);
    words.insert(words.begin(), capsize_program());
    return std::make_unique<Spawned>(words, folder() / "output");
  }
  bool wait_for(const std::string& event) const {
    return eventually([&] { return read_text(folder() / "out" / "timeline.jsonl").find(event) != std::string::npos; }, std::chrono::seconds(30));
  }
  Ran capsize(std::vector<std::string> words) const {
    words.insert(words.begin(), {"--state", (folder() / "state").string()});
    return run_capsize(words, folder());
  }
  std::string run_id() const {
    const std::string text = read_text(folder() / "out" / "timeline.jsonl");
    return Json::parse(text.substr(0, text.find('\n'))).at("run").get<std::string>();
  }

  LabFixture lab;
  std::string before;
};

}  // namespace

TEST_CASE("a weight changed by hand in the fault stays, and the run ends as residue until an operator accepts it", "[run]") {
  const Bench bench;
  const auto run = bench.start("4s");
  REQUIRE(bench.wait_for("\"event\":\"injected\""));
  ask_haproxy(bench.lab.variable("balancer_socket"), "set server auth/auth2 weight 42");
  CHECK(run->wait() == 6);
  INFO(run->out() << run->err());
  CHECK(run->out().find("auth/auth2 has weight 42") != std::string::npos);
  CHECK(bench.state() == "auth1 weight=10 admin=0; auth2 weight=42 admin=0; auth3 weight=10 admin=0; ");
  CHECK(bench.capsize({"status"}).code == 6);
  std::filesystem::rename(bench.folder() / "out", bench.folder() / "first");
  const std::string id = Json::parse(read_text(bench.folder() / "first" / "verdict.json")).at("run").get<std::string>();
  CHECK(run_capsize(bench.run_words("4s"), bench.folder()).code == 6);  // a next run is refused before it does anything
  CHECK(bench.capsize({"revert", id}).code == 6);
  CHECK(bench.state() == "auth1 weight=10 admin=0; auth2 weight=42 admin=0; auth3 weight=10 admin=0; ");
  CHECK(bench.capsize({"revert", id, "--accept", "42 is wanted"}).code == 0);
  CHECK(bench.capsize({"status"}).code == 0);
}

TEST_CASE("the stop button reverts at once, and a second signal does not skip the undo", "[run]") {
  const Bench bench;
  const auto run = bench.start("60s");
  REQUIRE(bench.wait_for("\"event\":\"injected\""));
  CHECK(bench.state() != bench.before);
  CHECK(bench.capsize({"stop", bench.run_id()}).code == 0);
  run->signal(SIGINT);
  run->signal(SIGTERM);
  CHECK(run->wait() == 5);
  CHECK(bench.state() == bench.before);
  CHECK(bench.capsize({"status"}).code == 0);
  double stopped = -1;
  double reverting = -1;
  std::istringstream lines(read_text(bench.folder() / "out" / "timeline.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json event = Json::parse(line);
    if (event["event"] == "stop") stopped = event["t"];
    if (event["event"] == "phase" && event["phase"] == "revert") reverting = event["t"];
  }
  CHECK(stopped >= 0);
  CHECK(reverting - stopped <= 0.1);
  CHECK(bench.capsize({"stop", "no-such-run"}).code == 69);
}

TEST_CASE("the outage is refuted as it was and held when hardened, with the reports written", "[run]") {
  const TestFolder folder;
  const std::string playbook = std::string(CAPSIZE_SOURCE_DIR) + "/experiments/playbooks/favourite-server.json";
  const auto play = [&](const std::string& profile) { return run_capsize({"--state", (folder / "state").string(), "run", "--lab", profile, "--out", (folder / profile).string(), playbook}, folder.path()); };
  const Ran as_it_was = play("as-it-was");
  INFO(as_it_was.out << as_it_was.err);
  CHECK((as_it_was.code == 1 || as_it_was.code == 2));
  // Nothing in this profile turns anyone away: a login denied would be one that the lab and the load do not agree on.
  CHECK(read_text(folder / "as-it-was" / "timeline.jsonl").find("\"denied\":") == std::string::npos);
  const Ran hardened = play("hardened");
  INFO(hardened.out << hardened.err);
  CHECK(hardened.code == 0);
  for (const char* file : {"playbook.json", "timeline.jsonl", "verdict.json", "report.html", "junit.xml", "report.md"}) CHECK(std::filesystem::file_size(folder / "hardened" / file) > 0);
  CHECK(run_capsize({"judge", (folder / "as-it-was").string()}, folder.path()).code == as_it_was.code);
  CHECK(std::filesystem::is_empty(folder / "state" / "labs"));
}

TEST_CASE("a backend that answers later is refuted as it was, by its latency alone, and nothing is left of it", "[run]") {
  if (::geteuid() != 0) return;  // faults of the network need CAP_NET_ADMIN
  const TestFolder folder;
  const std::string playbook = std::string(CAPSIZE_SOURCE_DIR) + "/experiments/playbooks/slow-backend.json";
  const Ran ran = run_capsize({"--state", (folder / "state").string(), "run", "--lab", "as-it-was", "--out", (folder / "out").string(), playbook}, folder.path());
  INFO(ran.out << ran.err);
  CHECK(ran.code == 1);
  const Json verdict = Json::parse(read_text(folder / "out" / "verdict.json"));
  for (const Json& finding : verdict.at("findings")) {
    const bool is_latency = finding["expectation"].get<std::string>().find("login.latency") == 0;
    INFO(finding.dump());
    CHECK(finding["holds"] == (is_latency ? "no" : "yes"));
  }
  CHECK(verdict["faults"][0]["effect"]["bites"] == true);
  CHECK(verdict["faults"][0]["undo"] == "undone");
}
