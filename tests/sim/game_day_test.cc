// Game days in virtual time: the shipped one in each of its causes, and rooms that answer, are silent, or are not there.
#include "experiments/game/answers.h"
#include "experiments/game/sealed.h"
#include "experiments/report/postmortem.h"
#include "experiments/verdict.h"
#include "tests/sim/login_world.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

const std::filesystem::path kPlaybooks = std::filesystem::path(CAPSIZE_SOURCE_DIR) / "experiments/playbooks";

std::vector<Json> events_of(const LoginWorld::Result& result, const std::string& kind) {
  std::vector<Json> out;
  for (const Json& event : result.events) {
    if (event["event"] == kind) out.push_back(event);
  }
  return out;
}

std::vector<ScriptedAnswer> shipped_answers(const Playbook& playbook) {
  AnswersResult result = read_answers(file_text(kPlaybooks / "answers/game-day.json"), playbook);
  INFO(result.diagnostics.text("answers/game-day.json"));
  REQUIRE(result.diagnostics.ok());
  return std::move(result.answers);
}

// The seed with which this cause is chosen.
std::uint64_t seed_for(const Playbook& playbook, std::size_t choice) {
  for (std::uint64_t seed = 1;; ++seed) {
    if (seal_choice(playbook, seed, "salt").choice == choice) return seed;
  }
}

struct Played {
  LoginWorld::Result result;
  std::vector<Json> seen;  // by whom the cause is hidden from
  Json opened;             // the playbook as it was run
};

Played play_sealed(LoginWorld& world, const Playbook& playbook, std::size_t choice, std::vector<ScriptedAnswer> answers = {}) {
  RunOptions options;
  options.seed = seed_for(playbook, choice);
  options.seal = seal_choice(playbook, options.seed, "salt");
  options.answers = std::move(answers);
  Played out;
  world.on_start = [&](Timeline& timeline) {
    timeline.veil = [&](const Json& event) { return seen_meanwhile(event, playbook.as_run); };
    timeline.on_event = [&](const Json& event) { out.seen.push_back(event); };
  };
  const Playbook open = open_sealed(playbook, choice);
  out.opened = open.as_run;
  out.result = world.run_with(open, options);
  world.on_start = nullptr;
  return out;
}

// A short one, whose one fault is told.
Playbook short_playbook(LoginWorld& world, const Json& steps) {
  Json json = Json::parse(R"({
    "playbook": 1, "title": "asks",
    "variables": {"login_url": "", "session_url": "", "balancer_socket": "", "backend": ""},
    "targets": {"balancer": {"type": "haproxy", "socket": "${balancer_socket}", "backend": "${backend}"}},
    "probes": {"login": {"probe": "login.http", "url": "${login_url}", "session_url": "${session_url}", "rate": "165/s", "users": 500, "timeout": "1s"}},
    "timing": {"baseline": "4s", "recovery": "20s", "settle": "4s"},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "99%"}],
    "faults": [{"fault": "balancer.skew", "target": "balancer", "server": "auth2", "share": "80%", "for": "6s"}]
  })");
  if (!steps.empty()) json["steps"] = steps;
  return world.playbook(json.dump());
}

Json two_questions() {
  return Json::parse(R"([
    {"ask": "What is wrong?", "name": "cause", "during": "baseline", "at": "1s", "within": "10m", "scores": "hypothesis"},
    {"ask": "Still there?", "name": "there", "during": "fault", "at": "2s", "within": "10m"},
    {"note": "half way", "during": "fault", "at": "3s"}])");
}

double undone_at(const LoginWorld::Result& result) { return events_of(result, "undone").at(0)["t"].get<double>(); }

}  // namespace

