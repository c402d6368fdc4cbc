#include "experiments/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "experiments/aftermath.h"
#include "experiments/detection.h"
#include "experiments/game/score.h"
#include "experiments/game/sealed.h"
#include "experiments/load_escape.h"
#include "experiments/recovery.h"
#include "experiments/suspects.h"
#include "injector/base/error.h"
#include "probes/health.h"

namespace capsize {
namespace {

struct Run {
  explicit Run(const Playbook& playbook) : evidence(playbook) {}
  Evidence evidence;
  Json head = Json::object();
  std::vector<Json> planned, effects;  // by fault: the last event of each kind
  std::vector<Json> undos;             // the last of each step, in their order
  std::set<std::size_t> begun;         // faults whose injection was
  std::optional<Json> stop;
  std::string escape_stopped;  // why the escape test ended early: all else had been seen by then
  bool without_faults = false;
  bool reverted = false;  // every undo is recorded
  bool ended = false;     // the record has its end
};

Json& at_index(std::vector<Json>& all, const Json& event) {
  const auto index = event.value("fault", std::size_t{0});
  CAPSIZE_CHECK(index < 10'000);
  if (all.size() <= index) all.resize(index + 1);
  return all[index];
}

std::size_t fault_of(const Json& event) { return event.value("fault", std::size_t{0}); }

// A step whose undo failed may have been undone later.
void note_undo(Run& run, const Json& event) {
  std::erase_if(run.undos, [&](const Json& earlier) { return fault_of(earlier) == fault_of(event) && earlier.value("step", "") == event.value("step", ""); });
  run.undos.push_back(event);
}

Json residue_json(const Run& run) {
  Json out = Json::array();
  for (const Json& undo : run.undos) {
    const std::string state = undo.value("state", "failed");
    if (state != "refused" && state != "failed") continue;
    Json entry;
    for (const char* key : {"fault", "step", "state", "because", "remedy", "detail"}) {
      if (undo.contains(key)) entry[key] = undo[key];
    }
    out.push_back(std::move(entry));
  }
  return out;
}

void read(Run& run, const std::vector<Json>& events) {
  for (const Json& event : events) {
    run.evidence.add(event);
    const std::string kind = event.value("event", "");
    if (kind == "run") run.head = event, run.without_faults = event.value("without_faults", false);
    else if (kind == "planned") at_index(run.planned, event) = event;
    else if (kind == "effect") at_index(run.effects, event) = event.at("effect");
    else if (kind == "injecting") run.begun.insert(fault_of(event));
    else if (kind == "undo") note_undo(run, event);
    else if (kind == "stop" && run.evidence.escape_began()) run.escape_stopped = event.value("because", "stopped");
    else if (kind == "stop" && !run.stop) run.stop = event;
    else if (kind == "undone" || kind == "end") run.reverted = true;
    run.ended = run.ended || kind == "end" || (kind == "phase" && event.value("phase", "") == "end");
  }
}

Json phases_json(const Run& run) {
  Json out = Json::object();
  for (const Span span : {Span::baseline, Span::fault, Span::recovery}) {
    if (const auto stretch = run.evidence.span(span)) out[std::string(to_string(span))] = {{"from", stretch->from}, {"to", stretch->to}};
  }
  if (const auto escape = run.evidence.escape_began()) out["escape"] = {{"from", *escape}, {"to", run.evidence.last()}};
  return out;
}

constexpr const char* kSealed = "the run was sealed, and ended before it told what it had done";

// Whether the record ends while this fault was, or may have been, in place: its runner was killed.
bool ends_within(const Playbook& playbook, const Run& run, std::size_t index) {
  const auto phase = run.evidence.span(Span::fault);
  if (!phase || run.reverted) return false;
  const bool begun = run.evidence.injected_at(index) || run.evidence.last() >= phase->from + seconds(playbook.faults[index].at);
  const Json* planned = index < run.planned.size() && run.planned[index].is_object() ? &run.planned[index] : nullptr;
  const std::size_t steps = planned != nullptr && planned->contains("steps") ? planned->at("steps").size() : 1;
  const auto told = static_cast<std::size_t>(std::count_if(run.undos.begin(), run.undos.end(), [&](const Json& undo) { return fault_of(undo) == index; }));
  return begun && told < std::max<std::size_t>(1, steps);
}

Json effect_json(const Run& run, std::size_t index) {
  if (index < run.effects.size() && run.effects[index].is_object()) return run.effects[index];
  Json out = {{"intended", nullptr}, {"measured", nullptr}, {"bites", false}, {"because", "it was never injected"}};
  if (run.evidence.untold()) out["bites"] = nullptr, out["because"] = kSealed;
  else if (run.evidence.injected_at(index)) out["bites"] = nullptr, out["because"] = "the run ended before its effect was measured";
  else if (run.begun.contains(index)) out["bites"] = nullptr, out["because"] = "its injection failed or was stopped";
  return out;
}

// The worst of its steps.
std::string undo_state(const Playbook& playbook, const Run& run, std::size_t index) {
  static const std::vector<std::string> kOrder = {"nothing_to_undo", "undone", "refused", "failed"};
  const auto rank = [](const std::string& state) { return std::find(kOrder.begin(), kOrder.end(), state) - kOrder.begin(); };
  std::string known;
  for (const Json& undo : run.undos) {
    const std::string state = undo.value("state", "failed");
    if (fault_of(undo) == index && (known.empty() || rank(state) > rank(known))) known = state;
  }
  if (known == "refused" || known == "failed") return known;
  if (ends_within(playbook, run, index)) return "unknown";
  if (run.evidence.untold() && run.evidence.span(Span::fault)) return run.evidence.undone_at() ? "undone" : "unknown";
  return known.empty() ? "nothing_to_undo" : known;
}

Json faults_json(const Playbook& playbook, const Run& run) {
  Json out = Json::array();
  if (run.without_faults) return out;
  for (std::size_t i = 0; i < playbook.faults.size(); ++i) {
    const PlannedFault& fault = playbook.faults[i];
    Json one = {{"fault", fault.fault}, {"target", fault.target}, {"at", seconds(fault.at)}, {"for", seconds(fault.lasting)}};
    if (i < run.planned.size() && run.planned[i].is_object()) {
      for (const char* key : {"summary", "allowed", "reason"}) {
        if (run.planned[i].contains(key)) one[key] = run.planned[i][key];
      }
    }
    one["effect"] = effect_json(run, i);
    one["undo"] = undo_state(playbook, run, i);
    out.push_back(std::move(one));
  }
  return out;
}

// The hypothesis, each expectation over its span; and the gate, over the baseline.
std::vector<Finding> hypothesis_findings(const Playbook& playbook, const Run& run, const std::optional<Recovery>& recovery) {
  std::vector<Finding> findings;
  for (const Expectation& expectation : playbook.hypothesis) {
    Finding finding;
    finding.expectation = describe(expectation);
    if (expectation.probe.empty()) {
      finding.evidence = {{"measure", expectation.name()}, {"kind", "duration"}, {"during", "recovery"}};
      if (run.without_faults) {
        finding.holds = Holds::yes;
        finding.because = "no fault was injected: there was nothing to recover from";
      } else if (!recovery) {
        finding.because = run.evidence.untold() ? kSealed : "the recovery was not watched: the run ended before it";
      } else {
        const Bound& bound = expectation.bounds.front();
        const bool in_time = recovery->recovered && recovery->seconds <= bound.value;
        finding.holds = in_time ? Holds::yes : recovery->too_few ? Holds::unknown : Holds::no;
        finding.because = recovery->recovered ? fmt::format("recovered {:.1f} s after the undo; expected at most {}", recovery->seconds, bound.written) : fmt::format("not recovered: {}", recovery->because);
        finding.evidence["limit"] = bound.value;
        finding.evidence["value"] = recovery->recovered ? Json(recovery->seconds) : Json(nullptr);
      }
    } else if (expectation.of != MeasureOf::span) {
      finding = hold_since(run.evidence, expectation, run.without_faults);
    } else if (const auto stretch = run.evidence.span(expectation)) {
      finding = run.evidence.hold(expectation, *stretch, true);
    } else {
      finding.because = fmt::format("the run never came to its {} span", expectation.over());
    }
    findings.push_back(std::move(finding));
  }
  return findings;
}

std::vector<Finding> gate_findings(const Playbook& playbook, const Run& run) {
  std::vector<Finding> findings;
  const auto baseline = run.evidence.span(Span::baseline);
  for (Expectation expectation : playbook.steady_state) {
    expectation.during = Span::baseline;
    if (baseline) findings.push_back(run.evidence.hold(expectation, *baseline, false));
  }
  return findings;
}

struct Decision {
  Outcome outcome;
  std::string because;
};

// A second in which the tester stood still is little of a run, and much of the fault that it fell into: it is judged over each stretch that
// something is claimed about, too. A hiccup of fewer logins decides nothing.
constexpr std::uint64_t kFewestAmiss = 5;

std::optional<std::string> tester_problem(const Playbook& playbook, const Evidence& evidence) {
  const auto words = [](const std::string& during, const std::string& probe, const std::string& reason) {
    return fmt::format("{}the load generator of \"{}\" could not keep up: {}", during, probe, reason);
  };
  for (const auto& [name, use] : playbook.probes) {
    if (const auto reason = generator_problem(evidence.windows(name))) return words("", name, *reason);
  }
  const auto over = [&](const std::string& probe, Stretch stretch, const std::string& during) -> std::optional<std::string> {
    const auto windows = evidence.windows(probe, stretch);
    const auto reason = generator_problem(windows);
    const GeneratorHealth health = generator_health(windows);
    if (!reason || health.late + health.not_sent < kFewestAmiss) return std::nullopt;
    return words("during " + during + " ", probe, *reason);
  };
  for (const Expectation& expectation : playbook.hypothesis) {
    const auto stretch = expectation.probe.empty() ? std::nullopt : evidence.span(expectation);
    auto problem = stretch ? over(expectation.probe, *stretch, expectation.over()) : std::nullopt;
    if (problem) return problem;
  }
  const auto recovery = evidence.span(Span::recovery);
  for (const Expectation& expectation : playbook.steady_state) {
    auto problem = recovery ? over(expectation.probe, *recovery, "recovery") : std::nullopt;
    if (problem) return problem;
  }
  return std::nullopt;
}

std::optional<Decision> not_a_fair_run(const Playbook& playbook, const Run& run, const Json& faults, const std::vector<Finding>& gate) {
  if (const Json residue = residue_json(run); !residue.empty()) return Decision{Outcome::residue, "an undo was refused or failed: " + residue.front().value("because", "")};
  if (run.stop) {
    const std::string kind = run.stop->value("kind", "");
    const std::string because = run.stop->value("because", "");
    if (kind == "operator" || kind == "guardrail") return Decision{Outcome::aborted, because};
    if (kind == "not_steady") return Decision{Outcome::inconclusive, because};
    return Decision{Outcome::invalid, because};
  }
  if (faults.empty() && !run.ended) return Decision{Outcome::invalid, "the record ends before the run did: it was killed"};
  for (const Json& fault : faults) {
    if (fault["undo"] == "unknown") return Decision{Outcome::invalid, "the record ends before the faults were verified gone: ask `capsize status` what is left of them"};
  }
  if (const auto problem = tester_problem(playbook, run.evidence)) return Decision{Outcome::invalid, *problem};
  for (const Json& fault : faults) {
    if (fault["effect"]["bites"] != true) return Decision{Outcome::invalid, fmt::format("{} did not bite: {}", fault.value("fault", ""), fault["effect"].value("because", ""))};
  }
  for (const Finding& finding : gate) {
    if (finding.holds != Holds::yes) return Decision{Outcome::inconclusive, "the baseline was not steady: " + finding.because};
  }
  return std::nullopt;
}

Decision decide(const Playbook& playbook, const Run& run, const Json& faults, const std::vector<Finding>& gate, const std::vector<Finding>& findings, const std::optional<Recovery>& recovery) {
  if (auto decision = not_a_fair_run(playbook, run, faults, gate)) return *decision;
  const bool disturbed = !run.without_faults && !playbook.faults.empty();
  if (disturbed && !recovery) return {Outcome::invalid, "the record ends before the recovery was watched"};
  const auto first = [&](Holds holds, bool of_recovery) -> const Finding* {
    for (const Finding& finding : findings) {
      if (finding.holds == holds && (finding.evidence.value("measure", "") == "recovery_time") == of_recovery) return &finding;
    }
    return nullptr;
  };
  // Too few samples to say that it is well are too few to say that it is not.
  const bool too_few = recovery && recovery->too_few;
  if (disturbed && !recovery->recovered && !too_few) {
    const Unrecovered why = why_unrecovered(run.evidence);
    return {Outcome::unrecovered, fmt::format("{}the faults are verified gone, but the steady state did not come back within {}: {}", why.kind.empty() ? "" : why.kind + ": ",
                                              show_value(MeasureKind::duration, seconds(playbook.timing.recovery)), recovery->because)};
  }
  if (const Finding* missed = first(Holds::no, false)) return {Outcome::refuted, missed->because};
  if (const Finding* late = first(Holds::no, true)) return {Outcome::unrecovered, "late: the steady state came back too late: " + late->because};
  for (const Finding& finding : findings) {
    if (finding.holds == Holds::unknown) return {Outcome::inconclusive, finding.because};
  }
  if (disturbed && too_few) return {Outcome::inconclusive, "whether the steady state came back cannot be told: " + recovery->because};
  if (findings.empty()) return {Outcome::held, disturbed ? "the steady state came back in time" : "nothing was expected and nothing was disturbed"};
  return {Outcome::held, fmt::format("all {} expectation{} held{}", findings.size(), findings.size() == 1 ? "" : "s", disturbed ? ", and the steady state came back in time" : "")};
}

Json recovery_json(const Run& run, const Recovery& recovery, const Decision& decision) {
  Json out = {{"recovered", recovery.too_few ? Json(nullptr) : Json(recovery.recovered)}, {"seconds", recovery.recovered ? Json(recovery.seconds) : Json(nullptr)}, {"because", recovery.because}};
  if (decision.outcome == Outcome::unrecovered) {
    const Unrecovered why = recovery.recovered ? Unrecovered{"late", "it came back, but later than expected"} : why_unrecovered(run.evidence);
    out["kind"] = why.kind.empty() ? Json(nullptr) : Json(why.kind);
    out["kind_because"] = why.because;
  }
  if (const auto retries = retry_amplification(run.evidence)) {
    out["retry_amplification"] = {{"probe", retries->probe}, {"baseline", retries->baseline}, {"fault", retries->fault}, {"after", retries->after}};
  }
  if (const auto escape = find_escape(run.evidence, run.escape_stopped)) out["escape"] = to_json(*escape);
  if (const auto shares = rebalance(run.evidence)) {
    out["rebalance"] = {{"probe", shares->probe}, {"skewed", shares->skewed}, {"at_end", shares->at_end}, {"half_life", shares->half_life ? Json(*shares->half_life) : Json(nullptr)}, {"because", shares->because}};
  }
  return out;
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::held: return "held";
    case Outcome::refuted: return "refuted";
    case Outcome::unrecovered: return "unrecovered";
    case Outcome::inconclusive: return "inconclusive";
    case Outcome::invalid: return "invalid";
    case Outcome::aborted: return "aborted";
    case Outcome::residue: break;
  }
  return "residue";
}

namespace {

// Nothing for a sealed run whose cause was never told: its runner was killed, and what it did is in nothing that can be read here.
std::optional<std::size_t> opened_choice(const Playbook& playbook, const Json& sealed) {
  const auto choice = sealed.is_object() && sealed.value("choice", Json()).is_number_unsigned() ? sealed["choice"].get<std::size_t>() : playbook.sealed.size();
  return choice < playbook.sealed.size() ? std::optional(choice) : std::nullopt;
}

// The playbook as it was before the choice, beside a timeline that tells it.
bool lacks_faults(const Playbook& playbook, const std::vector<Json>& events) {
  return std::any_of(events.begin(), events.end(), [&](const Json& event) { return event.value("event", "") == "planned" && event.value("fault", std::size_t{0}) >= playbook.faults.size(); });
}

Decision sealed_decision(const Json& sealed, Decision decision) {
  if (!sealed.is_object() || decision.outcome == Outcome::residue) return decision;
  if (untold(sealed)) return {Outcome::invalid, kSealed};
  if (!sealed.value("matches", false)) return {Outcome::invalid, "what was told at the end is not what was sealed at the start: the timeline was changed"};
  return decision;
}

// A run that was stopped did not watch it: "not seen" is not "not recovered".
std::optional<Recovery> watched_recovery(const Playbook& playbook, const Run& run) {
  const bool watched = !run.without_faults && !playbook.faults.empty() && run.evidence.span(Span::recovery).has_value();
  return watched ? find_recovery(run.evidence) : std::nullopt;
}

}  // namespace

bool ends_metastable(const Playbook& playbook, const std::vector<Json>& events) {
  Run run(playbook);
  read(run, events);
  const auto recovery = watched_recovery(playbook, run);
  if (!recovery || recovery->recovered) return false;
  const Decision decision = decide(playbook, run, faults_json(playbook, run), gate_findings(playbook, run), hypothesis_findings(playbook, run, recovery), recovery);
  return decision.outcome == Outcome::unrecovered && why_unrecovered(run.evidence).kind == "metastable";
}

Json judge(const Playbook& as_read, const std::vector<Json>& events) {
  const Json sealed = sealed_json(events);
  Playbook playbook = as_read;
  const auto choice = opened_choice(playbook, sealed);
  if (choice && lacks_faults(playbook, events)) playbook = open_sealed(as_read, *choice);
  playbook.opened = choice;  // its faults are among the playbook's, as the run's folder has it
  Run run(playbook);
  read(run, events);
  const bool disturbed = !run.without_faults && !playbook.faults.empty();
  const auto recovery = watched_recovery(playbook, run);
  const auto gate = gate_findings(playbook, run);
  const auto findings = hypothesis_findings(playbook, run, recovery);
  const Json faults = faults_json(playbook, run);
  const Decision decision = sealed_decision(sealed, decide(playbook, run, faults, gate, findings, recovery));
  const auto list = [](const std::vector<Finding>& all) {
    Json out = Json::array();
    for (const Finding& finding : all) out.push_back(to_json(finding));
    return out;
  };
  Json verdict = {{"format", 1}, {"run", run.head.value("run", "")}, {"title", playbook.redact(playbook.title)}, {"outcome", to_string(decision.outcome)}};
  verdict["exit_code"] = exit_code(decision.outcome);
  verdict["because"] = decision.because;
  verdict["started"] = run.head.value("started", "");
  verdict["ended"] = events.empty() ? "" : events.back().value("wall", run.head.value("started", ""));
  verdict["seed"] = run.head.value("seed", std::uint64_t{0});
  verdict["without_faults"] = run.without_faults;
  verdict["phases"] = phases_json(run);
  verdict["steady_state"] = list(gate);
  verdict["findings"] = list(findings);
  verdict["faults"] = faults;
  verdict["recovery"] = {{"recovered", nullptr}, {"seconds", nullptr}, {"because", untold(sealed) ? kSealed : disturbed ? "the run ended before its recovery was watched" : "no fault was injected"}};
  if (recovery) verdict["recovery"] = recovery_json(run, *recovery, decision);
  if (const auto table = disturbed ? suspects(run.evidence) : std::vector<SuspectLine>(); !table.empty()) {
    verdict["suspects"] = Json::array();
    for (const SuspectLine& line : table) verdict["suspects"].push_back(to_json(line));
  }
  if (sealed.is_object()) verdict["sealed"] = sealed;
  if (playbook.asks()) verdict["questions"] = questions_json(events);
  if (const Json score = game_score(playbook, events, run.evidence, verdict["recovery"]); score.is_object()) verdict["score"] = score;
  if (Json alerts = alerts_json(run.evidence); !alerts.empty()) verdict["alerts"] = std::move(alerts);
  for (const auto& [probe, expectations] : playbook.left_out) verdict["left_out"].push_back({{"probe", probe}, {"expectations", expectations}});
  verdict["residue"] = residue_json(run);
  if (run.stop) verdict["stopped"] = *run.stop;
  return verdict;
}

}  // namespace capsize
