// Whole experiments in virtual time: the shipped playbooks against both profiles, and every way a run can end.
#include <set>

#include "tests/sim/login_world.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

std::string outcome(const LoginWorld::Result& result) { return result.verdict.value("outcome", ""); }
std::string because(const LoginWorld::Result& result) { return result.verdict.value("because", ""); }

bool injected(const LoginWorld::Result& result) {
  for (const Json& event : result.events) {
    if (event["event"] == "injected") return true;
  }
  return false;
}

std::string weights(LoginWorld& world) {
  std::string out;
  for (const auto& server : world.haproxy.servers()) out += std::to_string(server.weight) + "/" + std::to_string(server.admin_state) + " ";
  return out;
}

const std::string kUntouched = "10/0 10/0 10/0 ";

// The favourite-server playbook, short, with what a test adds.
Json skew_playbook() {
  return Json::parse(R"({
    "playbook": 1, "title": "skew",
    "variables": {"login_url": "", "session_url": "", "balancer_socket": "", "backend": ""},
    "targets": {"balancer": {"type": "haproxy", "socket": "${balancer_socket}", "backend": "${backend}"}},
    "probes": {
      "login": {"probe": "login.http", "url": "${login_url}", "session_url": "${session_url}", "rate": "165/s", "users": 500, "timeout": "1s", "wrong_password_share": "5%"},
      "shares": {"probe": "balancer.shares", "target": "balancer"}
    },
    "timing": {"baseline": "4s", "recovery": "40s", "settle": "5s"},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "99%"}],
    "faults": [{"fault": "balancer.skew", "target": "balancer", "server": "auth1", "share": "80%", "for": "10s"}],
    "hypothesis": [{"measure": "login.success_ratio", "during": "fault", "at_least": "95%"}]
  })");
}

}  // namespace

TEST_CASE("every shipped playbook ends as it should, in both profiles, with and without its faults", "[sim]") {
  struct Row {
    const char* playbook;
    std::set<std::string> as_it_was;
    std::set<std::string> hardened;
  };
  const std::vector<Row> rows = {  // but retry-storm.json, which has tests of its own: load_escape_test.cc
      {"favourite-server.json", {"refuted", "unrecovered"}, {"held"}},
      {"drained-server.json", {"held"}, {"held"}},
      {"frozen-server.json", {"refuted", "unrecovered"}, {"held"}},
      {"no-fault.json", {"held"}, {"held"}},
      {"slow-backend.json", {"refuted"}, {"held"}},
      {"lossy-link.json", {"refuted"}, {"held"}},
      {"cut-off-server.json", {"refuted", "unrecovered"}, {"held"}},
      {"slow-database.json", {"held"}, {"held"}},
  };
  for (const Row& row : rows) {
    for (const std::string profile : {"as-it-was", "hardened"}) {
      for (const bool without_faults : {false, true}) {
        LoginWorld world(profile);
        const auto result = world.run(world.shipped(row.playbook), 1, without_faults);
        INFO(row.playbook << " " << profile << (without_faults ? " without faults" : "") << ": " << outcome(result) << ": " << because(result) << "\n" << result.verdict.dump(1));
        const std::set<std::string> held = {"held"};
        CHECK((without_faults ? held : profile == "hardened" ? row.hardened : row.as_it_was).count(outcome(result)) == 1);
        CHECK(weights(world) == kUntouched);
        CHECK(result.verdict["residue"].empty());
        CHECK(world.network.undisturbed());
      }
    }
  }
}

// Not only how it ends: why. A playbook that is refuted by something else than what it tells of would teach the wrong thing.
TEST_CASE("each network playbook is refuted for the reason its description gives", "[sim]") {
  struct Row {
    const char* playbook;
    const char* missed;  // the one expectation that is
  };
  for (const Row& row : {Row{"slow-backend.json", "login.latency.p90"}, Row{"lossy-link.json", "login.success_ratio"}, Row{"cut-off-server.json", "login.success_ratio"}}) {
    LoginWorld world("as-it-was");
    const auto result = world.run(world.shipped(row.playbook));
    INFO(row.playbook << "\n" << result.verdict.dump(1));
    for (const Json& finding : result.verdict["findings"]) {
      const bool missed = finding["expectation"].get<std::string>().find(row.missed) != std::string::npos;
      CHECK(finding["holds"] == (missed ? "no" : "yes"));
    }
    CHECK(result.verdict["faults"][0]["effect"]["bites"] == true);
  }
}

