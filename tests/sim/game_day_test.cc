// Game days in virtual time: the shipped one in each of its causes, and rooms that answer, are silent, or are not there.
#include "experiments/report/postmortem.h"
#include "experiments/report/summary.h"
#include "tests/sim/game_play.h"

using namespace capsize;
using namespace capsize::test;
using namespace std::chrono_literals;

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

TEST_CASE("what its phase is too short for is never asked", "[sim][game]") {
  LoginWorld world("hardened");
  Room room;
  RunOptions options;
  options.room = &room;
  const auto result = world.run_with(short_playbook(world, Json::parse(R"([
    {"ask": "Too late?", "during": "baseline", "at": "5s"}, {"note": "too late", "during": "fault", "at": "7s"}, {"ask": "Well?", "during": "recovery"}])")), options);
  const auto asked = events_of(result, "ask");
  REQUIRE(asked.size() == 1);
  CHECK(asked[0]["text"] == "Well?");
  CHECK(events_of(result, "note").empty());
}

TEST_CASE("a secret that somebody types is not kept, nor a piece of it where a line is too long", "[sim][game]") {
  LoginWorld world("hardened");
  Room room;
  RunOptions options;
  options.room = &room;
  Playbook playbook = short_playbook(world, two_questions());
  playbook.secrets = {"hunter-twenty-two"};
  world.at(2s, [&](StopSource&) { room.on_line(std::string(kMaxAnswerBytes - 6, 'x') + "hunter-twenty-two"); });
  world.at(3s, [&](StopSource&) { room.on_line(std::string(kMaxAnswerBytes - 1, 'x') + "\u00e9\u00e9"); });
  const auto answers = events_of(world.run_with(playbook, options), "answer");
  REQUIRE(answers.size() == 2);
  CHECK(answers[0]["text"] == std::string(kMaxAnswerBytes - 6, 'x') + "***");
  CHECK(answers[1]["text"] == std::string(kMaxAnswerBytes - 1, 'x'));  // no half of a character
}

TEST_CASE("nobody is blamed for what nobody was asked", "[sim][game][postmortem]") {
  const auto told = [](const Json& steps, bool somebody, bool without_faults = false) {
    LoginWorld world("hardened");
    Room room;
    RunOptions options;
    if (somebody) options.room = &room;
    options.without_faults = without_faults;
    world.at(9s, [&room](StopSource&) { if (room.on_line) room.on_line("the network"); });
    const Playbook playbook = short_playbook(world, steps);
    const auto result = world.run_with(playbook, options);
    return std::pair(result.verdict, postmortem(playbook.as_run, result.events, result.verdict));
  };
  const auto blames = [](const std::string& text) {
    std::vector<std::string> out;
    for (const char* part : {"Nobody said", "was not named", "No mitigation", "nobody noticed", "nobody named", "it was never named", "rules this out", "right hypothesis"}) {
      if (says(text, part)) out.push_back(part);
    }
    return out;
  };
  using Blames = std::vector<std::string>;
  // Only the hypothesis is asked for; the run is not sealed, so that no answer is right or wrong.
  const auto [verdict, text] = told(two_questions(), true);
  INFO(text);
  CHECK(verdict["score"]["detected"]["asked"] == false);
  CHECK(verdict["score"]["first_hypothesis"]["asked"] == true);
  CHECK(verdict["score"]["right_hypothesis"]["asked"] == false);
  CHECK(blames(text) == Blames{});
  CHECK(says(text, "| first hypothesis |"));
  CHECK(!says(text, "| time to detect |"));
  // Three questions, and nobody there.
  const Json scored = Json::parse(R"([{"ask": "What?", "name": "seen", "during": "baseline", "scores": "detected"}, {"ask": "Why?", "name": "why", "during": "baseline", "scores": "hypothesis"},
                                      {"ask": "And now?", "name": "fix", "during": "baseline", "scores": "mitigation"}])");
  CHECK(blames(told(scored, false).second) == Blames{});
  CHECK(blames(told(scored, true).second) == Blames{"No mitigation", "nobody named"});
  // Nothing was injected, and nothing is scored.
  const auto [calm, none] = told(Json::array({{{"ask", "Well?"}, {"during", "baseline"}}}), true, true);
  CHECK(game_words(calm).score.empty());
  CHECK(none.empty());
  CHECK(blames(told(scored, true, true).second) == Blames{});
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
