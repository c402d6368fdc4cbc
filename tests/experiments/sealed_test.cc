#include "experiments/game/sealed.h"

#include <catch2/catch.hpp>
#include <set>

#include "experiments/game/answers.h"
#include "experiments/game/score.h"
#include "injector/undo/status.h"
#include "tests/experiments/test_catalogs.h"

using namespace capsize;
using namespace std::chrono_literals;
using test::good_playbook;
using test::read;
using test::said;

namespace {

using Said = std::vector<std::string>;
using Found = std::vector<std::size_t>;

Json sealed_playbook() {
  Json json = good_playbook();
  json.erase("faults");
  json["targets"]["auth"] = {{"type", "process"}, {"pid_file", "/run/auth.pid"}};
  json["sealed"] = Json::parse(R"([
    { "name": "favourite", "cause": "auth1 gets too much.", "known_by": ["balancer", "weight auth1"],
      "faults": [ { "fault": "balancer.skew", "target": "balancer", "server": "auth1", "for": "30s" } ] },
    { "name": "frozen", "cause": "One server is stopped.", "known_by": ["frozen"],
      "faults": [ { "fault": "process.pause", "target": "auth", "at": "5s", "for": "25s" } ] }
  ])");
  json["steps"] = Json::parse(R"([
    { "note": "Watch." },
    { "ask": "What do you see?", "name": "seen", "during": "baseline", "within": "20s", "scores": "detected" },
    { "ask": "Are you well?", "at": "3s" }
  ])");
  return json;
}

Playbook good() {
  const PlaybookResult result = read(sealed_playbook());
  INFO(result.diagnostics.text("playbook"));
  REQUIRE(result.playbook);
  return *result.playbook;
}

Said after(const char* patch) {
  Json json = sealed_playbook();
  const Json changes = Json::parse(patch);
  for (const auto& [pointer, value] : changes.items()) json[Json::json_pointer(pointer)] = value;
  return said(read(json));
}

}  // namespace

TEST_CASE("a sealed playbook is read, and its fault phase is as long whichever cause is chosen", "[sealed][playbook]") {
  const Playbook playbook = good();
  REQUIRE(playbook.sealed.size() == 2);
  CHECK(playbook.faults.empty());
  CHECK(playbook.sealed[1].faults[0].fault == "process.pause");
  CHECK(playbook.fault_phase() == 30s);
  CHECK(open_sealed(playbook, 0).fault_phase() == 30s);
  REQUIRE(playbook.steps.size() == 3);
  CHECK(playbook.steps[0].note == "Watch.");
  CHECK(playbook.steps[1].scores == Scores::detected);
  CHECK(playbook.steps[2].name == "q3");
  CHECK(playbook.steps[2].during == Span::fault);
  CHECK(playbook.steps[2].within == 60s);
}

TEST_CASE("every mistake of a game day is said at once, with its remedy", "[sealed][playbook][mistakes]") {
  CHECK(after(R"({
    "/sealed/0/name": "frozen", "/sealed/0/known_by": ["frozen server", "..."], "/sealed/1/cause": " ", "/sealed/1/faults/0/for": "0s",
    "/steps/0/within": "5s", "/steps/1/during": "run", "/steps/1/name": "two words", "/steps/1/scores": "detcted", "/steps/2/note": "both" })") ==
        Said{"/sealed/0/known_by/1: \"...\" has no word; write a word by which the cause is known",
             "/sealed/1/cause: an empty text; write what it is for",
             "/sealed/1/faults/0/for: a duration of zero; write more than zero, as \"10s\"",
             "/sealed/1/known_by/0: who says \"frozen server\" of /sealed/0 says \"frozen\", too: no answer could tell the two causes apart; choose words that only one of them has",
             "/sealed/1/name: \"frozen\" is also the name of /sealed/0; give each cause a name of its own",
             "/steps/0/within: \"within\" is not a key of a note; leave it out, or write \"ask\" in place of \"note\"",
             "/steps/1/during: \"run\" is not a phase that begins; write \"baseline\", \"fault\" or \"recovery\"",
             "/steps/1/name: \"two words\" is not a name to give; begin with a letter, then up to 63 letters, digits, _ or -",
             "/steps/1/scores: \"detcted\" is not known here; did you mean \"detected\"? known: \"detected\", \"hypothesis\", \"mitigation\"",
             "/steps/2/note: \"note\" beside \"ask\" says the same thing twice; keep one of \"ask\" or \"note\""});
}

