// What every kind of report says of alerts, and of probes that were left out.
#include "experiments/report/html.h"
#include "experiments/report/junit.h"
#include "experiments/report/markdown.h"
#include "experiments/report/metrics.h"
#include "experiments/report/summary.h"
#include "experiments/report/terminal.h"
#include "tests/experiments/report_samples.h"

#include <catch2/catch.hpp>

using namespace capsize;

namespace {

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the terminal and report.md have a line for each alert, and name the probes that were left out", "[report][alert]") {
  const Sample sample = alerts_sample();
  const std::string text = verdict_text(summarize(sample.playbook, sample.events, sample.verdict), "", false);
  CHECK(says(text, "  alert LoginsOnOneServer: detected: LoginsOnOneServer fired 4.25 s after the fault\n"));
  CHECK(says(text, "  alert LoginsSlow: not detected: LoginsSlow did not fire within 22.00 s of the fault (there is no alert rule of this name)\n"));
  CHECK(says(text, "  alert LoginsFail: cannot tell: not every look had an answer\n"));
  CHECK(says(text, "  done: Not watched: the probe page was left out (its \"only_if\" is empty), and 2 expectations about it.\n"));
  const std::string markdown = markdown_report(sample.playbook, sample.events, sample.verdict);
  CHECK(says(markdown, "- **Alert:** LoginsOnOneServer: detected: LoginsOnOneServer fired 4.25 s after the fault\n"));
  CHECK(says(markdown, "Not watched: the probe page was left out"));
}

TEST_CASE("the page has the time to detect among its first numbers, and a table of alerts", "[report][alert]") {
  const Sample sample = alerts_sample();
  const std::string page = html_report(sample.playbook, sample.events, sample.verdict);
  CHECK(says(page, "<h2 id=\"alerts\">Did the alerts notice?</h2>"));
  CHECK(says(page, "✓ detected</span></td><td data-label=\"when\">LoginsOnOneServer fired 4.25 s after the fault</td>"));
  CHECK(says(page, "✗ not detected</strong>"));
  const Summary summary = summarize(sample.playbook, sample.events, sample.verdict);
  REQUIRE(!summary.key_numbers.empty());
  CHECK(summary.key_numbers.back().label == "time to detect");
  CHECK(summary.key_numbers.back().value == "4.2 s");
  const Sample without = suspects_sample();
  CHECK(!says(html_report(without.playbook, without.events, without.verdict), "Did the alerts notice?"));
}

TEST_CASE("junit.xml has a property for each alert, the metrics have the times, and nothing where it is not known", "[report][alert]") {
  const Sample sample = alerts_sample();
  CHECK(says(junit_report(sample.verdict), "<property name=\"alert.alarm\" value=\"detected: LoginsOnOneServer fired 4.25 s after the fault\"/>"));
  const std::string metrics = metrics_report("night", sample.playbook, sample.events, sample.verdict, 1);
  CHECK(says(metrics, "capsize_run_alert_detected{playbook=\"night\",probe=\"alarm\",alert=\"LoginsOnOneServer\"} 1\n"));
  CHECK(says(metrics, "capsize_run_alert_detected{playbook=\"night\",probe=\"slow\",alert=\"LoginsSlow\"} 0\n"));
  CHECK(!says(metrics, "probe=\"fail\""));
  CHECK(says(metrics, "capsize_run_alert_detect_seconds{playbook=\"night\",probe=\"alarm\",alert=\"LoginsOnOneServer\"} 4.25\n"));
  CHECK(!says(metrics, "capsize_run_alert_clear_seconds{"));
}