TEST_CASE("a slow database is innocent until it takes the slots away: then no balancer helps", "[sim]") {
  for (const std::string profile : {"as-it-was", "hardened"}) {
    LoginWorld world(profile);
    const auto result = world.run(world.playbook(file_text(std::filesystem::path(CAPSIZE_SOURCE_DIR) / "experiments/playbooks/slow-database.json"), {{"later", "400ms"}}));
    INFO(profile << "\n" << result.verdict.dump(1));
    CHECK((outcome(result) == "refuted" || outcome(result) == "aborted" || outcome(result) == "unrecovered"));
    CHECK(result.verdict["findings"][0]["holds"] == "no");
  }
}

TEST_CASE("the same playbook and seed give byte-identical timelines, another seed does not", "[sim]") {
  const auto timeline = [](std::uint64_t seed) {
    LoginWorld world("as-it-was");
    // The socket's folder is a new one each time: what a run is aimed at is part of what it records.
    Playbook playbook = world.playbook(skew_playbook().dump());
    std::string text = world.run(playbook, seed).timeline;
    const std::string socket = world.variables().at("balancer_socket").get<std::string>();
    for (std::size_t at; (at = text.find(socket)) != std::string::npos;) text.replace(at, socket.size(), "SOCKET");
    return text;
  };
  const std::string first = timeline(7);
  CHECK(first == timeline(7));
  CHECK(first != timeline(8));
}

TEST_CASE("the outage in numbers: most logins fail in the fault, a third after it, and recovery is timed", "[sim]") {
  LoginWorld world("as-it-was");
  const auto result = world.run(world.shipped("favourite-server.json"));
  const Json finding = result.verdict["findings"][0];
  CHECK(finding["holds"] == "no");
  CHECK(finding["evidence"]["value"].get<double>() < 0.6);
  CHECK(result.verdict["recovery"]["recovered"] == true);
  CHECK(result.verdict["recovery"]["seconds"].get<double>() > 3);
  CHECK(result.verdict["faults"][0]["effect"]["bites"] == true);
  CHECK(result.verdict["faults"][0]["undo"] == "undone");
}

TEST_CASE("in the outage the database is ruled out and the favourite is named", "[sim]") {
  LoginWorld world("as-it-was");
  const auto result = world.run(world.shipped("favourite-server.json"));
  std::map<std::string, std::string> words;
  for (const Json& line : result.verdict["suspects"]) words[line["probe"]] = line["word"];
  INFO(result.verdict["suspects"].dump(1));
  CHECK(words == std::map<std::string, std::string>{{"database", "ruled out"}, {"at1", "moved"}, {"at2", "ruled out"}, {"at3", "ruled out"}});
  CHECK(result.verdict["recovery"]["rebalance"]["skewed"].get<double>() > 0.3);
  CHECK(result.verdict["recovery"]["rebalance"]["half_life"].get<double>() < 3);
}

TEST_CASE("the verdict names the whole seed, so that the run can be repeated", "[sim]") {
  LoginWorld world("hardened");
  const std::uint64_t seed = 0xfedc'ba98'7654'3211;
  CHECK(world.run(world.shipped("no-fault.json"), seed).verdict["seed"].get<std::uint64_t>() == seed);
}