TEST_CASE("one cause is nothing to find out, and a second question of a name could take the other's answers", "[sealed][playbook][mistakes]") {
  Json json = sealed_playbook();
  json["sealed"].erase(1);
  CHECK(said(read(json)).front() == "/sealed: fewer than two causes: there is nothing to find out; add another that looks much like it, or move its faults to \"faults\"");
  CHECK(after(R"({"/steps/2/name": "seen"})") == Said{"/steps/2/name: there is another question \"seen\": an answer could be for either; give each question a \"name\" of its own"});
  CHECK(after(R"({"/steps/2/at": "30s"})") == Said{"/steps/2: the fault phase lasts 30s, so that this is never asked; make \"at\" shorter, or the phase longer"});
  Json calm = sealed_playbook();
  calm.erase("sealed");
  calm["targets"].erase("auth");
  CHECK(said(read(calm)).back() == "/steps/2: a playbook without faults has no fault phase; write \"during\": \"baseline\", or add \"faults\" or \"sealed\"");
}

TEST_CASE("causes that end at different times are refused: the recovery of the shorter would be counted from long after its end", "[sealed][playbook][mistakes]") {
  const std::string remedy = ": whichever is chosen, recovery counts from the end of the longest; let every cause end at the same time: change \"at\" or \"for\"";
  CHECK(after(R"({"/sealed/1/faults/0/for": "40s"})") == Said{"/sealed/1/faults/0/for: this cause ends 45s after the start of the fault phase, and /sealed/0 after 30s" + remedy});
  CHECK(after(R"({"/sealed/1/faults/0/at": "0s"})") == Said{"/sealed/1/faults/0/for: this cause ends 25s after the start of the fault phase, and /sealed/0 after 30s" + remedy});
  Json json = sealed_playbook();  // the last fault of a cause counts
  json["sealed"][0]["faults"].push_back({{"fault", "net.delay"}, {"target", "balancer"}, {"at", "1s"}, {"for", "9s"}});
  CHECK(said(read(json)).empty());
  json["sealed"][0]["faults"][1]["for"] = "1m";
  CHECK(said(read(json)) == Said{"/sealed/1/faults/0/for: this cause ends 30s after the start of the fault phase, and /sealed/0 after 61s" + remedy});
  json["sealed"][0]["faults"][1]["for"] = "0s";  // one mistake, said once
  CHECK(said(read(json)).size() == 1);
}

TEST_CASE("the seed chooses, every cause is chosen by some seed, and the same seed chooses again", "[sealed]") {
  const Playbook playbook = good();
  std::set<std::size_t> chosen;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const Seal seal = seal_choice(playbook, seed, "salt");
    chosen.insert(seal.choice);
    CHECK(seal_choice(playbook, seed, "pepper").choice == seal.choice);
  }
  CHECK(chosen.size() == 2);
}

