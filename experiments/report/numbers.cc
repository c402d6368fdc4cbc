// The key numbers of the first screen, and how well the load generator did.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "experiments/report/summary.h"
#include "experiments/report/words.h"
#include "probes/health.h"
#include "probes/probe.h"

namespace capsize {
namespace {

const Phase* find_phase(const std::vector<Phase>& phases, std::string_view name) {
  for (const Phase& phase : phases) {
    if (phase.name == name) return &phase;
  }
  return nullptr;
}

// The judge's finding on this measure over this span, so that a card never says another number than the verdict.
const Json* evidence_on(const Json& verdict, const std::string& measure, std::string_view during) {
  for (const char* where : {"findings", "steady_state"}) {
    for (const Json& finding : list_of(verdict, where)) {
      const Json& evidence = member(finding, "evidence");
      if (text_of(evidence, "measure") == measure && text_of(evidence, "during") == during && number_of(evidence, "value")) return &finding;
    }
  }
  return nullptr;
}

std::optional<double> value_over(const ProbeWindows& probe, const std::string& measure, const Json& verdict, const std::vector<Phase>& phases, std::string_view span) {
  if (const Json* finding = evidence_on(verdict, probe.name + "." + measure, span)) return number_of(member(*finding, "evidence"), "value");
  const Phase* phase = find_phase(phases, span);
  if (phase == nullptr) return std::nullopt;
  const auto measured = probe.measure(measure, phase->from, phase->to);
  return measured ? std::optional(measured->value) : std::nullopt;
}

void add_measure(Summary& out, const ProbeWindows& probe, const std::string& measure, const std::string& kind, const Json& verdict) {
  const bool disturbed = find_phase(out.phases, "fault") != nullptr;
  const char* span = disturbed ? "fault" : "baseline";
  const auto value = value_over(probe, measure, verdict, out.phases, span);
  if (!value) return;
  KeyNumber number;
  number.label = measure_words(probe.name + "." + measure) + (disturbed ? " during the fault" : "");
  number.value = plain_value(kind, *value);
  const Json* finding = evidence_on(verdict, probe.name + "." + measure, span);
  if (finding != nullptr) {
    const FindingWords words = finding_words(*finding);
    number.value = words.value;
    number.note = words.limit.empty() ? "" : "expected " + words.limit;
    number.tone = words.holds == "no" ? "bad" : words.holds == "yes" ? "good" : "unsure";
  }
  if (disturbed) {
    if (const auto baseline = value_over(probe, measure, verdict, out.phases, "baseline")) number.note += fmt::format("{}before {}", number.note.empty() ? "" : " · ", plain_value(kind, *baseline));
  }
  out.key_numbers.push_back(std::move(number));
}

constexpr std::array kFailures = {"denied", "refused", "timed_out", "broken", "wrongly_accepted"};

std::string failure_words(std::string_view name) {
  if (name == "timed_out") return "timed out";
  if (name == "wrongly_accepted") return "wrongly accepted";
  return std::string(name);
}

// The escape test and its load are no part of the run that is judged.
bool before_escape(const Summary& summary, const Window* window) {
  const Phase* escape = find_phase(summary.phases, "escape");
  return escape == nullptr || (number_of(*window, "from").value_or(0) + number_of(*window, "to").value_or(0)) / 2 < escape->from;
}

void add_failures(Summary& out, const ProbeWindows& probe) {
  double due = 0;
  double failed = 0;
  std::vector<std::pair<double, std::string>> kinds;
  for (const char* name : kFailures) kinds.emplace_back(0, failure_words(name));
  for (const Window* window : probe.windows) {
    if (!before_escape(out, window)) continue;
    const Json& counts = member(*window, "counts");
    due += number_of(*window, "scheduled").value_or(0);
    for (std::size_t i = 0; i < kFailures.size(); ++i) {
      const double count = number_of(counts, kFailures[i]).value_or(0);
      kinds[i].first += count;
      failed += count;
    }
  }
  if (due == 0) return;
  std::stable_sort(kinds.begin(), kinds.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string note = fmt::format("of {} over the whole run", plain_count(due));
  if (failed > 0) note += fmt::format(" · {}", kinds[0].first == failed ? "all " + kinds[0].second : plain_count(kinds[0].first) + " " + kinds[0].second);
  out.key_numbers.push_back({probe.name + " attempts failed", plain_count(failed), std::move(note), failed > 0 ? "" : "good"});
}

void add_recovery(Summary& out, const Json& verdict) {
  if (find_phase(out.phases, "fault") == nullptr) return;
  KeyNumber number{"recovery after the fault", "", "", ""};
  if (out.recovered == true) {
    number.value = plain_seconds(out.recovery_seconds.value_or(0));
    number.tone = "good";
  } else {
    number.value = out.recovered == false ? "none" : "not known";
    number.tone = out.recovered == false ? "bad" : "unsure";
  }
  for (const Json& finding : list_of(verdict, "findings")) {
    const auto limit = number_of(member(finding, "evidence"), "limit");
    if (text_of(member(finding, "evidence"), "measure") != "recovery_time" || !limit) continue;
    number.note = "expected at most " + plain_seconds(*limit);
    if (text_of(finding, "holds") == "no") number.tone = "bad";
  }
  out.key_numbers.push_back(std::move(number));
}

// The first alert's: how long the people would have known nothing.
void add_alert(Summary& out, const Json& verdict) {
  const Json& alerts = list_of(verdict, "alerts");
  if (alerts.empty()) return;
  const auto seconds = number_of(alerts.front(), "time_to_detect");
  const Json& detected = member(alerts.front(), "detected");
  KeyNumber number{"time to detect", seconds ? plain_seconds(*seconds) : detected == false ? "not detected" : "not known", "", detected == true ? "" : detected == false ? "bad" : "unsure"};
  for (const Json& finding : list_of(verdict, "findings")) {
    const auto limit = number_of(member(finding, "evidence"), "limit");
    if (text_of(member(finding, "evidence"), "measure") != text_of(alerts.front(), "probe") + ".time_to_detect" || !limit) continue;
    number.note = "expected at most " + plain_seconds(*limit);
    number.tone = text_of(finding, "holds") == "yes" ? "good" : text_of(finding, "holds") == "no" ? "bad" : "unsure";
  }
  out.key_numbers.push_back(std::move(number));
}

// Of a parameter that the playbook may leave to its default; empty: the probe has none of that name.
std::string setting(const Json& use, const ProbeType& type, const char* name) {
  for (const FieldInfo& field : type.spec().fields()) {
    if (field.name == name) return use.contains(name) ? text_of(use, name) : field.default_value.is_string() ? field.default_value.get<std::string>() : "";
  }
  return "";
}

// What a login costs the service hangs on it, and load generators differ in it without a word. Empty: a probe that has no such choice.
std::string connections_of(const Json& use) {
  const ProbeType* type = find_probe(text_of(use, "probe"));
  const std::string kept = type != nullptr ? setting(use, *type, "connections") : "";
  if (kept.empty()) return "";
  const bool tls = std::any_of(use.begin(), use.end(), [](const Json& value) { return value.is_string() && value.get_ref<const std::string&>().starts_with("https://"); });
  std::string out = kept == "new" ? "a new one for each login" : "kept alive from login to login";
  if (tls) out += setting(use, *type, "tls_resumption") == "always" ? "; a new one resumes the TLS session of the one before" : "; each new one makes a full TLS handshake";
  return out;
}

}  // namespace

void add_key_numbers(Summary& out, const std::vector<ProbeWindows>& probes, const Json& verdict) {
  for (const ProbeWindows& probe : probes) {
    if (!probe.type.starts_with("login.") || probe.suspect || out.key_numbers.size() >= 4) continue;  // the users' view: suspects have their table
    add_measure(out, probe, "success_ratio", "ratio", verdict);
    add_measure(out, probe, "latency.p99", "duration", verdict);
    add_failures(out, probe);
    const auto retried = [](const Window* window) { return window->contains("attempts"); };
    if (std::any_of(probe.windows.begin(), probe.windows.end(), retried)) add_measure(out, probe, "retry_amplification", "number", verdict);
  }
  add_recovery(out, verdict);
  add_alert(out, verdict);
}

void add_generator(Summary& out, const Json& playbook, const std::vector<ProbeWindows>& probes, const std::vector<Json>& events) {
  for (const ProbeWindows& probe : probes) {
    double due = 0;
    double not_sent = 0;
    for (const Window* window : probe.windows) {
      due += number_of(*window, "scheduled").value_or(0);
      not_sent += number_of(member(*window, "counts"), "not_sent").value_or(0);
    }
    if (due == 0) continue;
    out.generator.emplace_back(probe.name + ": attempts due", plain_count(due));
    out.generator.emplace_back(probe.name + ": due but not sent in time", not_sent == 0 ? "0" : fmt::format("{} ({})", plain_count(not_sent), plain_value("ratio", not_sent / due)));
    if (const std::string how = connections_of(member(member(playbook, "probes"), probe.name.c_str())); !how.empty()) out.generator.emplace_back(probe.name + ": connections", how);
    if (probe.offers("send_late.p99")) {
      const auto late = probe.measure("send_late.p99", 0, out.seconds + 1);
      if (late) out.generator.emplace_back(probe.name + ": 99 % were sent at most this late", plain_value("duration", late->value));
    }
    if (const auto cpu = generator_health(probe.windows).cpu) out.generator.emplace_back(probe.name + ": of a core, its thread used in the mean", plain_value("ratio", *cpu));
    if (const auto warning = generator_warning(probe.windows)) out.generator.emplace_back(probe.name + ": warning", *warning);
    for (auto window = probe.windows.rbegin(); window != probe.windows.rend(); ++window) {
      const std::string problem = text_of(**window, "problem");
      if (problem.empty()) continue;
      out.generator.emplace_back(probe.name + ": the tester lacked", problem);
      break;
    }
  }
  for (const Json& event : events) {
    if (text_of(event, "event") != "lateness") continue;
    Json rest = event;
    for (const char* key : {"event", "t", "probe"}) rest.erase(key);
    out.generator.emplace_back(text_of(event, "probe") + ": lateness", flat(rest));
  }
}

}  // namespace capsize