TEST_CASE("a secret that is in the steps of a fault is in no event, nor in its verdict, nor in the plan that is printed", "[sim][secrets]") {
  LoginWorld world("hardened");
  Playbook playbook = world.shipped("favourite-server.json");
  playbook.title = "as the operator said: hunter-twenty-two";
  playbook.secrets = {world.variables().at("balancer_socket").get<std::string>(), "hunter-twenty-two", "operator", "injected"};
  const auto result = world.run(playbook);
  CHECK(result.verdict["outcome"] == "held");
  const auto holds_secret = [&](const std::string& text) { return text.find(playbook.secrets[0]) != std::string::npos || text.find("hunter") != std::string::npos; };
  bool planned = false;
  for (const Json& event : result.events) {
    INFO(event.dump());
    CHECK(!holds_secret(event.dump()));
    if (event["event"] != "planned") continue;
    planned = true;
    CHECK(event["steps"].dump().find("\"***\"") != std::string::npos);
  }
  CHECK(planned);
  CHECK(!holds_secret(result.timeline));
  CHECK(!holds_secret(result.verdict.dump()));
  CHECK(result.verdict["title"] == "as the *** said: ***");
  CHECK(plan_json(playbook, PreparedRun())["title"] == "as the *** said: ***");
  // What a record is read by stays, whatever the secret is.
  LoginWorld other("hardened");
  Playbook again = other.shipped("favourite-server.json");
  again.secrets = {"operator"};
  other.at(9s, [](StopSource& stop) { stop.request("operator", "the operator"); });
  const auto stopped = other.run(again);
  CHECK(stopped.verdict["outcome"] == "aborted");
  CHECK(stopped.verdict["because"] == "the ***");
}

TEST_CASE("a baseline that is not steady gets no fault", "[sim]") {
  LoginWorld world("as-it-was");
  world.service_up = false;
  const auto result = world.run(world.playbook(skew_playbook().dump()));
  CHECK(outcome(result) == "inconclusive");
  CHECK_FALSE(injected(result));
  CHECK(world.haproxy.changes.empty());
}

TEST_CASE("an operator's stop in the fault reverts at once and the run is aborted", "[sim]") {
  LoginWorld world("as-it-was");
  world.at(6s, [](StopSource& stop) { stop.request("operator", "stopped by an operator (Ctrl-C)"); });
  const auto result = world.run(world.playbook(skew_playbook().dump()));
  CHECK(outcome(result) == "aborted");
  CHECK(weights(world) == kUntouched);
  double stopped = 0;
  double reverting = 0;
  for (const Json& event : result.events) {
    if (event["event"] == "stop") stopped = event["t"];
    if (event["event"] == "phase" && event["phase"] == "revert") reverting = event["t"];
  }
  CHECK(result.verdict["recovery"]["recovered"].is_null());  // nobody watched: that is not "not recovered"
  CHECK(stopped == Approx(6).margin(0.001));
  CHECK(reverting - stopped <= 0.1);
}

TEST_CASE("a guardrail stops the run when its bound is broken for long enough, and reverts", "[sim]") {
  LoginWorld world("as-it-was");
  Json playbook = skew_playbook();
  playbook["abort_when"] = Json::array({{{"measure", "login.success_ratio"}, {"below", "50%"}, {"for", "2s"}}});
  const auto result = world.run(world.playbook(playbook.dump()));
  INFO(because(result));
  CHECK(outcome(result) == "aborted");
  CHECK(because(result).find("guardrail") != std::string::npos);
  CHECK(weights(world) == kUntouched);
}

TEST_CASE("a fault that did not bite makes the run invalid, never held", "[sim]") {
  LoginWorld world("hardened");
  world.at(4500ms, [&world](StopSource&) {
    for (const char* name : {"auth1", "auth2", "auth3"}) world.haproxy.server(name).weight = 10;  // somebody puts it right at once
  });
  const auto result = world.run(world.playbook(skew_playbook().dump()));
  INFO(result.verdict.dump(1));
  CHECK(outcome(result) == "invalid");
}

TEST_CASE("a balancer that ignores what it is told fails the apply, and the run is invalid", "[sim]") {
  LoginWorld world("as-it-was");
  world.haproxy.ignores_changes = true;
  const auto result = world.run(world.playbook(skew_playbook().dump()));
  CHECK(outcome(result) == "invalid");
  CHECK(weights(world) == kUntouched);
}

TEST_CASE("a weight that an operator changed in the fault stays, and the run ends as residue naming it", "[sim]") {
  LoginWorld world("as-it-was");
  world.at(8s, [&world](StopSource&) { world.haproxy.server("auth2").weight = 42; });
  const auto result = world.run(world.playbook(skew_playbook().dump()));
  CHECK(outcome(result) == "residue");
  REQUIRE(result.verdict["residue"].size() == 1);
  CHECK(result.verdict["residue"][0]["because"].get<std::string>().find("auth2") != std::string::npos);
  CHECK(weights(world) == "10/0 42/0 10/0 ");
}

