#include "experiments/playbook.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "injector/base/error.h"
#include "tests/experiments/test_catalogs.h"

using namespace capsize;
using namespace std::chrono_literals;
using test::good_playbook;
using test::read;
using test::said;

namespace {

const char* kDesign = R"({
  // comments are allowed
  "playbook": 1,
  "title": "The balancer plays favourites",
  "description": "One of three servers gets nearly everything.",
  "tags": ["auth", "balancer", "game-day"],
  "variables": { "logins": "120/s" },
  "hosts":   { "edge": { "via": ["ssh", "edge-1.staging"] } },
  "targets": {
    "balancer": { "type": "haproxy", "host": "edge", "socket": "/run/haproxy/admin.sock", "backend": "auth" }
  },
  "probes": {
    "login":  { "probe": "login.http", "url": "https://staging.example/login", "rate": "${logins}", "users": 500, "timeout": "1s" },
    "shares": { "probe": "balancer.shares", "target": "balancer" }
  },
  "timing": { "baseline": "10s", "recovery": "40s" },
  "steady_state": [
    { "measure": "login.success_ratio", "at_least": "99%" },
    { "measure": "login.latency.p99", "at_most": "250ms" }
  ],
  "faults": [
    { "fault": "balancer.skew", "target": "balancer", "server": "auth1", "share": "95%", "at": "5s", "for": "30s",
      "allow": ["majority"], "reason": "the game day wants it" }
  ],
  "hypothesis": [
    { "measure": "login.success_ratio", "during": "fault", "at_least": "95%" },
    { "measure": "login.latency.p99", "during": "fault", "at_most": "2x baseline" },
    { "measure": "login.wrongly_accepted", "during": "run", "at_most": 0 },
    { "measure": "recovery_time", "at_most": "10s" },
    { "measure": "shares.share.auth1", "during": "recovery", "at_least": "20%", "below": "0.5x baseline" }
  ],
  "abort_when": [ { "measure": "login.success_ratio", "below": "20%", "for": "3s" } ]
})";

}  // namespace

TEST_CASE("the playbook of the design is read as it was meant", "[playbook]") {
  const PlaybookResult result = read_playbook(kDesign, test::options());
  CHECK(said(result) == std::vector<std::string>{});
  REQUIRE(result.playbook);
  const Playbook& playbook = *result.playbook;
  CHECK(playbook.title == "The balancer plays favourites");
  CHECK(playbook.description == "One of three servers gets nearly everything.");
  CHECK(playbook.tags == std::vector<std::string>{"auth", "balancer", "game-day"});
  CHECK(playbook.hosts == std::map<std::string, std::vector<std::string>>{{"edge", {"ssh", "edge-1.staging"}}});
  CHECK(playbook.targets.at("balancer").type == "haproxy");
  CHECK(playbook.targets.at("balancer").host == "edge");
  CHECK(playbook.targets.at("balancer").params == Json{{"socket", "/run/haproxy/admin.sock"}, {"backend", "auth"}});
  CHECK(playbook.probes.at("login").params["rate"] == "120/s");
  CHECK(!playbook.probes.at("login").params.contains("probe"));
  CHECK(playbook.probes.at("shares").target == "balancer");
  CHECK(playbook.timing.baseline == 10s);
  CHECK(playbook.timing.recovery == 40s);
  CHECK(playbook.timing.settle == 10s);
  REQUIRE(playbook.faults.size() == 1);
  const PlannedFault& fault = playbook.faults[0];
  CHECK(fault.fault == "balancer.skew");
  CHECK(fault.target == "balancer");
  CHECK(fault.at == 5s);
  CHECK(fault.lasting == 30s);
  CHECK(fault.allow == std::set<std::string>{"majority"});
  CHECK(fault.reason == "the game day wants it");
  CHECK(fault.params == Json{{"server", "auth1"}, {"share", "95%"}});
  CHECK(playbook.fault_phase() == 35s);
  CHECK(playbook.as_run["probes"]["login"]["rate"] == "120/s");
}

TEST_CASE("expectations have the values that their measure's kind gives them", "[playbook]") {
  const Playbook playbook = *read_playbook(kDesign, test::options()).playbook;
  REQUIRE(playbook.hypothesis.size() == 5);
  CHECK(playbook.hypothesis[0].name() == "login.success_ratio");
  CHECK(playbook.hypothesis[0].during == Span::fault);
  CHECK(playbook.hypothesis[0].bounds[0].value == Approx(0.95));
  CHECK(playbook.hypothesis[1].bounds[0].relative_to_baseline);
  CHECK(playbook.hypothesis[1].bounds[0].value == 2);
  CHECK(playbook.hypothesis[1].bounds[0].written == "2x baseline");
  CHECK(playbook.hypothesis[2].during == Span::run);
  CHECK(playbook.hypothesis[2].bounds[0].value == 0);
  CHECK(playbook.hypothesis[3].name() == "recovery_time");
  CHECK(playbook.hypothesis[3].probe.empty());
  CHECK(playbook.hypothesis[3].bounds[0].value == 10);
  CHECK(playbook.hypothesis[4].probe == "shares");
  CHECK(playbook.hypothesis[4].measure == "share.auth1");
  REQUIRE(playbook.hypothesis[4].bounds.size() == 2);
  CHECK(playbook.steady_state[1].bounds[0].value == Approx(0.25));
  REQUIRE(playbook.abort_when.size() == 1);
  CHECK(playbook.abort_when[0].lasting == 3s);
  CHECK(playbook.abort_when[0].breach.bounds[0].comparison == Comparison::below);
}

