#include "experiments/report/metrics.h"

#include <fmt/format.h>

#include <cmath>

#include "experiments/report/series.h"
#include "experiments/report/words.h"
#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

constexpr const char* kOutcomes[] = {"held", "refuted", "unrecovered", "inconclusive", "invalid", "aborted", "residue"};
constexpr std::size_t kMaxLabel = 200;  // bytes

using Labels = std::vector<std::pair<std::string_view, std::string>>;

std::string label_text(const std::string& text) {
  std::string out;
  for (const char c : printable(text, kMaxLabel)) {
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out;
}

class Metrics {
 public:
  explicit Metrics(const std::string& playbook) : playbook_(playbook) {}

  // The samples of one family follow each other.
  void family(std::string_view name, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP capsize_run_{} {}\n# TYPE capsize_run_{} gauge\n", name, help, name);
  }
  void sample(double value, const Labels& labels = {}) {
    if (!std::isfinite(value)) return;
    text_ += fmt::format("capsize_run_{}{{playbook=\"{}\"", name_, label_text(playbook_));
    for (const auto& [label, content] : labels) text_ += fmt::format(",{}=\"{}\"", label, label_text(content));
    text_ += fmt::format("}} {}\n", value);
  }
  std::string end() const { return text_ + "# EOF\n"; }

 private:
  std::string playbook_;
  std::string_view name_;
  std::string text_;
};

void add_end(Metrics& out, int code, double ended) {
  out.family("exit_code", "Exit code of the last run: 0 held, 1 to 6 another outcome, 64 and above: it ended without a verdict.");
  out.sample(code);
  out.family("end_timestamp_seconds", "When the last run ended.");
  out.sample(std::floor(ended));
}

void add_expectations(Metrics& out, const Json& verdict) {
  std::size_t counts[3] = {};
  for (const Json& finding : list_of(verdict, "findings")) {
    const std::string holds = text_of(finding, "holds");
    ++counts[holds == "yes" ? 0 : holds == "no" ? 1 : 2];
  }
  out.family("expectations", "Expectations of the last run's hypothesis, by whether they held.");
  const char* words[] = {"yes", "no", "unknown"};
  for (std::size_t i = 0; i < 3; ++i) out.sample(static_cast<double>(counts[i]), {{"holds", words[i]}});
}

void add_recovery(Metrics& out, const Json& verdict) {
  const Json& recovery = member(verdict, "recovery");
  const Json& recovered = member(recovery, "recovered");
  if (recovered.is_boolean()) {
    out.family("recovered", "Whether the steady state came back after the last run's faults were gone; absent where it was not watched.");
    out.sample(recovered.get<bool>() ? 1 : 0);
  }
  if (const auto seconds = number_of(recovery, "seconds")) {
    out.family("recovery_seconds", "Time from the last run's verified undo until the steady state was back; absent where it did not come back.");
    out.sample(*seconds);
  }
}

void add_alerts(Metrics& out, const Json& verdict) {
  const Json& alerts = list_of(verdict, "alerts");
  const auto family = [&](const char* name, const char* help, const char* key) {
    bool any = false;
    for (const Json& line : alerts) {
      const Json& value = member(line, key);
      if (!value.is_boolean() && !value.is_number()) continue;
      if (!any) out.family(name, help);
      any = true;
      out.sample(value.is_boolean() ? (value.get<bool>() ? 1 : 0) : value.get<double>(), {{"probe", text_of(line, "probe")}, {"alert", text_of(line, "alert")}});
    }
  };
  family("alert_detected", "Whether the alert fired after the last run's fault, and not before; absent where it is not known.", "detected");
  family("alert_detect_seconds", "Time from the last run's fault until the alert was seen firing; absent where it did not fire.", "time_to_detect");
  family("alert_clear_seconds", "Time from the last run's verified undo until the alert was seen gone; absent where it was not.", "time_to_clear");
}

void add_success(Metrics& out, const Json& playbook, const std::vector<Json>& events, const Json& verdict) {
  bool any = false;
  for (const ProbeWindows& probe : probe_windows(playbook, events)) {
    if (!probe.offers("success_ratio")) continue;
    for (const auto& [phase, span] : member(verdict, "phases").items()) {
      if (phase == "escape") continue;  // no part of what is judged, and another load
      const auto measured = probe.measure("success_ratio", number_of(span, "from").value_or(0), number_of(span, "to").value_or(0));
      if (!measured) continue;
      if (!any) out.family("success_ratio", "Share of the probe's attempts that succeeded in a phase of the last run, 0 to 1.");
      any = true;
      out.sample(measured->value, {{"probe", probe.name}, {"phase", phase}});
    }
  }
}

}  // namespace

std::string metrics_report(const std::string& playbook_name, const Json& playbook, const std::vector<Json>& events, const Json& verdict, double ended) {
  Metrics out(playbook_name);
  const std::string outcome = text_of(verdict, "outcome");
  out.family("outcome", "1 for the outcome of the last run, 0 for the others.");
  for (const char* one : kOutcomes) out.sample(outcome == one ? 1 : 0, {{"outcome", one}});
  add_end(out, static_cast<int>(number_of(verdict, "exit_code").value_or(70)), ended);
  add_recovery(out, verdict);
  add_alerts(out, verdict);
  add_success(out, playbook, events, verdict);
  add_expectations(out, verdict);
  out.family("residue", "Undos of the last run that were refused or failed: something may still be injected.");
  out.sample(static_cast<double>(list_of(verdict, "residue").size()));
  return out.end();
}

std::string metrics_of_no_run(const std::string& playbook_name, int code, double ended) {
  Metrics out(playbook_name);
  out.family("outcome", "1 for the outcome of the last run, 0 for the others.");
  for (const char* one : kOutcomes) out.sample(0, {{"outcome", one}});
  add_end(out, code, ended);
  return out.end();
}

}  // namespace capsize