TEST_CASE("a service that takes wrong passwords is refuted even when everyone gets in", "[sim]") {
  LoginWorld world("hardened");
  world.why_wrongly_accepted = "fails open";
  Json playbook = skew_playbook();
  playbook["hypothesis"].push_back({{"measure", "login.wrongly_accepted"}, {"during", "run"}, {"at_most", 0}});
  const auto result = world.run(world.playbook(playbook.dump()));
  CHECK(outcome(result) == "refuted");
  CHECK(because(result).find("wrongly_accepted") != std::string::npos);
}

TEST_CASE("two faults on one target at one time are refused, one after the other are played", "[sim]") {
  LoginWorld world("hardened");
  Json playbook = skew_playbook();
  playbook["faults"].push_back({{"fault", "balancer.drain"}, {"target", "balancer"}, {"servers", {"auth2"}}, {"at", "5s"}, {"for", "10s"}});
  CHECK_THROWS_WITH(world.run(world.playbook(playbook.dump())), Catch::Contains("/faults/1"));
  CHECK(world.haproxy.changes.empty());
  playbook["faults"][1]["at"] = "12s";
  playbook["faults"][1]["for"] = "4s";
  const auto result = world.run(world.playbook(playbook.dump()));
  INFO(result.verdict.dump(1));
  CHECK(outcome(result) == "held");
  CHECK(result.verdict["faults"][1]["undo"] == "undone");
  CHECK(weights(world) == kUntouched);
}

// The measured storm of the lab: 205/s, two retries after 200 ms, ten seconds of skew.
TEST_CASE("a retry storm outlives its fault and is metastable, the same playbook without retries recovers", "[sim]") {
  Json playbook = skew_playbook();
  playbook["probes"]["login"].update({{"rate", "205/s"}, {"timeout", "4s"}, {"retry", "fixed"}, {"retries", 2}, {"retry_pause", "200ms"}, {"attempt_timeout", "1s"}});
  playbook["probes"]["login"]["retry_jitter"] = "20%";  // or each attempt falls on another's, and whoever comes first meets the same server for ever
  {
    Json brief = playbook;
    brief["timing"]["recovery"] = "20s";
    LoginWorld world("as-it-was");
    const auto result = world.run(world.playbook(brief.dump()));
    INFO(result.verdict.dump(1));
    CHECK(outcome(result) == "unrecovered");
    CHECK(result.verdict["recovery"]["kind"] == "metastable");
    CHECK(result.verdict["faults"][0]["undo"] == "undone");
    const Json storm = result.verdict["recovery"]["retry_amplification"];
    CHECK(storm["baseline"].get<double>() < 1.05);
    CHECK(storm["after"].get<double>() > 1.3);
    CHECK(result.verdict["recovery"]["kind_because"].get<std::string>().find("attempts a login") != std::string::npos);
  }
  for (const char* key : {"retry", "retries", "retry_pause", "retry_jitter", "attempt_timeout"}) playbook["probes"]["login"].erase(key);
  playbook["probes"]["login"]["timeout"] = "1s";
  LoginWorld world("as-it-was");
  const auto result = world.run(world.playbook(playbook.dump()));
  INFO(result.verdict.dump(1));
  CHECK(result.verdict["recovery"]["recovered"] == true);
  CHECK_FALSE(result.verdict["recovery"].contains("retry_amplification"));
}

TEST_CASE("a system that does not come back in time is unrecovered, though every fault is gone", "[sim]") {
  LoginWorld world("as-it-was");
  Json playbook = skew_playbook();
  playbook["timing"]["recovery"] = "20s";
  world.at(14500ms, [&world](StopSource&) { world.service_up = false; });  // just after the undo
  const auto result = world.run(world.playbook(playbook.dump()));
  CHECK(outcome(result) == "unrecovered");
  CHECK(result.verdict["recovery"]["recovered"] == false);
  CHECK(result.verdict["recovery"]["kind"] == "metastable");  // nothing got better, under the same load
  CHECK(because(result).find("metastable: ") == 0);
  CHECK(result.verdict["faults"][0]["undo"] == "undone");
}
