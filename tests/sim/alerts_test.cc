// Whole experiments in virtual time with a monitoring of the model's own: the shipped playbook, and what it says when the rule is gone,
// the server is down, or the alert cries wolf.
#include "tests/probes/scripted_documents.h"
#include "tests/sim/login_world.h"

using namespace capsize;
using namespace capsize::test;
using namespace std::chrono_literals;

namespace {

Json prometheus_says(bool has_rule, const char* state) {
  Json rules = Json::array();
  const Json alerts = state == std::string("inactive") ? Json::array() : Json::array({{{"labels", {{"alertname", "LoginsOnOneServer"}}}, {"state", state}}});
  if (has_rule) rules.push_back({{"type", "alerting"}, {"name", "LoginsOnOneServer"}, {"state", state}, {"health", "ok"}, {"alerts", alerts}});
  return {{"status", "success"}, {"data", {{"groups", Json::array({{{"name", "logins"}, {"rules", rules}}})}}}};
}

// The favourite has weight 80 %, or nearly, for a while: the alert fires `after` that, and is gone as long after it.
struct Monitoring {
  explicit Monitoring(LoginWorld& of) : world(of) {
    world.documents = [this](const ProbeContext& context) {
      return std::make_unique<ScriptedDocuments>(world.clock, context.start, [this](double at) { return answer(at); });
    };
  }
  Document answer(double at) {
    if (down) return no_answer("no connection: Connection refused");
    std::int64_t most = 0;
    std::int64_t all = 0;
    for (const auto& server : world.haproxy.servers()) {
      most = std::max(most, server.weight);
      all += server.weight;
    }
    const bool skewed = 2 * most > all;
    if (skewed != was) since = at, was = skewed;
    const bool fires = always || (skewed ? at - since >= after : since > 0 && at - since < after);
    return answered(prometheus_says(has_rule, fires ? "firing" : skewed ? "pending" : "inactive"));
  }

