// What a playbook may expect of an alert, and probes that are only there where their system is.
#include "experiments/playbook.h"

#include <catch2/catch.hpp>

using namespace capsize;

namespace {

using Said = std::vector<std::string>;

Json playbook() {
  return Json::parse(R"({
    "playbook": 1, "title": "does anybody notice",
    "variables": {"prometheus": "http://p:9090"},
    "targets": {"one": {"type": "process", "pid": "1"}},
    "probes": {
      "login": {"probe": "login.http", "url": "http://127.0.0.1:1/login", "rate": "100/s"},
      "alarm": {"probe": "alert.fired", "only_if": "${prometheus}", "prometheus": "${prometheus}", "alert": "Skew"}
    },
    "timing": {"baseline": "10s", "recovery": "30s", "settle": "5s"},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "90%"}],
    "faults": [{"fault": "process.pause", "name": "first", "target": "one", "at": "5s", "for": "10s"}],
    "hypothesis": [{"measure": "alarm.time_to_detect", "at_most": "30s"}, {"measure": "alarm.time_to_clear", "at_most": "30s"}]
  })");
}

PlaybookResult read(const Json& json, const std::string& prometheus = "http://p:9090") {
  PlaybookOptions options;
  options.set["prometheus"] = prometheus;
  return read_playbook(json.dump(), options);
}

Said said(const PlaybookResult& result) {
  Said out;
  for (const Diagnostic& one : result.diagnostics.all()) out.push_back(one.pointer + ": " + one.fact);
  return out;
}

Said said_of(const Json& expectation) {
  Json json = playbook();
  json["hypothesis"] = Json::array({expectation});
  return said(read(json));
}

}  // namespace

TEST_CASE("a time since the fault or its end is expected at most so long, of the fault or of one by its name", "[playbook][alert]") {
  const PlaybookResult good = read(playbook());
  REQUIRE(good.playbook);
  CHECK(said(good).empty());
  CHECK(good.playbook->hypothesis.at(0).of == MeasureOf::since_fault);
  CHECK(good.playbook->hypothesis.at(1).of == MeasureOf::since_undo);
  CHECK(said_of({{"measure", "alarm.time_to_detect"}, {"during", "first"}, {"below", "20s"}}).empty());
  CHECK(said_of({{"measure", "alarm.firing"}, {"during", "baseline"}, {"at_most", 0}}).empty());
  CHECK(said_of({{"measure", "alarm.time_to_detect"}, {"at_least", "3s"}}) == Said{"/hypothesis/0/at_least: a least time for it to take"});
  CHECK(said_of({{"measure", "alarm.time_to_detect"}, {"at_most", "2x baseline"}}) == Said{"/hypothesis/0/at_most: \"alarm.time_to_detect\" has no baseline"});
  CHECK(said_of({{"measure", "alarm.time_to_detect"}, {"during", "recovery"}, {"at_most", "3s"}}) == Said{"/hypothesis/0/during: \"alarm.time_to_detect\" counts from a fault, not over a phase"});
  CHECK(said_of({{"measure", "alarm.time_to_detect"}, {"at_most", 3}}) == Said{"/hypothesis/0/at_most: 3 is a plain number, but alarm.time_to_detect is a duration"});
}

TEST_CASE("a time that the run has no room to see is a warning", "[playbook][alert]") {
  CHECK(said_of({{"measure", "alarm.time_to_detect"}, {"at_most", "40s"}}).empty());
  CHECK(said_of({{"measure", "alarm.time_to_detect"}, {"at_most", "41s"}}) == Said{"/hypothesis/0/at_most: the run ends 40s after it begins to count: whether it took 41s cannot be seen"});
  CHECK(said_of({{"measure", "alarm.time_to_clear"}, {"at_most", "31s"}}) == Said{"/hypothesis/0/at_most: the run ends 30s after it begins to count: whether it took 31s cannot be seen"});
}

TEST_CASE("check warns of an alert that is asked for too seldom to tell whether it was in time", "[playbook][alert]") {
  Json json = playbook();
  json["faults"][0]["for"] = "20s";
  json["probes"]["alarm"]["every"] = "15s";
  CHECK(said(read(json)).empty());
  json["faults"][0]["for"] = "10s";  // the alert may be gone with it
  CHECK(said(read(json)) == Said{"/hypothesis/0/at_most: its probe looks every 15s: whether it took 30s may not be known afterwards"});
  json["probes"]["alarm"]["every"] = "16s";
  CHECK(said(read(json)) == Said{"/hypothesis/0/at_most: its probe looks every 16s: whether it took 30s may not be known afterwards",
                                 "/hypothesis/1/at_most: its probe looks every 16s: whether it took 30s may not be known afterwards"});
}

TEST_CASE("such a time is known only at the end: no steady state, no guardrail, no playbook without faults", "[playbook][alert]") {
  Json gate = playbook();
  gate["steady_state"].push_back({{"measure", "alarm.time_to_detect"}, {"at_most", "3s"}});
  CHECK(said(read(gate)) == Said{"/steady_state/1/measure: \"alarm.time_to_detect\" is known only when the run is over"});
  Json guard = playbook();
  guard["abort_when"] = Json::array({{{"measure", "alarm.time_to_clear"}, {"at_most", "3s"}}});
  CHECK(said(read(guard)) == Said{"/abort_when/0/measure: \"alarm.time_to_clear\" is known only when the run is over"});
  Json calm = playbook();
  calm.erase("faults");
  calm.erase("targets");
  CHECK(said(read(calm)).at(0) == "/hypothesis/0/measure: there is no fault for it to count from: the playbook has no faults");
}

TEST_CASE("a probe whose only_if is empty is left out with every expectation about it, and counted", "[playbook][alert]") {
  Json json = playbook();
  json["steady_state"].push_back({{"measure", "alarm.firing"}, {"at_most", 0}});
  json["hypothesis"].push_back({{"measure", "login.success_ratio"}, {"at_least", "95%"}});
  const PlaybookResult result = read(json, "");
  INFO(result.diagnostics.text("p"));
  REQUIRE(result.playbook);
  CHECK(said(result).empty());
  CHECK(result.playbook->probes.count("alarm") == 0);
  CHECK(result.playbook->left_out == std::map<std::string, std::size_t>{{"alarm", 3}});
  REQUIRE(result.playbook->hypothesis.size() == 1);
  CHECK(result.playbook->hypothesis[0].probe == "login");
  CHECK(read(json).playbook->left_out.empty());
  json["hypothesis"][1]["measure"] = "alarm.time_to_clean";  // left out, but not unread
  CHECK(said(read(json, "")).size() == 1);
}

TEST_CASE("a warning about too few samples points at its own expectation, whatever was left out before it", "[playbook][alert]") {
  Json json = playbook();
  json["hypothesis"].push_back({{"measure", "login.success_ratio"}, {"at_least", "99.99%"}});
  const Said warnings = said(read(json, ""));
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].starts_with("/hypothesis/2/at_least: "));
}

TEST_CASE("something must be left: a probe, and an expectation of the steady state", "[playbook][alert]") {
  Json gate = playbook();
  gate["steady_state"] = Json::array({{{"measure", "alarm.firing"}, {"at_most", 0}}});
  CHECK(said(read(gate, "")) == Said{"/steady_state: every expectation of it is about a probe that is left out (\"only_if\")"});
  gate["probes"].erase("login");
  CHECK(said(read(gate, "")) == Said{"/probes: every probe is left out: each has an empty \"only_if\""});
}