TEST_CASE("the shipped game day, in each of its causes, is felt, judged by its answers, and leaves nothing behind", "[sim][game]") {
  for (std::size_t choice = 0; choice < 3; ++choice) {
    LoginWorld world("as-it-was");
    const Playbook playbook = world.shipped("game-day.json");
    const Played played = play_sealed(world, playbook, choice, shipped_answers(playbook));
    const Json& verdict = played.result.verdict;
    INFO(playbook.sealed[choice].name << "\n" << verdict.dump(1));
    CHECK(verdict["residue"].empty());
    CHECK((verdict["outcome"] == "refuted" || verdict["outcome"] == "unrecovered"));
    CHECK(verdict["sealed"]["name"].get<std::string>() == playbook.sealed[choice].name);
    CHECK(verdict["sealed"]["matches"] == true);
    const Json& score = verdict["score"];
    const double began = score["began"].get<double>();
    CHECK(began == Approx(8 + seconds(playbook.sealed[choice].faults[0].at)).margin(0.5));
    CHECK(score["felt"].get<double>() < 6);
    CHECK(score["detected"]["seconds"].get<double>() == Approx(14 - began).margin(0.01));
    CHECK(score["first_hypothesis"]["text"] == "the database is slow again");
    CHECK(score["mitigation"]["seconds"].get<double>() == Approx(22 - began).margin(0.01));
    CHECK(score["hypotheses"][0]["judged"] == (choice == 2 ? "right" : "wrong"));
    CHECK(score["hypotheses"][1]["judged"] == (choice == 0 ? "right" : "wrong"));
    CHECK(score["right_hypothesis"]["seconds"].is_number() == (choice != 1));
    if (choice == 0) CHECK(score["right_hypothesis"]["seconds"].get<double>() == Approx(20 - began).margin(0.01));
    CHECK(score["false_alarms"] == 0);
    CHECK(events_of(played.result, "unanswered").empty());
  }
}

TEST_CASE("what the page on game days shows is a playbook and its answers", "[sim][game]") {
  const std::string page = file_text(std::filesystem::path(CAPSIZE_SOURCE_DIR) / "docs/game-days.md");
  std::vector<std::string> blocks;
  const std::string open = "```json\n";
  for (std::size_t at = page.find(open); at != std::string::npos; at = page.find(open, at + 1)) {
    const std::size_t begin = at + open.size();
    blocks.push_back(page.substr(begin, page.find("```", begin) - begin));
  }
  REQUIRE(blocks.size() == 3);
  Json playbook = Json::parse(file_text(kPlaybooks / "game-day.json"), nullptr, true, true);
  playbook["steps"] = Json::parse("{" + blocks[0] + "}")["steps"];
  playbook["sealed"] = Json::parse("{" + blocks[2] + "}")["sealed"];
  LoginWorld world("hardened");
  const Playbook read = world.playbook(playbook.dump());
  const AnswersResult answers = read_answers(blocks[1], read);
  CHECK(answers.diagnostics.text("answers") == "");
  CHECK(answers.answers.size() == 2);
}

TEST_CASE("until the end nothing that is seen tells which cause it is, and whichever it is its phases are as long", "[sim][game]") {
  std::vector<Json> phases;
  for (std::size_t choice = 0; choice < 3; ++choice) {
    LoginWorld world("as-it-was");
    const Playbook playbook = world.shipped("game-day.json");
    const Played played = play_sealed(world, playbook, choice);
    Json lasts = Json::array();
    bool opened = false;
    for (const Json& event : played.seen) {
      const std::string kind = event["event"];
      if (kind == "opened") opened = true;
      if (kind == "phase" && event["phase"] != "recovery") lasts.push_back({event["phase"], event["phase"] == "fault" ? event["t"] : Json(), event.value("lasts", Json())});
      if (opened || kind == "window") continue;
      Json without_playbook = event;
      without_playbook.erase("playbook");  // it has all three causes alike
      const std::string text = without_playbook.dump();
      INFO(text);
      for (const char* word : {"balancer", "auth2", "auth1", "process.pause", "latency\"", "weight", "favourite", "frozen", "slow-database", "seed"}) CHECK(text.find(word) == std::string::npos);
    }
    CHECK(opened);
    CHECK(played.seen.front()["playbook"] == playbook.as_run);
    CHECK(!playbook.as_run.contains("faults"));
    CHECK(played.opened["faults"].size() == 1);
    phases.push_back(lasts);
  }
  CHECK(phases[0] == phases[1]);
  CHECK(phases[1] == phases[2]);
}

