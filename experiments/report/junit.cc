#include "experiments/report/junit.h"

#include <fmt/format.h>

#include "experiments/report/escape.h"
#include "experiments/report/summary.h"
#include "experiments/report/words.h"

namespace capsize {
namespace {

enum class Result { passed, failure, error, skipped };

struct Case {
  std::string name;
  Result result = Result::passed;
  std::string message;  // one sentence
  std::string detail;
};

Case expectation(const FindingWords& finding) {
  Case out{finding.expectation, Result::passed, finding.sentence, finding.because};
  if (finding.holds == "no") out.result = Result::failure;
  if (finding.holds == "unknown") out.result = Result::skipped;
  return out;
}

Case recovery(const Summary& summary) {
  Case out{"recovery", Result::passed, summary.recovery, ""};
  if (summary.recovery_missed && summary.recovered.has_value()) out.result = Result::failure;
  else if (!summary.recovered) out.result = Result::skipped;
  return out;
}

Case residue(const Summary& summary) {
  Case out{"nothing is left behind", !summary.all_undone ? Result::failure : summary.undo_known ? Result::passed : Result::error, summary.undo, ""};
  for (const ResidueWords& one : summary.residue) {
    out.message += fmt::format(" {}{}{}", one.what, one.because.empty() ? "" : ": ", one.because);
    if (!one.remedy.empty()) out.message += "; " + one.remedy;
  }
  return out;
}

// An abort is the guardrail's answer on the system, or an operator's: a failure. What could not be told is an error of the run.
Case judged(const Summary& summary) {
  const OutcomeWords words = outcome_words(summary.outcome);
  Case out{"the run could be judged", Result::error, fmt::format("{}: {}", words.badge, words.meaning), summary.because};
  if (summary.outcome == "held" || summary.outcome == "refuted" || summary.outcome == "unrecovered" || summary.outcome == "residue") out.result = Result::passed;
  if (summary.outcome == "aborted") out.result = Result::failure;
  return out;
}

// The fault and its undo, of one fault. What a stopped run never came to is skipped: that it was stopped has a case of its own.
void add_fault(std::vector<Case>& cases, const Summary& summary, std::size_t index, const Json& fault) {
  const FaultWords& words = summary.faults[index];
  const std::string name = fmt::format("{}: {}{}{}", index + 1, words.fault, words.target.empty() ? "" : " on ", words.target);
  const bool measured = !member(member(fault, "effect"), "intended").is_null();
  const bool stopped = summary.outcome == "inconclusive" || summary.outcome == "aborted";
  Case bites{"fault " + name, Result::passed, words.because.empty() ? "its effect was not measured" : words.because, words.summary};
  if (!measured && stopped) bites.result = Result::skipped;
  else if (words.bites != "yes") bites.result = Result::error;
  cases.push_back(std::move(bites));
  Case undo{"undo " + name, Result::passed, words.undo, words.undo_because};
  if (words.undo == "unknown") undo.result = Result::error, undo.message = summary.undo;
  else if (words.undo != "undone" && words.undo != "nothing_to_undo") undo.result = Result::failure;
  else if (!measured && words.bites == "no" && words.undo == "nothing_to_undo") undo.result = Result::skipped, undo.message = "it was never injected";
  cases.push_back(std::move(undo));
}

std::string show(const Case& one, const std::string& suite) {
  std::string out = fmt::format("    <testcase classname=\"{}\" name=\"{}\"", xml_text(suite), xml_text(one.name));
  if (one.result == Result::passed) return out + "/>\n";
  const char* element = one.result == Result::failure ? "failure" : one.result == Result::error ? "error" : "skipped";
  return out + fmt::format(">\n      <{0} message=\"{1}\">{2}</{0}>\n    </testcase>\n", element, xml_text(one.message), xml_text(one.detail));
}

std::string property(std::string_view name, std::string_view value) { return fmt::format("      <property name=\"{}\" value=\"{}\"/>\n", xml_text(name), xml_text(value)); }

std::string suite(const Summary& summary, const std::vector<Case>& cases, const std::string& started) {
  std::size_t counts[4] = {};
  std::string body;
  for (const Case& one : cases) {
    ++counts[static_cast<std::size_t>(one.result)];
    body += show(one, summary.title);
  }
  const std::string totals = fmt::format("tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3f}\"", cases.size(), counts[1], counts[2], counts[3], summary.seconds);
  std::string out = fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"capsize\" {}>\n", totals);
  out += fmt::format("  <testsuite name=\"{}\" {}", xml_text(summary.title), totals);
  if (!started.empty()) out += fmt::format(" timestamp=\"{}\"", xml_text(started));
  out += ">\n    <properties>\n";
  out += property("run", summary.run) + property("outcome", summary.outcome) + property("exit_code", std::to_string(summary.exit_code)) + property("seed", summary.seed) + property("because", summary.because);
  for (const AlertWords& one : summary.alerts) out += property("alert." + one.probe, one.word + ": " + one.because);
  return out + "    </properties>\n" + body + "  </testsuite>\n</testsuites>\n";
}

}  // namespace

std::string junit_report(const Json& verdict) {
  const Summary summary = summarize(Json(), {}, verdict);
  std::vector<Case> cases;
  for (const FindingWords& finding : summary.findings) cases.push_back(expectation(finding));
  const Json& faults = list_of(verdict, "faults");
  for (std::size_t i = 0; i < summary.faults.size(); ++i) add_fault(cases, summary, i, faults[i]);
  cases.push_back(recovery(summary));
  cases.push_back(residue(summary));
  cases.push_back(judged(summary));
  return suite(summary, cases, text_of(verdict, "started").substr(0, 19));
}

std::string junit_of_no_run(const std::string& playbook, int code, const std::string& because) {
  Summary summary;
  summary.title = playbook;
  summary.outcome = "no verdict";
  summary.because = because;
  summary.exit_code = code;
  return suite(summary, {{"the run could be judged", Result::error, fmt::format("it ended without a verdict (exit {})", code), because}}, "");
}

}  // namespace capsize