  LoginWorld& world;
  double after = 4;
  bool has_rule = true;
  bool down = false;
  bool always = false;
  bool was = false;
  double since = 0;
};

LoginWorld::Result run(LoginWorld& world, bool without_faults = false) {
  const std::string text = file_text(std::filesystem::path(CAPSIZE_SOURCE_DIR) / "experiments/playbooks/favourite-server.json");
  return world.run(world.playbook(text, {{"prometheus", "http://127.0.0.1:9090"}}), 1, without_faults);
}

Json finding(const LoginWorld::Result& result, const std::string& measure) {
  for (const Json& one : result.verdict["findings"]) {
    if (one["evidence"]["measure"] == measure) return one;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("favourite-server reports the time to detect where there is a Prometheus, and holds on the hardened lab", "[sim][alert]") {
  LoginWorld world("hardened");
  Monitoring monitoring(world);
  const auto result = run(world);
  INFO(result.verdict.dump(1));
  CHECK(result.verdict["outcome"] == "held");
  CHECK(!result.verdict.contains("left_out"));
  REQUIRE(result.verdict["alerts"].size() == 1);
  CHECK(result.verdict["alerts"][0]["time_to_detect"].get<double>() == Approx(4).margin(1.1));
  CHECK(result.verdict["alerts"][0]["time_to_clear"].get<double>() == Approx(4).margin(1.1));
  CHECK(finding(result, "alarm.time_to_detect")["holds"] == "yes");
  CHECK(finding(result, "alarm.time_to_clear")["holds"] == "yes");
}

TEST_CASE("with the alert rule removed favourite-server is refuted for that reason", "[sim][alert]") {
  LoginWorld world("hardened");
  Monitoring monitoring(world);
  monitoring.has_rule = false;
  const auto result = run(world);
  INFO(result.verdict.dump(1));
  CHECK(result.verdict["outcome"] == "refuted");
  CHECK(result.verdict["because"].get<std::string>().find("there is no alert rule of this name") != std::string::npos);
}

TEST_CASE("a Prometheus that is down makes the run inconclusive, not held and not refuted", "[sim][alert]") {
  LoginWorld world("hardened");
  Monitoring monitoring(world);
  monitoring.down = true;
  const auto result = run(world);
  CHECK(result.verdict["outcome"] == "inconclusive");
  CHECK(result.verdict["because"].get<std::string>().find("no connection: Connection refused") != std::string::npos);
}

TEST_CASE("an alert that always fires detects nothing, an unharmed run refutes it too", "[sim][alert]") {
  for (const bool without_faults : {false, true}) {
    LoginWorld world("hardened");
    Monitoring monitoring(world);
    monitoring.always = true;
    const auto result = run(world, without_faults);
    INFO(result.verdict.dump(1));
    CHECK(result.verdict["outcome"] == "refuted");
  }
}

TEST_CASE("the run goes on after the system has recovered while the alert may still be in time", "[sim][alert]") {
  LoginWorld world("hardened");
  Monitoring monitoring(world);
  monitoring.after = 17;
  const auto result = run(world);
  CHECK(finding(result, "alarm.time_to_detect")["holds"] == "no");
  LoginWorld patient("hardened");
  Monitoring slow(patient);
  slow.after = 11;
  const auto late = run(patient);
  INFO(late.verdict.dump(1));
  CHECK(late.verdict["alerts"][0]["detected"] == true);
  CHECK(late.verdict["alerts"][0]["time_to_clear"].get<double>() == Approx(11).margin(1.1));
}

TEST_CASE("without a Prometheus favourite-server is what it was, and says what was left out", "[sim][alert]") {
  LoginWorld world("hardened");
  const auto result = world.run(world.shipped("favourite-server.json"));
  CHECK(result.verdict["outcome"] == "held");
  CHECK(result.verdict["left_out"] == Json::array({{{"probe", "alarm"}, {"expectations", 2}}}));
  CHECK(!result.verdict.contains("alerts"));
}

TEST_CASE("an alert that is asked for once a minute does not make a system that came back unrecovered", "[sim][alert]") {
  Json json = Json::parse(file_text(std::filesystem::path(CAPSIZE_SOURCE_DIR) / "experiments/playbooks/favourite-server.json"), nullptr, true, true);
  json["probes"]["alarm"]["every"] = "1m";
  LoginWorld world("hardened");
  Monitoring monitoring(world);
  const auto result = world.run(world.playbook(json.dump(), {{"prometheus", "http://127.0.0.1:9090"}}));
  INFO(result.verdict.dump(1));
  CHECK(result.verdict["recovery"]["recovered"] == true);
  CHECK(result.verdict["outcome"] == "inconclusive");  // whether it fired in time nobody saw
}

TEST_CASE("a secret in the address of a monitoring server is not in the record, whatever went wrong with it", "[sim][alert]") {
  LoginWorld world("hardened");
  Monitoring monitoring(world);
  monitoring.down = true;
  Playbook playbook = world.playbook(file_text(std::filesystem::path(CAPSIZE_SOURCE_DIR) / "experiments/playbooks/favourite-server.json"), {{"prometheus", "http://127.0.0.1:9090/s3cret"}});
  playbook.secrets = {"s3cret"};
  const auto result = world.run(playbook);
  int gaps = 0;
  for (const Json& event : result.events) {
    if (event["event"] != "window" || !event["window"].contains("gap")) continue;
    ++gaps;
    CHECK(event["window"]["gap"].get<std::string>().find("s3cret") == std::string::npos);
    CHECK(event["window"]["gap"].get<std::string>().find("/***") != std::string::npos);
  }
  CHECK(gaps > 0);
  CHECK(result.verdict.dump().find("s3cret") == std::string::npos);
}

TEST_CASE("no piece of a secret stays where a server's long words are cut", "[sim][alert][secrets]") {
  const std::string secret = "correct-horse-battery-staple";
  LoginWorld world("hardened");
  int looks = 0;
  world.documents = [&](const ProbeContext& context) {
    return std::make_unique<ScriptedDocuments>(world.clock, context.start, [&](double) {
      // The secret begins a few bytes later at each look: at some of them it lies across byte 300, and byte 600.
      const std::string words = std::string(static_cast<std::size_t>(200 + 12 * looks++), 'x') + secret + " and more of it, and more, and more, and more, and more, and more";
      if (looks % 2 == 0) return Document{"", 500, words};
      const Json rule = {{"type", "alerting"}, {"name", "LoginsOnOneServer"}, {"health", "err"}, {"lastError", words}, {"alerts", Json::array()}};
      return answered({{"status", "success"}, {"data", {{"groups", Json::array({{{"name", "logins"}, {"rules", Json::array({rule})}}})}}}});
    });
  };
  Playbook playbook = world.playbook(file_text(std::filesystem::path(CAPSIZE_SOURCE_DIR) / "experiments/playbooks/favourite-server.json"), {{"prometheus", "http://127.0.0.1:9090"}});
  playbook.secrets = {secret};
  const auto result = world.run(playbook);
  REQUIRE(looks > 36);
  int hidden = 0;
  for (const Json& event : result.events) {
    if (event["event"] != "window" || event["probe"] != "alarm") continue;
    for (const char* key : {"gap", "because"}) {
      const std::string words = event["window"].value(key, "");
      INFO(words);
      CHECK(words.size() < 700);
      CHECK(words.find("corr") == std::string::npos);
      hidden += words.find("x***") != std::string::npos ? 1 : 0;
    }
  }
  CHECK(hidden > 10);
}
