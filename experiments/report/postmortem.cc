#include "experiments/report/postmortem.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "experiments/report/escape.h"
#include "experiments/report/summary.h"
#include "experiments/report/words.h"

namespace capsize {
namespace {

constexpr const char* kGap = "_to be filled in_";

// "22:00:13" of the event at `t`, from the wall time at which the run began ("2026-11-22T22:00:03.123Z").
std::string clock_time(const std::string& started, double t) {
  if (started.size() < 20 || started[10] != 'T') return fmt::format("+{:.1f} s", t);
  const auto two = [&](std::size_t at) { return std::atoi(started.substr(at, 2).c_str()); };
  const double fraction = started.size() > 22 ? std::atof(("0" + started.substr(19, 4)).c_str()) : 0;
  const double whole = two(11) * 3600 + two(14) * 60 + two(17) + fraction + t;
  const auto second = static_cast<long>(std::floor(whole)) % 86'400;
  return fmt::format("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
}

// Nothing where nobody was asked, or there was nothing to find out: it is nobody's fault then.
const ScoreWords* line(const GameWords& game, const std::string& what) {
  if (!game.began) return nullptr;
  for (const ScoreWords& one : game.score) {
    if (one.what == what) return &one;
  }
  return nullptr;
}

std::string sentence(const GameWords& game, const char* what, const char* known, const char* unknown) {
  const ScoreWords* one = line(game, what);
  if (one == nullptr) return {};
  return one->known ? fmt::format(fmt::runtime(known), one->value) : std::string(unknown);
}

void add_summary(std::string& out, const Summary& summary, const Json& verdict) {
  out += "## Issue summary\n\n";
  const Json& score = member(verdict, "score");
  const auto began = number_of(score, "began");
  for (const std::string& done : summary.done) out += markdown_text(done) + "\n";
  if (!summary.game.cause.empty()) out += fmt::format("The cause was {}\n", markdown_text(summary.game.cause));
  const auto felt = number_of(score, "felt");
  if (felt) out += fmt::format("Users felt it {} after it began.\n", plain_seconds(*felt));
  else if (began) out += "The steady state was never clearly missed: users may not have felt it.\n";
  for (const FindingWords& one : summary.findings) {
    if (one.holds == "no" && !one.recovery) out += fmt::format("Impact: {}.\n", markdown_text(one.sentence));
  }
  out += sentence(summary.game, "time to detect", "It was noticed after {}.\n", "Nobody said that something was wrong.\n");
  out += sentence(summary.game, "right hypothesis", "The right cause was named after {}.\n", "The right cause was not named.\n");
  out += markdown_text(summary.recovery) + "\n";
  out += fmt::format("\nWhat it would have meant for real users, had it not been a game day: {}\n", kGap);
}

void add_score(std::string& out, const Summary& summary) {
  if (summary.game.score.empty()) return;
  if (!summary.game.began) {
    out += "\n## Score\n\nNone: nothing was injected.\n";
    return;
  }
  out += "\n## Score\n\nCounted from the moment at which the fault was in place.\n\n| | | |\n| --- | --- | --- |\n";
  for (const ScoreWords& one : summary.game.score) out += fmt::format("| {} | **{}** | {} |\n", one.what, markdown_text(one.value), markdown_text(one.because));
}

void add_timeline(std::string& out, const Summary& summary, const std::vector<Json>& events, const Json& verdict) {
  const std::string started = text_of(verdict, "started");
  out += fmt::format("\n## Timeline\n\nUTC, {}. In bold what people said.\n\n| time | seconds | what |\n| --- | --- | --- |\n", markdown_text(started.substr(0, 10)));
  Teller teller;
  for (const Json& event : events) {
    const auto words = teller.tell(event);
    const std::string kind = text_of(event, "event");
    if (!words || kind == "planned" || kind == "run") continue;
    const bool said = kind == "answer" || (kind == "note" && text_of(event, "from") == "room");
    const std::string text = markdown_text(words->text);
    out += fmt::format("| {} | {:.1f} | {} |\n", clock_time(started, words->t), words->t, said ? "**" + text + "**" : text);
  }
  for (const GameWords::Hypothesis& one : summary.game.hypotheses) {
    if (one.judged == "wrong") out += fmt::format("\nA hypothesis that was not it, after {}: {}. What spoke for it then, and what would have ruled it out sooner? {}\n", one.when, markdown_text("\"" + one.text + "\""), kGap);
  }
}

void add_cause(std::string& out, const Summary& summary) {
  out += "\n## Root cause\n\n";
  if (!summary.game.cause.empty()) out += markdown_text(summary.game.cause) + "\n";
  for (const FaultWords& fault : summary.faults) {
    out += fmt::format("\n- Trigger: {} on {}{}{}\n", markdown_text(fault.fault), markdown_text(fault.target), fault.summary.empty() ? "" : ": " + markdown_text(fault.summary), fault.when.empty() ? "" : ", " + markdown_text(fault.when));
    if (!fault.measured.empty()) out += fmt::format("- Measured: {} (intended: {})\n", markdown_text(fault.measured), markdown_text(fault.intended));
  }
  for (const SuspectWords& one : summary.suspects) out += fmt::format("- Suspect {}: {}: {}\n", markdown_text(one.suspect), one.word, markdown_text(one.because));
  out += fmt::format("\nWhy one such change could do so much harm (ask \"why\" until the answer is something that can be changed): {}\n", kGap);
  if (summary.game.untold) {
    out += fmt::format("\nSealed: SHA-256 `{}` was shown at the start. What it stands for was never told: the run ended before that.\n", summary.game.commitment);
  } else if (!summary.game.commitment.empty()) {
    out += fmt::format("\nSealed: SHA-256 `{}` was shown at the start. {} `verdict.json` has the opening: `jq -j .sealed.opening verdict.json | sha256sum` gives the hash.\n", summary.game.commitment,
                       summary.game.matches ? "What was told at the end matches it." : "**What was told at the end does not match it.**");
  }
}

void add_resolution(std::string& out, const Summary& summary) {
  out += "\n## Resolution\n\n";
  out += sentence(summary.game, "mitigation", "A mitigation was named after {}", "No mitigation was named.\n");
  if (const ScoreWords* one = line(summary.game, "mitigation"); one != nullptr && one->known) out += ": " + markdown_text(one->because) + ".\n";
  out += fmt::format("{}\n{}\n", markdown_text(summary.undo), markdown_text(summary.recovery));
  if (!summary.rebalance.empty()) out += markdown_text(summary.rebalance) + "\n";
  for (const ResidueWords& one : summary.residue) out += fmt::format("\n**Left behind: {}** {}\n", markdown_text(one.what), markdown_text(one.remedy));
  out += fmt::format("\nIn production nobody would have taken it away after its time. What would have ended it, and how long would that have taken? {}\n", kGap);
}

// What the numbers ask for; each is a proposal that people keep, change or strike.
std::vector<std::pair<std::string, std::string>> measures(const Summary& summary) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const FindingWords& one : summary.findings) {
    if (one.holds == "no" && !one.recovery) out.emplace_back("prevent or limit: make this hold", one.sentence);
  }
  const auto known = [&](const char* what) {
    const ScoreWords* one = line(summary.game, what);
    return one != nullptr && one->known;
  };
  const ScoreWords* detect = line(summary.game, "time to detect");
  if (detect != nullptr) out.emplace_back(detect->known ? "detect: an alert on what users feel, so that nobody has to notice" : "detect: an alert on what users feel: nobody noticed", "time to detect: " + detect->value);
  for (const GameWords::Hypothesis& one : summary.game.hypotheses) {
    if (one.judged == "right") break;
    if (one.judged != "wrong") continue;
    out.emplace_back("diagnose: show on the first screen what rules this out", "an earlier hypothesis: \"" + one.text + "\"");
  }
  if (line(summary.game, "right hypothesis") != nullptr && !known("right hypothesis")) out.emplace_back("diagnose: show on the first screen what points at the cause", "it was never named: " + summary.game.cause);
  if (line(summary.game, "mitigation") != nullptr && !known("mitigation")) out.emplace_back("mitigate: a runbook entry for this cause", "nobody named a mitigation");
  if (summary.recovery_missed) out.emplace_back("recover: shed the backlog when the cause is gone", summary.recovery);
  if (!summary.all_undone) out.emplace_back("look at what was left behind before anything else", summary.undo);
  else if (!summary.undo_known) out.emplace_back("see whether anything was left behind before anything else", summary.undo);
  out.emplace_back("keep it so: run this playbook every night", "what was repaired once breaks again unseen");
  return out;
}

void add_measures(std::string& out, const Summary& summary) {
  out += "\n## Corrective measures\n\nProposals from the numbers: keep, change or strike each, and give those that stay an owner and a day.\n\n| measure | because | owner | by |\n| --- | --- | --- | --- |\n";
  for (const auto& [what, why] : measures(summary)) out += fmt::format("| {} | {} | | |\n", markdown_text(what), markdown_text(why));
  out += fmt::format("\nWhat went well, and where we were lucky: {}\n", kGap);
}

}  // namespace

std::string postmortem(const Json& playbook, const std::vector<Json>& events, const Json& verdict) {
  const Summary summary = summarize(playbook, events, verdict);
  if (!summary.game.any()) return {};
  const OutcomeWords words = outcome_words(summary.outcome);
  std::string out = fmt::format("# Postmortem: {}\n\nDraft, written by capsize from run {} of {} ({}: {}). Nobody is to blame in it.\n\n", markdown_text(summary.title), markdown_text(summary.run),
                                markdown_text(summary.started), words.badge, words.meaning);
  add_summary(out, summary, verdict);
  add_score(out, summary);
  add_timeline(out, summary, events, verdict);
  add_cause(out, summary);
  add_resolution(out, summary);
  add_measures(out, summary);
  return out;
}

}  // namespace capsize