TEST_CASE("the opening told at the end is what the hash at the start promised", "[sim][game]") {
  LoginWorld world("hardened");
  const Playbook playbook = world.shipped("game-day.json");
  const Played played = play_sealed(world, playbook, 1);
  const Json seal = events_of(played.result, "seal").at(0);
  const Json opened = events_of(played.result, "opened").at(0);
  CHECK(seal["t"] == 0.0);
  CHECK(Json(commitment_of(opened["opening"].get<std::string>())) == seal["commitment"]);
  CHECK(opened["opening"].get<std::string>().find("auth1 has stopped running") != std::string::npos);
  CHECK(opened["t"].get<double>() > undone_at(played.result));
}

TEST_CASE("a sealed run whose end was never written is invalid, not held", "[sim][game]") {
  LoginWorld world("hardened");
  const Playbook playbook = world.shipped("game-day.json");
  const Played played = play_sealed(world, playbook, 1);
  std::vector<Json> cut;
  for (const Json& event : played.seen) {
    if (event["event"] == "opened") break;
    cut.push_back(event);
  }
  const Json verdict = judge(playbook, cut);
  CHECK(verdict["outcome"] == "invalid");
  CHECK(verdict["because"] == "the run was sealed, and ended before it told what it had done");
}

TEST_CASE("a calm run of a sealed playbook holds, and hides nothing", "[sim][game]") {
  LoginWorld world("as-it-was");
  const auto result = world.run(world.shipped("game-day.json"), 1, true);
  INFO(result.verdict.dump(1));
  CHECK(result.verdict["outcome"] == "held");
  CHECK(!result.verdict.contains("sealed"));
}

TEST_CASE("with nobody there every question says so at once, and the run takes as long as without questions", "[sim][game]") {
  LoginWorld silent("hardened");
  const auto plain = silent.run(short_playbook(silent, Json::array()));
  LoginWorld world("hardened");
  const auto result = world.run(short_playbook(world, two_questions()));
  CHECK(events_of(result, "ask").size() == 2);
  const auto unanswered = events_of(result, "unanswered");
  REQUIRE(unanswered.size() == 2);
  CHECK(unanswered[0]["t"] == 1.0);
  CHECK(unanswered[0]["because"] == "there was nobody to ask: no terminal, and no answer in the file of --answers");
  CHECK(events_of(result, "note").at(0)["text"] == "half way");
  CHECK(undone_at(result) == undone_at(plain));
  CHECK(result.events.back()["t"].get<double>() == Approx(plain.events.back()["t"].get<double>()).margin(0.05));
}

TEST_CASE("questions that a silent room leaves open hold up neither the undo nor the end", "[sim][game]") {
  LoginWorld nobody("hardened");
  const auto plain = nobody.run(short_playbook(nobody, Json::array()));
  LoginWorld world("hardened");
  Room room;
  RunOptions options;
  options.room = &room;
  const auto result = world.run_with(short_playbook(world, two_questions()), options);
  CHECK(undone_at(result) == undone_at(plain));
  CHECK(result.events.back()["t"].get<double>() == Approx(plain.events.back()["t"].get<double>()).margin(0.05));
  const auto unanswered = events_of(result, "unanswered");
  REQUIRE(unanswered.size() == 2);
  CHECK(unanswered[0]["because"] == "the run ended before anybody answered");
  CHECK(result.verdict["outcome"] == "held");
  CHECK(!room.on_line);
}