TEST_CASE("the commitment is the SHA-256 of the opening, which holds the salt and the cause", "[sealed]") {
  CHECK(commitment_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const Playbook playbook = good();
  const Seal seal = seal_choice(playbook, 1, "salt");
  CHECK(seal.opening == "salt " + playbook.as_run["sealed"][seal.choice].dump());
  CHECK(seal.commitment == commitment_of(seal.opening));
  CHECK(seal_choice(playbook, 1, "pepper").commitment != seal.commitment);
}

TEST_CASE("an opened playbook has the faults of its cause, and reads again as it was run", "[sealed]") {
  Json json = sealed_playbook();
  json["faults"] = Json::array({{{"fault", "net.delay"}, {"target", "balancer"}, {"for", "10s"}}});
  const PlaybookResult result = read(json);
  REQUIRE(result.playbook);
  const Playbook open = open_sealed(*result.playbook, 1);
  REQUIRE(open.faults.size() == 2);
  CHECK(open.faults[1].fault == "process.pause");
  CHECK(open.opened == 1u);
  const PlaybookResult again = read(open.as_run);
  INFO(again.diagnostics.text("again"));
  REQUIRE(again.playbook);
  CHECK(again.playbook->faults[1].fault == "process.pause");
  CHECK(result.playbook->as_run["faults"].size() == 1);
}

TEST_CASE("before the end nothing is seen of what was planned, injected, measured or undone, nor the seed", "[sealed]") {
  const Json closed = {{"title", "closed"}};
  for (const char* kind : {"planned", "injected", "effect", "undo", "something new"}) CHECK(!seen_meanwhile({{"event", kind}, {"summary", "the fault"}}, closed));
  CHECK(!seen_meanwhile({{"event", "notice"}, {"what", "lifetime_undo"}, {"because", "the fault"}}, closed));
  CHECK(seen_meanwhile({{"event", "notice"}, {"what", "recovered"}}, closed));
  for (const char* kind : {"phase", "window", "gate", "undone", "seal", "opened", "note", "ask", "answer", "unanswered", "end"}) {
    const Json event = {{"event", kind}, {"t", 1}};
    CHECK(seen_meanwhile(event, closed) == event);
  }
  CHECK(seen_meanwhile({{"event", "stop"}, {"kind", "error"}, {"because", "the fault"}}, closed)->at("because") == "told at the end");
  CHECK(seen_meanwhile({{"event", "stop"}, {"kind", "guardrail"}, {"because", "a measure"}}, closed)->at("because") == "a measure");
  CHECK(*seen_meanwhile({{"event", "run"}, {"seed", 7}, {"playbook", {{"title", "opened"}}}}, closed) == Json({{"event", "run"}, {"playbook", closed}}));
}

TEST_CASE("an answer names a cause by all words of a phrase, whatever their case and order", "[sealed]") {
  const Playbook playbook = good();
  CHECK(causes_named(playbook.sealed, "It's the BALANCER!") == Found{0});
  CHECK(causes_named(playbook.sealed, "auth1 has the wrong weight") == Found{0});
  CHECK(causes_named(playbook.sealed, "auth1") == Found{});
  CHECK(causes_named(playbook.sealed, "unfrozen") == Found{});
  CHECK(causes_named(playbook.sealed, "frozen, or the balancer") == Found{0, 1});
  CHECK(causes_named(playbook.sealed, "") == Found{});
}

TEST_CASE("a told choice that is not what was sealed does not match", "[sealed]") {
  const Json seal = {{"event", "seal"}, {"commitment", commitment_of("salt favourite")}, {"causes", 2}};
  const Json opened = {{"event", "opened"}, {"choice", 0}, {"name", "favourite"}, {"cause", "."}, {"opening", "salt favourite"}};
  const Json planned = {{"event", "planned"}, {"fault", 0}};
  CHECK(sealed_json({seal, planned, opened})["matches"] == true);
  Json changed = opened;
  changed["opening"] = "salt frozen";
  CHECK(sealed_json({seal, planned, changed})["matches"] == false);
  CHECK(untold(sealed_json({seal, opened})));  // its runner was killed before the rest was written
  CHECK(!sealed_json({seal}).contains("opening"));
  CHECK(sealed_json({}).is_null());
}

TEST_CASE("the steps of a sealed run are hidden while its agent lives, on any host, and never of another run", "[sealed]") {
  const auto status = [](std::string run, Holder holder) {
    JournalStatus out;
    out.run = std::move(run);
    out.holder = holder;
    return out;
  };
  CHECK(is_sealed(status("20261122-game-day-3f2a-sealed", Holder::in_progress)));
  CHECK(is_sealed(status("20261122-game-day-3f2a-sealed@edge", Holder::in_progress)));
  CHECK(!is_sealed(status("20261122-game-day-3f2a-sealed", Holder::nobody)));
  CHECK(!is_sealed(status("20261122-game-day-3f2a-sealed@edge", Holder::reverting)));
  CHECK(!is_sealed(status("20261122-sealed-3f2a", Holder::in_progress)));
  CHECK(!is_sealed(status("20261122-game-day-3f2a@x-sealed", Holder::in_progress)));
}

TEST_CASE("answers are read, and every mistake in them is said at once", "[sealed][answers]") {
  const Playbook playbook = good();
  const AnswersResult result = read_answers(R"({ "answers": [ { "to": "seen", "after": "2s", "text": "slow" }, { "to": "seen", "text": "slower" }, { "to": "q3", "after": "1m", "text": "yes" } ] })", playbook);
  INFO(result.diagnostics.text("answers"));
  REQUIRE(result.diagnostics.ok());
  REQUIRE(result.answers.size() == 3);
  CHECK(result.answers[0].after == 2s);
  CHECK(result.answers[1].text == "slower");
  const AnswersResult wrong = read_answers("{\n\"answers\": [ { \"to\": \"sen\", \"text\": \"\" },\n{ \"to\": \"seen\", \"after\": \"21s\", \"txt\": \"x\" },\n{ \"to\": \"q3\", \"text\": \"a\" }, { \"to\": \"q3\", \"text\": \"b\" } ], \"more\": 1 }", playbook);
  const std::string text = wrong.diagnostics.text("a.json");
  INFO(text);
  for (const char* part : {"a.json:2:22: /answers/0/to: the playbook has no question \"sen\"; did you mean \"seen\"?", "/answers/0/text: an empty answer; ", "/answers/1/after: \"seen\" takes answers for 20s only; ",
                           "/answers/1/txt: \"txt\" is not a key here; did you mean \"text\"?", "/answers/1: \"text\" is missing", "/answers/3/to: \"q3\" is closed by its first answer, and has one already; ", "/more: \"more\" is not a key here; "}) {
    INFO(part);
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK(wrong.diagnostics.errors() == 7);
  CHECK(!read_answers("[]", playbook).diagnostics.ok());
  CHECK(!read_answers("nothing", playbook).diagnostics.ok());
}
