// The metrics file, read as the node exporter reads it.
#include "experiments/report/metrics.h"
#include "experiments/report/summary.h"

#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "report_checks.h"
#include "report_samples.h"

namespace capsize {
namespace {

using Values = std::map<std::string, double>;

// "name{labels}" -> value. Checks on the way what both formats ask for.
Values read(const std::string& text) {
  const std::regex line(R"re(([a-z_]+)(\{(?:[a-z]+="(?:[^"\\]|\\["\\n])*",?)+\}) ([-+0-9.e]+))re");
  Values out;
  std::set<std::string> typed;
  std::string family;
  std::istringstream in(text);
  std::string last;
  for (std::string one; std::getline(in, one); last = one) {
    INFO(one);
    CHECK(last != "# EOF");
    if (one.starts_with("# TYPE ")) {
      family = one.substr(7, one.find(' ', 7) - 7);
      CHECK(one == "# TYPE " + family + " gauge");
      CHECK(typed.insert(family).second);  // the samples of a family follow each other
    }
    if (one.starts_with("#")) continue;
    std::smatch match;
    REQUIRE(std::regex_match(one, match, line));
    CHECK(match[1] == family);
    CHECK(out.emplace(match[1].str() + match[2].str(), std::stod(match[3])).second);
  }
  CHECK(last == "# EOF");
  CHECK(text.back() == '\n');
  return out;
}

double judged_success(const Sample& sample) {
  for (const Json& finding : sample.verdict["findings"]) {
    if (finding["evidence"]["measure"] == "login.success_ratio") return finding["evidence"]["value"];
  }
  return -1;
}

Values of(const Sample& sample) { return read(metrics_report("favourite", sample.playbook, sample.events, sample.verdict, 1763849000.7)); }

}  // namespace

TEST_CASE("the metrics of a run are its outcome, recovery, success by phase, expectations, residue and end", "[report]") {
  const Sample sample = refuted_sample();
  const Values values = of(sample);
  CHECK(values.at("capsize_run_outcome{playbook=\"favourite\",outcome=\"refuted\"}") == 1);
  CHECK(values.at("capsize_run_outcome{playbook=\"favourite\",outcome=\"held\"}") == 0);
  CHECK(values.at("capsize_run_exit_code{playbook=\"favourite\"}") == 1);
  CHECK(values.at("capsize_run_end_timestamp_seconds{playbook=\"favourite\"}") == 1763849000);
  CHECK(values.at("capsize_run_recovered{playbook=\"favourite\"}") == 1);
  CHECK(values.at("capsize_run_recovery_seconds{playbook=\"favourite\"}") == Approx(sample.verdict["recovery"]["seconds"].get<double>()));
  CHECK(values.at("capsize_run_success_ratio{playbook=\"favourite\",probe=\"login\",phase=\"baseline\"}") == Approx(1).margin(0.02));
  CHECK(values.at("capsize_run_success_ratio{playbook=\"favourite\",probe=\"login\",phase=\"fault\"}") == Approx(judged_success(sample)).margin(0.02));
  CHECK(values.at("capsize_run_expectations{playbook=\"favourite\",holds=\"no\"}") == 2);
  CHECK(values.at("capsize_run_expectations{playbook=\"favourite\",holds=\"yes\"}") == 2);
  CHECK(values.at("capsize_run_residue{playbook=\"favourite\"}") == 0);
}

TEST_CASE("what a run does not know is absent, and exactly one outcome is set", "[report]") {
  for (const auto& [name, sample] : all_samples()) {
    INFO(name);
    const Values values = of(sample);
    double set = 0;
    for (const auto& [key, value] : values) set += key.starts_with("capsize_run_outcome") ? value : 0;
    CHECK(set == 1);
  }
  CHECK(of(inconclusive_sample()).count("capsize_run_recovered{playbook=\"favourite\"}") == 0);
  CHECK(of(unrecovered_sample()).at("capsize_run_recovered{playbook=\"favourite\"}") == 0);
  CHECK(of(unrecovered_sample()).count("capsize_run_recovery_seconds{playbook=\"favourite\"}") == 0);
  CHECK(of(residue_sample()).at("capsize_run_residue{playbook=\"favourite\"}") == 1);
}

TEST_CASE("the logins of an escape test are in no number of the run", "[report][escape]") {
  const Sample plain = unrecovered_sample();
  Sample sample = escaped_sample();
  sample.verdict["phases"]["escape"] = {{"from", 62.3}, {"to", 100.0}};
  Json last;
  for (const Json& event : sample.events) {
    if (event["event"] == "window" && event["probe"] == "login") last = event;
  }
  for (const double at : {63.0, 64.0}) {  // half of the load, all of it failing
    last["t"] = at;
    last["window"]["from"] = at - 1;
    last["window"]["to"] = at;
    sample.events.insert(sample.events.end() - 1, last);
  }
  for (const auto& [key, value] : of(sample)) {
    INFO(key << " " << value);
    CHECK(key.find("phase=\"escape\"") == std::string::npos);
  }
  const auto failed = [](const Sample& one) {
    for (const KeyNumber& number : summarize(one.playbook, one.events, one.verdict).key_numbers) {
      if (number.label == "login attempts failed") return number.value + " " + number.note;
    }
    return std::string("none");
  };
  CHECK(failed(sample) == failed(plain));
  CHECK(failed(sample) != "none");
}

TEST_CASE("a run without a verdict has its exit code and time, and no outcome", "[report]") {
  const Values values = read(metrics_of_no_run("favourite", 69, 1763849000));
  CHECK(values.at("capsize_run_exit_code{playbook=\"favourite\"}") == 69);
  CHECK(values.at("capsize_run_end_timestamp_seconds{playbook=\"favourite\"}") == 1763849000);
  for (const auto& [key, value] : values) CHECK((!key.starts_with("capsize_run_outcome") || value == 0));
}

TEST_CASE("hostile text stays a label in the metrics", "[report]") {
  for (const std::string& text : hostile_texts()) {
    INFO(text);
    const Sample sample = hostile_sample(text);
    CHECK_NOTHROW(read(metrics_report(text, sample.playbook, sample.events, sample.verdict, 1)));
  }
}

}  // namespace capsize