TEST_CASE("a stop while a question is open undoes at once, and asks nothing more", "[sim][game]") {
  LoginWorld world("hardened");
  Room room;
  RunOptions options;
  options.room = &room;
  world.at(5s, [](StopSource& stop) { stop.request("operator", "stop"); });
  const auto result = world.run_with(short_playbook(world, two_questions()), options);
  CHECK(result.verdict["outcome"] == "aborted");
  CHECK(undone_at(result) == Approx(5).margin(0.2));
  CHECK(events_of(result, "ask").size() == 1);  // the one of the fault's third second is not asked any more
  CHECK(events_of(result, "note").empty());
  CHECK(events_of(result, "unanswered").size() == 1);
}

TEST_CASE("a line of the room is for the question it names, else for the oldest that nobody has answered", "[sim][game]") {
  LoginWorld world("hardened");
  Room room;
  RunOptions options;
  options.room = &room;
  const auto say = [&](Duration when, std::string line) { world.at(when, [&room, line = std::move(line)](StopSource&) { room.on_line(line); }); };
  say(500ms, "too early for any question");
  say(2s, "  the network  ");
  say(6500ms, "yes, still there");
  say(7s, "cause: the balancer");
  say(7500ms, "there: closed by its first answer");
  say(8s, "   ");
  const auto result = world.run_with(short_playbook(world, two_questions()), options);
  Json told = Json::array();
  for (const Json& answer : events_of(result, "answer")) told.push_back({answer["question"], answer["text"], answer["after"]});
  CHECK(told == Json::parse(R"([["cause", "the network", 1.0], ["there", "yes, still there", 0.5], ["cause", "the balancer", 6.0], ["cause", "there: closed by its first answer", 6.5]])"));
  const auto notes = events_of(result, "note");
  REQUIRE(notes.size() == 2);
  CHECK(notes[0]["from"] == "room");
  CHECK(result.verdict["questions"][0]["answers"].size() == 3);
  CHECK(result.verdict["score"]["hypotheses"][0]["judged"] == "unknown");
  CHECK(result.verdict["score"]["first_hypothesis"]["text"] == "the balancer");
}

TEST_CASE("the same game day with the same seed, salt and answers is the same to the byte", "[sim][game]") {
  const auto timeline = [] {
    LoginWorld world("as-it-was");
    const Playbook playbook = world.shipped("game-day.json");
    std::string text = play_sealed(world, playbook, 0, shipped_answers(playbook)).result.timeline;
    const std::string socket = world.variables().at("balancer_socket").get<std::string>();
    for (std::size_t at; (at = text.find(socket)) != std::string::npos;) text.replace(at, socket.size(), "SOCKET");
    return text;
  };
  // The opening's hash is over the socket's name, which is another each time.
  const auto without_seal = [](std::string text) {
    std::string out;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.find("\"commitment\"") == std::string::npos) out += line + "\n";
    }
    return out;
  };
  CHECK(without_seal(timeline()) == without_seal(timeline()));
}

TEST_CASE("the postmortem draft says what happened, who said what and when, why, and what to do", "[sim][game][postmortem]") {
  LoginWorld world("as-it-was");
  const Playbook playbook = world.shipped("game-day.json");
  const Played played = play_sealed(world, playbook, 0, shipped_answers(playbook));
  const std::string text = postmortem(played.opened, played.result.events, played.result.verdict);
  INFO(text);
  std::size_t at = 0;
  for (const char* part : {"# Postmortem: A sealed game day", "## Issue summary", "auth2, which drowns", "Impact: login success ratio was", "It was noticed after 4", "The right cause was named after 10", "Back to the steady state",
                           "## Score", "| time to detect | **4", "## Timeline", "**answer to cause after 14 s: the database is slow again**", "A hypothesis that was not it, after 5", "## Root cause", "- Trigger: balancer.skew on balancer",
                           "- Suspect the database: ruled out", "## Resolution", "put the weights back", "## Corrective measures", "login success ratio was", "an earlier hypothesis"}) {
    INFO(part);
    const std::size_t found = text.find(part, at);
    CHECK(found != std::string::npos);
    if (found != std::string::npos) at = found;
  }
  CHECK(postmortem(Json::object(), {}, Json::object()).empty());
}
