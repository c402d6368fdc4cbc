#include "experiments/report/junit.h"

#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <map>
#include <sstream>

#include "report_checks.h"
#include "report_samples.h"

namespace capsize {
namespace {

using Tree = boost::property_tree::ptree;

Tree suite_of(const Sample& sample) {
  std::istringstream in(junit_report(sample.verdict));
  Tree tree;
  boost::property_tree::read_xml(in, tree);  // throws when it is not well-formed
  return tree.get_child("testsuites.testsuite");
}

// name -> "passed", "failure", "error" or "skipped"
std::map<std::string, std::string> cases_of(const Sample& sample) {
  std::map<std::string, std::string> out;
  for (const auto& [name, child] : suite_of(sample)) {
    if (name != "testcase") continue;
    std::string result = "passed";
    for (const char* kind : {"failure", "error", "skipped"}) {
      if (child.count(kind) > 0) result = kind;
    }
    out[child.get<std::string>("<xmlattr>.name")] = result;
  }
  return out;
}

const std::string kSuccess = "login.success_ratio at least 95% during fault";
const std::string kLatency = "login.latency.p99 at most 2x baseline during fault";
const std::string kAccepted = "login.wrongly_accepted at most 0 during run";
const std::string kInTime = "recovery_time at most 15s";
const std::string kResidue = "nothing is left behind";
const std::string kJudged = "the run could be judged";
const std::string kFault = "fault 1: balancer.skew on balancer";
const std::string kUndo = "undo 1: balancer.skew on balancer";
using Cases = std::map<std::string, std::string>;

Cases with(Cases cases, const Cases& more) {
  cases.insert(more.begin(), more.end());
  return cases;
}

const Cases kDone = {{kFault, "passed"}, {kUndo, "passed"}, {kResidue, "passed"}, {kJudged, "passed"}};

}  // namespace

TEST_CASE("each expectation, fault and undo, the recovery and the residue is a test case", "[report]") {
  CHECK(cases_of(held_sample()) == with(kDone, {{kSuccess, "passed"}, {kLatency, "passed"}, {kAccepted, "passed"}, {kInTime, "passed"}, {"recovery", "passed"}}));
  CHECK(cases_of(refuted_sample()) == with(kDone, {{kSuccess, "failure"}, {kLatency, "failure"}, {kAccepted, "passed"}, {kInTime, "passed"}, {"recovery", "passed"}}));
  CHECK(cases_of(unrecovered_sample()) == with(kDone, {{kSuccess, "failure"}, {kLatency, "failure"}, {kAccepted, "passed"}, {kInTime, "failure"}, {"recovery", "failure"}}));
}

TEST_CASE("a run without an answer is an error, and what it could not tell or never came to is skipped", "[report]") {
  CHECK(cases_of(inconclusive_sample()) == Cases{{kSuccess, "skipped"}, {"recovery", "skipped"}, {kFault, "skipped"}, {kUndo, "skipped"}, {kResidue, "passed"}, {kJudged, "error"}});
  const Cases invalid = cases_of(invalid_sample());
  CHECK(invalid.at(kFault) == "error");  // it did not bite
  CHECK(invalid.at(kUndo) == "passed");
  CHECK(invalid.at(kJudged) == "error");
}

TEST_CASE("what a guardrail stopped and what is left behind are failures", "[report]") {
  CHECK(cases_of(aborted_sample())[kJudged] == "failure");
  const Cases residue = cases_of(residue_sample());
  CHECK(residue.at(kUndo) == "failure");
  CHECK(residue.at(kResidue) == "failure");
  CHECK(residue.at("recovery") == "skipped");
}

TEST_CASE("a run that did not begin is one error with its exit code and reason", "[report]") {
  const std::string report = junit_of_no_run("night <1>", 69, "cannot read \"x\"");
  std::istringstream in(report);
  Tree tree;
  boost::property_tree::read_xml(in, tree);
  const Tree suite = tree.get_child("testsuites.testsuite");
  CHECK(suite.get<std::string>("<xmlattr>.name") == "night <1>");
  CHECK(suite.get<int>("<xmlattr>.tests") == 1);
  CHECK(suite.get<int>("<xmlattr>.errors") == 1);
  CHECK(suite.get<std::string>("testcase.error") == "cannot read \"x\"");
  CHECK(suite.get<std::string>("testcase.error.<xmlattr>.message") == "it ended without a verdict (exit 69)");
}

TEST_CASE("the totals of the suite are those of its cases", "[report]") {
  for (const auto& [name, sample] : all_samples()) {
    INFO(name);
    std::map<std::string, int> counts;
    const auto cases = cases_of(sample);
    for (const auto& [test, result] : cases) ++counts[result];
    const Tree suite = suite_of(sample);
    CHECK(suite.get<std::size_t>("<xmlattr>.tests") == cases.size());
    CHECK(suite.get<int>("<xmlattr>.failures") == counts["failure"]);
    CHECK(suite.get<int>("<xmlattr>.errors") == counts["error"]);
    CHECK(suite.get<int>("<xmlattr>.skipped") == counts["skipped"]);
  }
}

TEST_CASE("hostile text stays text in junit.xml", "[report]") {
  const auto count = [](const std::string& text, char c) { return std::count(text.begin(), text.end(), c); };
  const Sample harmless = hostile_sample("harmless");
  const std::string expected = junit_report(harmless.verdict);
  for (const std::string& text : hostile_texts()) {
    INFO(text);
    const Sample sample = hostile_sample(text);
    const std::string report = junit_report(sample.verdict);
    CHECK(count(report, '<') == count(expected, '<'));
    CHECK(count(report, '"') == count(expected, '"'));
    CHECK(report.find("]]>") == std::string::npos);
    CHECK(report.find("\xef\xbf\xbf") == std::string::npos);
    CHECK(std::all_of(report.begin(), report.end(), [](char c) { return c == '\n' || static_cast<unsigned char>(c) >= 0x20; }));
    CHECK_NOTHROW(suite_of(sample));
  }
}

}  // namespace capsize
