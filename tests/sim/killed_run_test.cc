// Runs whose runner was killed: what their record says, and what it does not.
#include "experiments/report/html.h"
#include "experiments/report/junit.h"
#include "experiments/report/postmortem.h"
#include "experiments/report/summary.h"
#include "tests/sim/game_play.h"

using namespace capsize;
using namespace capsize::test;

namespace {

// What is in the file when the runner is killed right before its first event of this kind (and phase).
std::vector<Json> killed_before(const std::vector<Json>& events, const std::string& kind, const std::string& phase = "") {
  std::vector<Json> out;
  for (const Json& event : events) {
    if (event["event"] == kind && (phase.empty() || event["phase"] == phase)) break;
    out.push_back(event);
  }
  return out;
}

}  // namespace

TEST_CASE("a sealed run whose end was never written is invalid, not held, and nothing says that nothing was injected", "[sim][game]") {
  LoginWorld world("hardened");
  const Playbook playbook = world.shipped("game-day.json");
  const Played played = play_sealed(world, playbook, 1, shipped_answers(playbook));
  for (const char* before : {"opened", "undone"}) {
    const auto cut = killed_before(played.seen, before);
    const Json verdict = judge(playbook, cut);
    CHECK(verdict["outcome"] == "invalid");
    CHECK(verdict["because"] == "the run was sealed, and ended before it told what it had done");
    CHECK(verdict["recovery"]["because"] == verdict["because"]);
    CHECK(!verdict.contains("score"));
    const bool undone = before == std::string("opened");  // that all was undone is no secret
    const Summary summary = summarize(playbook.as_run, cut, verdict);
    REQUIRE(!summary.done.empty());
    CHECK(summary.done[0] == "What was injected was sealed, and the run ended before it was told; it was under 150 logins/s.");
    CHECK(summary.recovery == "Not known: the run was sealed, and ended before it told what it had done.");
    CHECK(summary.undo == (undone ? "Everything was undone, and read back to make sure." : "Whether everything was undone is not known here: ask `capsize status`."));
    CHECK(summary.undo_known == undone);
    CHECK(says(junit_report(verdict), "ask `capsize status`") == !undone);
    for (const std::string& text : {html_report(playbook.as_run, cut, verdict), postmortem(playbook.as_run, cut, verdict)}) {
      INFO(text.substr(0, 3000));
      CHECK(says(text, "What it stands for was never told"));
      for (const char* untrue : {"does not match it", "Nothing was injected", "<p>Nothing.</p>", "nothing to undo", "Time to detect", "Nobody said"}) {
        INFO(untrue);
        CHECK(!says(text, untrue));
      }
    }
  }
  const auto calm = killed_before(played.seen, "phase", "fault");
  CHECK(summarize(playbook.as_run, calm, judge(playbook, calm)).done[0] == "Nothing was injected: the playbook was run for 8 s, with 150 logins/s.");
}

// The seal is opened at the end of the run; the files are written again, playbook first, when it is over: in between the runner may be killed, or
// the disk be full.
TEST_CASE("a sealed run whose files name the cause but not what was done is invalid, whether its playbook was written again or not", "[sim][game]") {
  LoginWorld world("hardened");
  const Playbook playbook = world.shipped("game-day.json");
  const Played played = play_sealed(world, playbook, 1, shipped_answers(playbook));
  REQUIRE(played.seen.back()["event"] == "end");
  const PlaybookResult written_again = read_playbook(played.opened.dump(), PlaybookOptions{});
  REQUIRE(written_again.playbook);
  REQUIRE(written_again.playbook->faults.size() == 1);
  for (const Playbook& beside : {playbook, *written_again.playbook}) {
    for (const auto& cut : {killed_before(played.seen, "end"), played.seen}) {
      const Json verdict = judge(beside, cut);
      INFO(verdict.dump(1));
      CHECK(verdict["outcome"] == "invalid");
      CHECK(verdict["because"] == "the run was sealed, and ended before it told what it had done");
      CHECK(!verdict["sealed"].contains("name"));
      CHECK(!verdict.contains("score"));
      const Summary summary = summarize(beside.as_run, cut, verdict);
      REQUIRE(!summary.done.empty());
      CHECK(summary.done[0] == "What was injected was sealed, and the run ended before it was told; it was under 150 logins/s.");
      CHECK(says(html_report(beside.as_run, cut, verdict), "What it stands for was never told"));
    }
  }
  // The other order, had the timeline come first: it is judged as the run that it tells, by the test below.
  CHECK(judge(*written_again.playbook, played.result.events)["outcome"] == played.result.verdict["outcome"]);
  // A residue is in no file either: that not all was undone is.
  auto left = played.seen;
  for (Json& event : left) {
    if (event["event"] == "undone") event["ok"] = false;
  }
  const Json residue = judge(playbook, left);
  CHECK(residue["outcome"] == "invalid");
  CHECK(!summarize(playbook.as_run, left, residue).undo_known);
}

TEST_CASE("a timeline that tells the choice is judged by it, though the playbook beside it was not written again", "[sim][game]") {
  LoginWorld world("as-it-was");
  const Playbook playbook = world.shipped("game-day.json");
  const Played played = play_sealed(world, playbook, 1);
  CHECK(judge(playbook, played.result.events) == played.result.verdict);
}

TEST_CASE("a run that was killed during its fault does not say that the fault is gone", "[sim][game]") {
  LoginWorld world("hardened");
  const Playbook playbook = short_playbook(world, Json::array());
  const auto result = world.run(playbook);
  REQUIRE(result.verdict["outcome"] == "held");
  const std::string ask = "the record ends before the faults were verified gone: ask `capsize status` what is left of them";
  const auto of_first = [&](const char* kind) { return killed_before(result.events, kind); };
  struct Cut {
    std::vector<Json> events;
    const char* undo;
    std::string because;
  };
  auto after_effect = of_first("undo");
  auto before_effect = of_first("effect");
  const auto after_undo = of_first("undone");
  const Cut cuts[] = {{after_effect, "unknown", ask}, {before_effect, "unknown", ask}, {of_first("injected"), "unknown", ask}, {after_undo, "undone", "the record ends before the recovery was watched"},
                      {killed_before(result.events, "phase", "recovery"), "undone", "the record ends before the recovery was watched"}};
  for (const Cut& cut : cuts) {
    const Json verdict = judge(playbook, cut.events);
    INFO(verdict.dump(1));
    CHECK(verdict["outcome"] == "invalid");
    CHECK(verdict["because"] == cut.because);
    CHECK(verdict["faults"][0]["undo"] == cut.undo);
    const Summary summary = summarize(playbook.as_run, cut.events, verdict);
    CHECK((summary.undo == "Everything was undone, and read back to make sure.") == (cut.undo == std::string("undone")));
    const std::string page = html_report(playbook.as_run, cut.events, verdict);
    CHECK(says(page, "ask `capsize status`") == (cut.undo == std::string("unknown")));
    CHECK(says(junit_report(verdict), "<error message=\"Whether everything was undone is not known here") == (cut.undo == std::string("unknown")));
  }
  CHECK(judge(playbook, before_effect)["faults"][0]["effect"]["because"] == "the run ended before its effect was measured");
}