TEST_CASE("a playbook without faults watches, and judges the whole run", "[playbook]") {
  Json json = good_playbook();
  json.erase("faults");
  const PlaybookResult result = read(json);
  REQUIRE(result.playbook);
  CHECK(result.playbook->faults.empty());
  CHECK(result.playbook->fault_phase() == 0s);
  CHECK(result.playbook->hypothesis[0].during == Span::run);
}

TEST_CASE("a variable alone keeps its type, within a text it is text", "[playbook]") {
  Json json = good_playbook();
  json["variables"] = {{"users", 50}, {"port", 8080}, {"headers", {"a: b", "c: d"}}};
  json["probes"]["login"]["users"] = "${users}";
  json["probes"]["login"]["url"] = "http://127.0.0.1:${port}/$${users}";
  json["probes"]["login"]["headers"] = "${headers}";
  const PlaybookResult result = read(json);
  CHECK(said(result) == std::vector<std::string>{});
  REQUIRE(result.playbook);
  CHECK(result.playbook->probes.at("login").params["users"] == 50);
  CHECK(result.playbook->probes.at("login").params["url"] == "http://127.0.0.1:8080/${users}");
  CHECK(result.playbook->probes.at("login").params["headers"] == Json{"a: b", "c: d"});
}

TEST_CASE("a value of --set takes the type of the variable, and an offer fills in only what is declared and not set", "[playbook]") {
  Json json = good_playbook();
  json["variables"] = {{"users", 50}, {"headers", {"a: b"}}, {"url", "http://127.0.0.1/"}, {"rate", "10/s"}, {"pid", "1"}};
  json["title"] = "Of ${pid}";
  json["probes"]["login"] = {{"probe", "login.http"}, {"url", "${url}"}, {"users", "${users}"}, {"headers", "${headers}"}, {"rate", "${rate}"}};
  PlaybookOptions options = test::options();
  options.set = {{"users", "70"}, {"headers", "x: y,z: w"}, {"rate", "400/s"}};
  options.offer = {{"rate", "99/s"}, {"url", "http://127.0.0.1:1/"}, {"socket", "/elsewhere"}, {"pid", 77}};
  const PlaybookResult result = read(json, options);
  CHECK(said(result) == std::vector<std::string>{});
  REQUIRE(result.playbook);
  const Json& params = result.playbook->probes.at("login").params;
  CHECK(params["users"] == 70);
  CHECK(params["headers"] == Json{"x: y", "z: w"});
  CHECK(params["rate"] == "400/s");
  CHECK(params["url"] == "http://127.0.0.1:1/");
  CHECK(result.playbook->as_run["variables"]["users"] == 70);
  CHECK(result.playbook->title == "Of 77");
}

TEST_CASE("the environment fills in texts, also as the value of a variable", "[playbook]") {
  Json json = good_playbook();
  json["variables"] = {{"host", "${env:STAGING}"}};
  json["probes"]["login"]["url"] = "http://${host}/login";
  PlaybookOptions options = test::options();
  options.environment = [](const std::string& name) -> std::optional<std::string> { return name == "STAGING" ? std::optional<std::string>("10.0.0.1") : std::nullopt; };
  const PlaybookResult result = read(json, options);
  REQUIRE(result.playbook);
  CHECK(result.playbook->probes.at("login").params["url"] == "http://10.0.0.1/login");
  CHECK(result.playbook->as_run["variables"]["host"] == "10.0.0.1");
}

TEST_CASE("a secret is used, and never shown", "[playbook][secrets]") {
  Json json = good_playbook();
  json["variables"] = {{"password", "${secret:PW}"}};
  json["probes"]["login"]["password"] = "${password}";
  json["probes"]["login"]["headers"] = {"x-token: ${secret:PW}", "plain hunter2\"/ in the open"};
  PlaybookOptions options = test::options();
  options.secret = [](const std::string& name) -> std::optional<std::string> { return name == "PW" ? std::optional<std::string>("hunter2\"/") : std::nullopt; };
  const PlaybookResult result = read(json, options);
  CHECK(said(result) == std::vector<std::string>{});
  REQUIRE(result.playbook);
  const Playbook& playbook = *result.playbook;
  CHECK(playbook.probes.at("login").params["password"] == "hunter2\"/");
  CHECK(playbook.as_run["probes"]["login"]["password"] == "***");
  CHECK(playbook.as_run["probes"]["login"]["headers"] == Json{"x-token: ***", "plain *** in the open"});
  CHECK(playbook.as_run.dump().find("hunter2") == std::string::npos);
  CHECK(playbook.redact("GET /?pw=hunter2%22%2F and {\"pw\":\"hunter2\\\"/\"} and hunter2\"/") == "GET /?pw=*** and {\"pw\":\"***\"} and ***");
}

TEST_CASE("a file is read from disk, and what cannot be read says why", "[playbook]") {
  const PlaybookOptions options = test::options();
  try {
    read_playbook_file("/nowhere/at/all.json", options);
    FAIL("a missing file was read");
  } catch (const Error& error) {
    CHECK(error.exit_code() == kExitUnavailable);
    CHECK(std::string(error.what()).find("/nowhere/at/all.json") != std::string::npos);
  }
  try {
    read_playbook_file("/", options);
    FAIL("a folder was read");
  } catch (const Error& error) {
    CHECK(error.exit_code() == kExitUnavailable);
  }
  std::string folder = (std::filesystem::temp_directory_path() / "capsize-playbook-XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const std::filesystem::path file = std::filesystem::path(folder) / "large.json";
  std::ofstream(file) << kDesign;
  CHECK(read_playbook_file(file, options).playbook);
  std::ofstream(file) << std::string((1 << 20) + 1, ' ');
  try {
    read_playbook_file(file, options);
    FAIL("a file of over 1 MiB was read");
  } catch (const Error& error) {
    CHECK(error.exit_code() == kExitBadPlaybook);
  }
  std::filesystem::remove_all(folder);
}
