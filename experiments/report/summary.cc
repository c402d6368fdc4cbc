#include "experiments/report/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/report/words.h"
#include "probes/load/load_rate.h"

namespace capsize {
namespace {

// "limit" as asked: "at least 95 %", "at most 236 ms (2x baseline)".
std::string limit_words(const Json& evidence, const std::string& kind, const std::string& expectation) {
  const auto limit = number_of(evidence, "limit");
  if (!limit) return {};
  std::string comparison = text_of(evidence, "comparison");
  if (comparison.empty()) comparison = expectation.find(" at least ") != std::string::npos ? "at least" : "at most";
  std::string out = comparison + " " + plain_value(kind, *limit);
  const std::size_t relative = expectation.find("x baseline");
  if (relative == std::string::npos) return out;
  const std::size_t begin = expectation.rfind(' ', relative) + 1;
  return fmt::format("{} ({} baseline)", out, expectation.substr(begin, relative + 1 - begin));
}

std::string by_how_much(const std::string& kind, double value, double limit) {
  if (kind == "ratio") {
    const double points = (value - limit) * 100;
    const std::string size = plain_value("ratio", std::abs(points) / 100);
    return fmt::format("{} points {}", size.substr(0, size.size() - 2), points < 0 ? "short" : "over");
  }
  if (kind == "duration" && limit > 0 && value > 2 * limit) return fmt::format("{:.1f} times the limit", value / limit);
  return plain_value(kind, std::abs(value - limit)) + (value < limit ? " short" : " over");
}

// How long it really was in place: a run that was stopped undoes it early.
std::optional<double> in_place_for(std::size_t index, const std::vector<Json>& events) {
  std::optional<double> injected, undone;
  for (const Json& event : events) {
    if (number_of(event, "fault") != static_cast<double>(index)) continue;
    if (text_of(event, "event") == "injected") injected = number_of(event, "t");
    if (text_of(event, "event") == "undo") undone = number_of(event, "t");
  }
  return injected && undone ? std::optional(*undone - *injected) : std::nullopt;
}

// Its injection was begun, and never done.
bool half_injected(std::size_t index, const std::vector<Json>& events) {
  const auto any = [&](const char* kind) {
    return std::any_of(events.begin(), events.end(), [&](const Json& event) { return text_of(event, "event") == kind && number_of(event, "fault") == static_cast<double>(index); });
  };
  return any("injecting") && !any("injected");
}

std::string fault_when(const Json& fault, std::optional<double> in_place) {
  constexpr double kWorthSaying = 1;  // seconds earlier than planned
  const auto at = number_of(fault, "at");
  const auto lasting = number_of(fault, "for");
  const std::string from = at ? plain_seconds(*at) : text_of(fault, "at");
  std::string length = lasting ? plain_seconds(*lasting) : text_of(fault, "for");
  if (lasting && in_place && *in_place < *lasting - kWorthSaying) length = fmt::format("{} of the {} planned", plain_seconds(*in_place), length);
  std::string out = length.empty() ? "" : "for " + length;
  if (!from.empty() && from != "0 s" && from != "0s") out += fmt::format("{}starting {} into the fault phase", out.empty() ? "" : ", ", from);
  return out;
}

FaultWords fault_words(const Json& fault, std::size_t index, const std::vector<Json>& events) {
  FaultWords out;
  out.fault = text_of(fault, "fault");
  out.target = text_of(fault, "target");
  out.summary = text_of(fault, "summary");
  if (half_injected(index, events)) out.when = "but its injection failed or was stopped";
  else out.when = fault_when(fault, in_place_for(index, events));
  const Json& effect = member(fault, "effect");
  const Json& bites = member(effect, "bites");
  out.bites = bites.is_boolean() ? (bites.get<bool>() ? "yes" : "no") : "unknown";
  out.intended = flat(member(effect, "intended"));
  out.measured = flat(member(effect, "measured"));
  out.because = text_of(effect, "because");
  out.undo = text_of(fault, "undo");
  out.reason = text_of(fault, "reason");
  for (const Json& one : list_of(fault, "allowed")) out.allowed.push_back(one.is_string() ? one.get<std::string>() : flat(one));
  for (const Json& event : events) {
    if (number_of(event, "fault") != static_cast<double>(index)) continue;
    if (text_of(event, "event") == "planned" && out.summary.empty()) out.summary = text_of(event, "summary");
    if (text_of(event, "event") == "undo" && text_of(event, "state") == out.undo) out.undo_because = text_of(event, "because");
  }
  return out;
}

ResidueWords residue_words(const Json& entry, const Json& verdict) {
  if (entry.is_string()) return {"something may still be injected", entry.get<std::string>(), ""};
  const auto index = static_cast<std::size_t>(std::max(0.0, number_of(entry, "fault").value_or(0)));
  const Json& faults = list_of(verdict, "faults");
  std::string what = index < faults.size() ? text_of(faults[index], "fault") : fmt::format("fault {}", index + 1);
  const Json& step = member(entry, "step");
  if (!step.is_null()) what += ", step " + (step.is_string() ? step.get<std::string>() : flat(step));
  const std::string state = text_of(entry, "state");
  if (!state.empty()) what += ": " + state;
  return {what, text_of(entry, "because"), text_of(entry, "remedy")};
}

// "40s" as "40 s"; what is no duration stays as it is.
std::string duration_words(const std::string& text) {
  const auto parsed = parse_duration(text);
  const Duration* duration = std::get_if<Duration>(&parsed);
  return duration == nullptr ? text : plain_seconds(seconds(*duration));
}

std::string load_words(const Json& playbook) {
  std::string out;
  const Json& probes = member(playbook, "probes");
  for (const auto& [name, use] : probes.items()) {
    const auto rate = ParamTraits<LoadRate>::parse(member(use, "rate"));
    const auto* load = std::get_if<LoadRate>(&rate);
    if (load == nullptr || member(use, "suspect").is_string()) continue;  // suspects are asked beside the load
    const bool logins = text_of(use, "probe").starts_with("login");
    const std::string most = load->varies() ? show(Rate{load->most()}) : text_of(use, "rate");
    const std::size_t per = most.find('/');
    const std::string least = show(Rate{load->least()});
    out += fmt::format("{}{}{} {}{}", out.empty() ? "" : " and ", load->varies() ? least.substr(0, least.find('/')) + " to " : "", most.substr(0, per), logins ? "logins" : "requests (" + name + ")", most.substr(per));
  }
  return out;
}

void tell_done(Summary& out, const Json& playbook, const Json& verdict, bool injected) {
  const std::string load = load_words(playbook);
  const bool left_out = member(verdict, "without_faults") == true;
  if (never_told(verdict)) {
    out.done.push_back(fmt::format("What was injected was sealed, and the run ended before it was told{}.", load.empty() ? "" : "; it was under " + load));
    return;
  }
  if (left_out || out.faults.empty()) {
    out.done.push_back(fmt::format("Nothing was injected: the playbook was run{} for {}{}.", left_out ? " without its faults" : "", plain_seconds(out.seconds), load.empty() ? "" : ", with " + load));
    return;
  }
  if (!injected) {
    out.done.push_back("Nothing was injected: the run ended before its faults.");
    return;
  }
  for (const FaultWords& fault : out.faults) {
    std::string sentence = fault.summary.empty() ? fault.fault + (fault.target.empty() ? "" : " on " + fault.target) : fault.summary;
    if (!fault.when.empty()) sentence += ", " + fault.when;
    if (!load.empty() && out.faults.size() == 1) sentence += ", under " + load;
    out.done.push_back(sentence + ".");
  }
  if (!load.empty() && out.faults.size() > 1) out.done.push_back("All of it under " + load + ".");
}

std::string as_sentence(std::string words) {
  if (words.empty()) return words;
  if (words.front() >= 'a' && words.front() <= 'z') words.front() = static_cast<char>(words.front() - 'a' + 'A');
  return words + ".";
}

// "Clients of login made 1 attempt per login in the baseline, 2.4 in the fault and 3 after it; in the escape test 3 at 80 %, 1 at 20 %."
void tell_escape(Summary& out, const Json& recovery) {
  const auto attempts = [](const Json& json, const char* key) { return plain_value("number", number_of(json, key).value_or(0)); };
  const Json& retries = member(recovery, "retry_amplification");
  const Json& escape = member(recovery, "escape");
  std::string steps;
  for (const Json& step : list_of(escape, "steps")) {
    if (number_of(step, "retry_amplification")) steps += fmt::format("{}{} at {}", steps.empty() ? "; in the escape test " : ", ", attempts(step, "retry_amplification"), plain_value("ratio", number_of(step, "share").value_or(0)));
  }
  const bool any = std::max(number_of(retries, "fault").value_or(0), number_of(retries, "after").value_or(0)) >= 1.005;
  if (any) {
    out.retries = fmt::format("Clients of {} made {} attempts per login in the baseline, {} in the fault, {} after it{}.", text_of(retries, "probe"), attempts(retries, "baseline"), attempts(retries, "fault"),
                              attempts(retries, "after"), steps);
  }
  if (!escape.is_object()) return;
  const Json& escaped = member(escape, "escaped");
  out.escape = fmt::format("{}: {}.", escaped == true ? "Escaped" : escaped == false ? "Did not escape" : "Not known", text_of(escape, "because"));
}

void tell_recovery(Summary& out, const Json& playbook, const Json& verdict, bool injected) {
  const Json& recovery = member(verdict, "recovery");
  out.recovery_missed = std::any_of(out.findings.begin(), out.findings.end(), [](const FindingWords& one) { return one.recovery && one.holds == "no"; });
  const Json& recovered = member(recovery, "recovered");
  if (recovered.is_boolean()) out.recovered = recovered.get<bool>();
  out.recovery_seconds = number_of(recovery, "seconds");
  const std::string because = text_of(recovery, "because");
  if (!injected) {
    out.recovery = "Nothing was injected, so there was nothing to recover from.";
  } else if (out.recovered == true) {
    const double after = out.recovery_seconds.value_or(0);
    out.recovery = after < 0.05 ? "Steady as soon as the fault was gone." : fmt::format("Back to the steady state {} after the fault was gone.", plain_seconds(after));
    for (const Json& finding : list_of(verdict, "findings")) {
      const Json& evidence = member(finding, "evidence");
      const auto limit = number_of(evidence, "limit");
      if (text_of(evidence, "measure") == "recovery_time" && limit) out.recovery.insert(out.recovery.size() - 1, fmt::format("; at most {} was expected", plain_seconds(*limit)));
    }
  } else if (out.recovered == false) {
    const std::string watched = duration_words(text_of(member(playbook, "timing"), "recovery"));
    out.recovery_missed = true;
    const std::string kind = text_of(recovery, "kind");
    out.recovery = fmt::format("{}Not back to the steady state{} after the fault was gone{}{}.", kind == "metastable" ? "Metastable: " : kind == "late" ? "Late: " : "", watched.empty() || out.outcome == "aborted" ? "" : " within " + watched, because.empty() ? "" : ": ", because);
  } else {
    out.recovery = fmt::format("Not known{}{}.", because.empty() ? "" : ": ", because);
  }
  out.rebalance = as_sentence(text_of(member(recovery, "rebalance"), "because"));
  tell_escape(out, recovery);
}

void tell_suspects(Summary& out, const Json& verdict) {
  for (const Json& line : list_of(verdict, "suspects")) {
    SuspectWords one{text_of(line, "suspect"), text_of(line, "probe"), text_of(line, "word"), "unsure", text_of(line, "because")};
    if (one.word == "moved") one.tone = "bad";
    else if (one.word == "ruled out") one.tone = "good";
    else one.word = "cannot tell";
    out.suspects.push_back(std::move(one));
  }
  const auto rank = [](const SuspectWords& one) { return one.tone == "bad" ? 0 : one.tone == "unsure" ? 1 : 2; };
  std::stable_sort(out.suspects.begin(), out.suspects.end(), [&](const SuspectWords& a, const SuspectWords& b) { return rank(a) < rank(b); });
}

void tell_alerts(Summary& out, const Json& verdict) {
  for (const Json& line : list_of(verdict, "alerts")) {
    const Json& detected = member(line, "detected");
    AlertWords one{text_of(line, "alert"), text_of(line, "probe"), "cannot tell", "unsure", text_of(line, "because")};
    if (detected == true) one.word = "detected", one.tone = "good";
    if (detected == false) one.word = "not detected", one.tone = "bad";
    out.alerts.push_back(std::move(one));
  }
  for (const Json& line : list_of(verdict, "left_out")) {
    const double count = number_of(line, "expectations").value_or(0);
    out.done.push_back(fmt::format("Not watched: the probe {} was left out (its \"only_if\" is empty), and {} expectation{} about it.", text_of(line, "probe"), plain_count(count), count == 1 ? "" : "s"));
  }
}

void tell_undo(Summary& out, const Json& verdict, bool injected) {
  for (const Json& entry : list_of(verdict, "residue")) out.residue.push_back(residue_words(entry, verdict));
  out.all_undone = out.residue.empty();
  for (const FaultWords& fault : out.faults) {
    if (fault.undo == "refused" || fault.undo == "failed") out.all_undone = false;
    if (fault.undo == "unknown") out.undo_known = false;
  }
  if (never_told(verdict) && !member(member(verdict, "phases"), "recovery").is_object()) out.undo_known = false;
  if (!out.all_undone) {
    out.undo = "NOT everything was undone: something may still be injected.";
  } else if (!out.undo_known) {
    out.undo = "Whether everything was undone is not known here: ask `capsize status`.";
  } else {
    out.undo = injected ? "Everything was undone, and read back to make sure." : "There was nothing to undo.";
    std::string why;  // what nothing takes back, as a process that ended, may need somebody
    for (const FaultWords& fault : out.faults) {
      if (fault.undo == "nothing_to_undo" && !fault.undo_because.empty()) why += fmt::format(" {}: {}.", fault.fault, fault.undo_because);
    }
    if (!why.empty()) out.undo = "Nothing is left that could be undone." + why;
  }
}

// "2026-11-22T22:00:03.123Z" as "2026-11-22 22:00:03 UTC"; anything else as it is.
std::string date_words(const std::string& iso) {
  if (iso.size() < 20 || iso[10] != 'T' || iso.back() != 'Z') return iso;
  return iso.substr(0, 10) + " " + iso.substr(11, 8) + " UTC";
}

bool was_injected(const std::vector<Json>& events, const Json& verdict) {
  if (never_told(verdict)) return true;
  if (std::any_of(events.begin(), events.end(), [](const Json& event) { return text_of(event, "event") == "injecting" || text_of(event, "event") == "injected"; })) return true;
  return events.empty() && member(verdict, "without_faults") != true && !list_of(verdict, "faults").empty() && member(member(verdict, "phases"), "fault").is_object();
}

// Seconds; of a verdict without its timeline, up to the end of its last span.
double whole_length(const std::vector<Json>& events, const Json& verdict) {
  double out = 0;
  for (const auto& [name, phase] : member(verdict, "phases").items()) out = std::max(out, number_of(phase, "to").value_or(0));
  for (const Json& event : events) out = std::max(out, number_of(event, "t").value_or(0));
  return out;
}

}  // namespace

FindingWords finding_words(const Json& finding) {
  FindingWords out;
  out.holds = text_of(finding, "holds");
  if (out.holds != "yes" && out.holds != "no") out.holds = "unknown";
  const Json& expectation = member(finding, "expectation");
  out.expectation = expectation.is_string() ? expectation.get<std::string>() : flat(expectation);
  out.because = text_of(finding, "because");
  const Json& evidence = member(finding, "evidence");
  const std::string kind = text_of(evidence, "kind");
  out.measure = measure_words(text_of(evidence, "measure"));
  out.recovery = text_of(evidence, "measure") == "recovery_time";
  out.during = during_words(text_of(evidence, "during"));
  const auto value = number_of(evidence, "value");
  const auto limit = number_of(evidence, "limit");
  const auto low = number_of(evidence, "low");
  out.limit = limit_words(evidence, kind, out.expectation);
  if (value) out.value = plain_value(kind, *value, limit);
  const Json& high = member(evidence, "high");
  if (value && low && (low != value || number_of(evidence, "high") != value)) {
    out.interval = fmt::format("{} to {}", plain_value(kind, *low, limit), high.is_number() ? plain_value(kind, high.get<double>(), limit) : "unbounded");
  }
  if (const auto samples = number_of(evidence, "samples"); samples && *samples > 0) out.samples = plain_count(*samples);
  if (!value || out.measure.empty()) {
    out.sentence = out.because.empty() ? out.expectation : out.because;
    return out;
  }
  out.sentence = fmt::format("{} was {}{}", out.measure, out.value, out.during.empty() || out.recovery ? "" : " " + out.during);
  if (!out.limit.empty()) out.sentence += fmt::format("; {} was expected", out.limit);
  if (out.holds == "no" && limit) out.sentence += fmt::format(" ({})", by_how_much(kind, *value, *limit));
  if (out.holds == "unknown") out.sentence += "; the samples cannot tell";
  return out;
}

std::vector<Phase> phases_of(const std::vector<Json>& events, std::optional<double> recovery_seconds) {
  std::vector<Phase> out;
  std::optional<double> undone;
  double end = whole_length(events, Json());
  for (const Json& event : events) {
    const std::string kind = text_of(event, "event");
    const double t = number_of(event, "t").value_or(0);
    if (kind == "undone" && member(event, "ok") == true) undone = t;
    if (kind != "phase") continue;
    const std::string phase = text_of(event, "phase");
    if (!out.empty()) out.back().to = t;
    if (phase == "end") end = std::min(end, t);
    else if (phase == "recovery") out.push_back({"recovering", undone.value_or(t), end});
    else out.push_back({phase, t, end});
    if (out.size() >= 2 && phase == "recovery") out[out.size() - 2].to = out.back().from;
  }
  if (!out.empty()) out.back().to = std::max(out.back().from, end);
  const auto recovering = std::find_if(out.begin(), out.end(), [](const Phase& phase) { return phase.name == "recovering"; });
  if (recovering == out.end()) return out;
  if (recovery_seconds) {
    const double back = std::min(recovering->from + *recovery_seconds, end);
    const double to = recovering->to;
    recovering->to = back;
    if (to > back) out.insert(recovering + 1, {"recovered", back, to});
  } else {
    recovering->name = undone ? "not recovered" : "after";
  }
  return out;
}

Summary summarize(const Json& playbook, const std::vector<Json>& events, const Json& verdict) {
  Summary out;
  out.run = text_of(verdict, "run");
  out.title = text_of(verdict, "title");
  if (out.title.empty()) out.title = text_of(playbook, "title");
  out.description = text_of(playbook, "description");
  out.outcome = text_of(verdict, "outcome");
  out.because = text_of(verdict, "because");
  out.started = date_words(text_of(verdict, "started"));
  if (!events.empty()) out.version = text_of(events.front(), "version");
  if (const Json& seed = member(verdict, "seed"); seed.is_number()) out.seed = seed.dump();  // all of its 64 bits
  out.exit_code = static_cast<int>(number_of(verdict, "exit_code").value_or(70));
  out.seconds = whole_length(events, verdict);
  for (const Json& finding : list_of(verdict, "findings")) out.findings.push_back(finding_words(finding));
  const auto rank = [](const FindingWords& one) { return one.holds == "no" ? 0 : one.holds == "unknown" ? 1 : 2; };
  std::stable_sort(out.findings.begin(), out.findings.end(), [&](const FindingWords& a, const FindingWords& b) { return rank(a) < rank(b); });
  for (const Json& finding : list_of(verdict, "steady_state")) out.gate.push_back(finding_words(finding));
  const Json& faults = list_of(verdict, "faults");
  for (std::size_t i = 0; i < std::min(faults.size(), kMaxFaults); ++i) out.faults.push_back(fault_words(faults[i], i, events));
  const bool injected = was_injected(events, verdict);
  tell_done(out, playbook, verdict, injected);
  tell_recovery(out, playbook, verdict, injected);
  tell_suspects(out, verdict);
  tell_alerts(out, verdict);
  tell_undo(out, verdict, injected);
  out.phases = phases_of(events, out.recovered == true ? out.recovery_seconds : std::nullopt);
  Teller teller;
  for (const Json& event : events) {
    if (auto words = teller.tell(event)) out.events.push_back(std::move(*words));
  }
  out.game = game_words(verdict);
  const auto probes = probe_windows(playbook, events);
  add_key_numbers(out, probes, verdict);
  add_generator(out, playbook, probes, events);
  return out;
}

}  // namespace capsize
