// The escape test in virtual time: the shipped retry storm, and every way the test can end.
#include "tests/sim/login_world.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

const std::filesystem::path kStorm = std::filesystem::path(CAPSIZE_SOURCE_DIR) / "experiments/playbooks/retry-storm.json";

// The shipped one with a shorter recovery, so that less dead work piles up, with another escape test, and with clients that are out of step.
Playbook storm(LoginWorld& world, const Json& escape = {{"steps", {"50%", "10%"}}, {"hold", "60s"}}, const Json& changes = Json::object()) {
  Json json = Json::parse(file_text(kStorm), nullptr, true, true);
  json["timing"] = {{"baseline", "4s"}, {"recovery", "24s"}, {"settle", "5s"}};
  json["probes"]["login"]["retry_jitter"] = "20%";  // or each attempt falls on another's, and whoever comes first meets the same server for ever
  if (escape.is_null()) json.erase("escape");
  else json["escape"] = escape;
  json["hypothesis"] = Json::array();
  json.merge_patch(changes);
  return world.playbook(json.dump());
}

std::vector<Json> events_of(const LoginWorld::Result& result, const std::string& kind) {
  std::vector<Json> out;
  for (const Json& event : result.events) {
    if (event["event"] == kind) out.push_back(event);
  }
  return out;
}

void check_still_metastable(const LoginWorld::Result& result) {
  CHECK(result.verdict["outcome"] == "unrecovered");
  CHECK(result.verdict["exit_code"] == 2);
  CHECK(result.verdict["recovery"]["kind"] == "metastable");
  CHECK(result.verdict["recovery"]["recovered"] == false);
  CHECK(result.verdict["faults"][0]["undo"] == "undone");
  CHECK_FALSE(result.verdict.contains("stopped"));
}

}  // namespace

TEST_CASE("a retry storm escapes at a smaller load, the run is unrecovered all the same, and every fault was gone before", "[sim][escape]") {
  LoginWorld world("as-it-was");
  const auto result = world.run(storm(world, {{"steps", {"80%", "10%"}}, {"hold", "60s"}}));
  INFO(result.verdict.dump(1));
  check_still_metastable(result);
  const Json escape = result.verdict["recovery"]["escape"];
  CHECK(escape["escaped"] == true);
  CHECK(escape["share"] == 0.1);
  CHECK(escape["load"].get<double>() == Approx(20.5).epsilon(0.05));
  CHECK(escape["full_load"].get<double>() == Approx(205).epsilon(0.02));
  CHECK(escape["steps"][0]["steady"] == false);
  CHECK(escape["steps"][0]["retry_amplification"].get<double>() > 1.3);
  CHECK(result.verdict["recovery"]["retry_amplification"]["after"].get<double>() > 1.3);
  const auto began = result.verdict["phases"]["escape"]["from"].get<double>();
  for (const Json& undone : events_of(result, "undone")) CHECK(undone["t"].get<double>() < began);
  CHECK(events_of(result, "escape").size() == 2);
  for (const Json& event : events_of(result, "window")) {
    std::uint64_t ended = 0;
    if (event["probe"] != "login") continue;
    for (const auto& [answer, count] : event["window"]["counts"].items()) ended += count.get<std::uint64_t>();
    REQUIRE(ended == event["window"]["scheduled"]);
  }
}

TEST_CASE("the shipped retry storm is unrecovered and escapes where nothing protects the servers, without retries it recovers, behind limits it holds", "[sim][escape]") {
  struct Row {
    const char* profile;
    int retries;
    const char* outcome;
  };
  for (const Row& row : {Row{"as-it-was", 2, "unrecovered"}, Row{"as-it-was", 0, "held"}, Row{"hardened", 2, "held"}}) {
    LoginWorld world(row.profile);
    const auto result = world.run(world.playbook(file_text(kStorm), {{"retries", row.retries}}));
    INFO(row.profile << " " << row.retries << "\n" << result.verdict.dump(1));
    CHECK(result.verdict["outcome"] == row.outcome);
    CHECK(result.verdict["recovery"].contains("escape") == (row.outcome == std::string("unrecovered")));
    if (row.retries == 0) CHECK(result.verdict["recovery"]["seconds"].get<double>() > 5);
    else if (row.outcome == std::string("unrecovered")) CHECK(result.verdict["recovery"]["escape"]["escaped"] == true);
  }
}

