#include "experiments/report/markdown.h"

#include <fmt/format.h>

#include "experiments/report/escape.h"
#include "experiments/report/summary.h"
#include "experiments/report/words.h"

namespace capsize {
namespace {

std::string line(std::string_view label, std::string_view text) { return fmt::format("- **{}:** {}\n", label, markdown_text(text)); }

std::string_view result(const std::string& holds) { return holds == "yes" ? "✓ held" : holds == "no" ? "✗ **missed**" : "? cannot tell"; }

}  // namespace

std::string markdown_report(const Json& playbook, const std::vector<Json>& events, const Json& verdict) {
  const Summary summary = summarize(playbook, events, verdict);
  const OutcomeWords words = outcome_words(summary.outcome);
  std::string out = fmt::format("# {}: {}\n\n**{}**: {}.\n\n", words.badge, markdown_text(summary.title), words.badge, words.meaning);
  if (!summary.because.empty()) out += line("Because", summary.because);
  for (const std::string& sentence : summary.done) out += line("Done", sentence);
  for (const FindingWords& one : summary.findings) {
    if (one.holds == "no" && !one.recovery) out += line("Failed", one.sentence);
  }
  for (const AlertWords& one : summary.alerts) out += line("Alert", fmt::format("{}: {}: {}", one.alert, one.word, one.because));
  out += line("Recovery", summary.recovery) + line("Undo", summary.undo);
  if (!summary.retries.empty()) out += line("Retries", summary.retries);
  if (!summary.escape.empty()) out += line("Escape test", summary.escape);
  for (const ResidueWords& one : summary.residue) {
    out += line("Left behind", one.because.empty() ? one.what : one.what + ": " + one.because);
    if (!one.remedy.empty()) out += line("To do now", one.remedy);
  }
  if (!summary.findings.empty()) {
    out += "\n| result | expectation | measured | expected | 95 % interval |\n| --- | --- | --- | --- | --- |\n";
    for (const FindingWords& one : summary.findings) {
      const std::string measure = one.measure.empty() ? one.expectation : one.during.empty() ? one.measure : one.measure + " " + one.during;
      out += fmt::format("| {} | {} | {} | {} | {} |\n", result(one.holds), markdown_text(measure), markdown_text(one.value), markdown_text(one.limit), markdown_text(one.interval));
    }
  }
  if (!summary.suspects.empty()) {
    out += "\n| suspect | in the fault | what moved |\n| --- | --- | --- |\n";
    for (const SuspectWords& one : summary.suspects) out += fmt::format("| {} | {} | {} |\n", markdown_text(one.suspect), one.word == "moved" ? "**moved**" : one.word, markdown_text(one.because));
  }
  if (!summary.game.cause.empty()) out += "\n" + line("Sealed, it was", summary.game.cause);
  if (!summary.game.score.empty()) {
    out += "\n| game day | | |\n| --- | --- | --- |\n";
    for (const ScoreWords& one : summary.game.score) out += fmt::format("| {} | **{}** | {} |\n", one.what, markdown_text(one.value), markdown_text(one.because));
  }
  for (const FaultWords& fault : summary.faults) {
    std::string permissions;
    for (const std::string& one : fault.allowed) permissions += (permissions.empty() ? "" : ", ") + one;
    if (!permissions.empty()) out += fmt::format("\nPermission used by {}: {}. Reason given: {}\n", markdown_text(fault.fault), markdown_text(permissions), markdown_text(fault.reason.empty() ? "none" : fault.reason));
  }
  out += fmt::format("\nrun {} · {} · took {} · exit code {}\n", markdown_text(summary.run), markdown_text(summary.started), plain_seconds(summary.seconds), summary.exit_code);
  return out;
}

}  // namespace capsize
