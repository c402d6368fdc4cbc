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
  Case out{"nothing is left behind", summary.all_undone ? Result::passed : Result::error, summary.undo, ""};
  for (const ResidueWords& one : summary.residue) {
    out.message += fmt::format(" {}{}{}", one.what, one.because.empty() ? "" : ": ", one.because);
    if (!one.remedy.empty()) out.message += "; " + one.remedy;
  }
  return out;
}

Case judged(const Summary& summary) {
  const bool answered = summary.outcome == "held" || summary.outcome == "refuted" || summary.outcome == "unrecovered" || summary.outcome == "residue";
  const OutcomeWords words = outcome_words(summary.outcome);
  return {"the run could be judged", answered ? Result::passed : Result::error, fmt::format("{}: {}", words.badge, words.meaning), summary.because};
}

std::string show(const Case& one, const std::string& suite) {
  std::string out = fmt::format("    <testcase classname=\"{}\" name=\"{}\"", xml_text(suite), xml_text(one.name));
  if (one.result == Result::passed) return out + "/>\n";
  const char* element = one.result == Result::failure ? "failure" : one.result == Result::error ? "error" : "skipped";
  return out + fmt::format(">\n      <{0} message=\"{1}\">{2}</{0}>\n    </testcase>\n", element, xml_text(one.message), xml_text(one.detail));
}

std::string property(std::string_view name, std::string_view value) { return fmt::format("      <property name=\"{}\" value=\"{}\"/>\n", name, xml_text(value)); }

}  // namespace

std::string junit_report(const Json& verdict) {
  const Summary summary = summarize(Json(), {}, verdict);
  std::vector<Case> cases;
  for (const FindingWords& finding : summary.findings) cases.push_back(expectation(finding));
  cases.push_back(recovery(summary));
  cases.push_back(residue(summary));
  cases.push_back(judged(summary));
  std::size_t counts[4] = {};
  std::string body;
  for (const Case& one : cases) {
    ++counts[static_cast<std::size_t>(one.result)];
    body += show(one, summary.title);
  }
  const std::string totals = fmt::format("tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3f}\"", cases.size(), counts[1], counts[2], counts[3], summary.seconds);
  std::string out = fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"capsize\" {}>\n", totals);
  out += fmt::format("  <testsuite name=\"{}\" {} timestamp=\"{}\">\n    <properties>\n", xml_text(summary.title), totals, xml_text(text_of(verdict, "started").substr(0, 19)));
  out += property("run", summary.run) + property("outcome", summary.outcome) + property("exit_code", std::to_string(summary.exit_code)) + property("seed", summary.seed) + property("because", summary.because);
  return out + "    </properties>\n" + body + "  </testsuite>\n</testsuites>\n";
}

}  // namespace capsize