TEST_CASE("a load that does not free it is said to be none, down to the last step", "[sim][escape]") {
  LoginWorld world("as-it-was");
  const auto result = world.run(storm(world, {{"steps", {"90%", "80%"}}, {"hold", "10s"}}));
  INFO(result.verdict.dump(1));
  check_still_metastable(result);
  CHECK(result.verdict["recovery"]["escape"]["escaped"] == false);
  CHECK(result.verdict["recovery"]["escape"]["steps"].size() == 2);
  CHECK(result.verdict["recovery"]["escape"]["because"].get<std::string>().find("down to 164") != std::string::npos);
}

TEST_CASE("an escape test is stopped at once, and the verdict stays what it was", "[sim][escape]") {
  LoginWorld world("as-it-was");
  world.at(60s, [](StopSource& stop) { stop.request("operator", "SIGINT"); });
  const auto result = world.run(storm(world));
  INFO(result.verdict.dump(1));
  check_still_metastable(result);
  const Json escape = result.verdict["recovery"]["escape"];
  CHECK(escape["escaped"].is_null());
  CHECK(escape["because"].get<std::string>().find("it was stopped at 102.") == 0);
  CHECK(escape["because"].get<std::string>().find("SIGINT") != std::string::npos);
  CHECK(result.verdict["phases"]["escape"]["to"].get<double>() < 66);  // what was under way has up to 4 s
  CHECK(result.events.back()["event"] == "end");
}

TEST_CASE("a guardrail that the storm does not breach stops the escape test, one that it does, or that less load does, is not asked", "[sim][escape]") {
  // At a tenth of the load and without a storm there are 41 attempts in 2 s; in the storm, three times as many.
  const Json less = {{"measure", "login.attempts"}, {"below", 60}, {"for", "2s"}};
  const Json storms = {{"measure", "login.success_ratio"}, {"below", "1%"}, {"for", "5s"}};
  const Json worse = {{"measure", "login.refused"}, {"above", 0}, {"for", "2s"}};
  LoginWorld world("as-it-was");
  const auto freed = world.run(storm(world, {{"steps", {"50%", "10%"}}, {"hold", "60s"}}, {{"abort_when", {storms, less}}}));
  INFO(freed.verdict.dump(1));
  check_still_metastable(freed);
  CHECK(events_of(freed, "stop").empty());
  CHECK(freed.verdict["recovery"]["escape"]["escaped"] == true);
  LoginWorld other("as-it-was");
  other.at(55s, [&](StopSource&) { other.service_up = false; });
  const auto result = other.run(storm(other, {{"steps", {"50%", "10%"}}, {"hold", "60s"}}, {{"abort_when", {storms, worse}}}));
  INFO(result.verdict.dump(1));
  check_still_metastable(result);
  const auto stops = events_of(result, "stop");
  REQUIRE(stops.size() == 1);
  CHECK(stops[0]["kind"] == "guardrail");
  CHECK(stops[0]["because"].get<std::string>().find("login.refused") != std::string::npos);
  CHECK(result.verdict["recovery"]["escape"]["escaped"].is_null());
}

TEST_CASE("without an escape test in the playbook nothing of it happens, nor where the system recovers", "[sim][escape]") {
  LoginWorld world("as-it-was");
  const auto plain = world.run(storm(world, nullptr));
  check_still_metastable(plain);
  CHECK_FALSE(plain.verdict["recovery"].contains("escape"));
  CHECK(events_of(plain, "escape").empty());
  CHECK_FALSE(plain.verdict["phases"].contains("escape"));
}
