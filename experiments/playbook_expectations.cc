// What is expected, and when to stop: measures, bounds, phases.
#include <fmt/format.h>

#include <algorithm>

#include "experiments/playbook_reader.h"
#include "experiments/power.h"

namespace capsize {
namespace {

constexpr std::string_view kRefusalMeasure = "wrongly_accepted";

std::string in_quotes(std::string_view text) { return "\"" + printable(text, 60) + "\""; }

// No expectation can meet a lower bound above its upper one.
std::optional<Mistake> contradiction(const std::vector<Bound>& bounds) {
  for (const Bound& lower : bounds) {
    const bool is_lower = lower.comparison == Comparison::at_least || lower.comparison == Comparison::above;
    if (!is_lower) continue;
    for (const Bound& upper : bounds) {
      const bool is_upper = upper.comparison == Comparison::at_most || upper.comparison == Comparison::below;
      if (!is_upper || upper.relative_to_baseline != lower.relative_to_baseline) continue;
      const bool both_reach = lower.comparison == Comparison::at_least && upper.comparison == Comparison::at_most;
      if (lower.value < upper.value || (both_reach && lower.value == upper.value)) continue;
      return Mistake{fmt::format("nothing is {} {} and {} {}", to_string(lower.comparison), printable(lower.written, 60), to_string(upper.comparison), printable(upper.written, 60)),
                     "exchange the two, or leave one out"};
    }
  }
  return std::nullopt;
}

}  // namespace

const MeasureInfo* PlaybookReader::find_measure_of(const std::string& measure, const std::string& pointer, Expectation& out) {
  std::vector<std::string> known;
  for (const MeasureInfo& info : run_measures()) {
    if (info.name == measure) {
      out.measure = measure;
      return &info;
    }
    known.push_back(info.name);
  }
  const std::size_t dot = std::min(measure.find('.'), measure.size());
  out.probe = measure.substr(0, dot);
  out.measure = dot < measure.size() ? measure.substr(dot + 1) : "";
  const auto probe = probe_types_.find(out.probe);
  if (probe != probe_types_.end()) {
    if (probe->second == nullptr) return nullptr;  // its type is wrong, and that has been said
    if (const MeasureInfo* info = find_measure(*probe->second, out.measure)) return info;
    known.clear();
    for (const MeasureInfo& info : probe->second->measures()) known.push_back(out.probe + "." + info.name);
  } else {
    for (const auto& [name, type] : probe_types_) {
      if (type == nullptr) continue;
      for (const MeasureInfo& info : type->measures()) known.push_back(name + "." + info.name);
    }
  }
  Mistake mistake = wrong_word(measure, known);
  if (probe != probe_types_.end()) mistake.fact = fmt::format("{} is not a measure of {}", in_quotes(measure), probe->second->name);
  else if (measure.find('.') != std::string::npos) mistake.fact = fmt::format("there is no probe {}", in_quotes(out.probe));
  wrong(pointer + "/measure", mistake);
  // Its bounds can still be checked where it is clear what was meant.
  const std::string meant = did_you_mean(measure, known);
  const std::size_t meant_dot = meant.find('.');
  const auto meant_probe = probe_types_.find(meant.substr(0, std::min(meant_dot, meant.size())));
  if (meant_dot == std::string::npos || meant_probe == probe_types_.end() || meant_probe->second == nullptr) return nullptr;
  return find_measure(*meant_probe->second, meant.substr(meant_dot + 1));
}

void PlaybookReader::read_bounds(const ExpectationKeys& keys, const MeasureInfo* info, const std::string& pointer, Expectation& out) {
  for (const auto& [comparison, text] : keys.bounds()) {
    const std::string place = pointer_join(pointer, to_string(comparison));
    if (info == nullptr) continue;
    auto bound = bound_of(info->kind, keys.measure, comparison, text);
    if (const auto* mistake = std::get_if<Mistake>(&bound)) wrong(place, *mistake);
    else out.bounds.push_back(std::get<Bound>(std::move(bound)));
  }
  if (const auto mistake = contradiction(out.bounds)) wrong(pointer_join(pointer, to_string(out.bounds.front().comparison)), *mistake);
}

Expectation PlaybookReader::read_expectation(const ExpectationKeys& keys, const Json& json, const std::string& pointer) {
  Expectation out;
  if (!json.is_object()) return out;
  const MeasureInfo* info = nullptr;
  if (json.contains("measure") && json["measure"].is_string()) {
    const bool filled_in = !is_broken(pointer + "/measure");
    if (filled_in) info = find_measure_of(keys.measure, pointer, out);
    if (info != nullptr) out.of = info->of;
  }
  read_bounds(keys, info, pointer, out);
  const bool has_bound = json.contains("at_least") || json.contains("at_most") || json.contains("below") || json.contains("above");
  if (!has_bound) diagnostics_.add_key(pointer, "there is no bound", "add \"at_least\", \"at_most\", \"below\" or \"above\"");
  return out;
}

// By the name that the playbook gives a fault, or by its type where there is one of it.
void PlaybookReader::find_fault_named(const std::string& name, const std::string& pointer, Expectation& out) {
  std::vector<std::size_t> found;
  std::vector<std::string> known = {"baseline", "fault", "recovery", "run"};
  for (std::size_t i = 0; i < out_.faults.size(); ++i) {
    const PlannedFault& fault = out_.faults[i];
    const std::string& called = fault.name.empty() ? fault.fault : fault.name;
    if (called == name) found.push_back(i);
    if (!called.empty() && std::find(known.begin(), known.end(), called) == known.end()) known.push_back(called);
  }
  if (found.size() > 1) {
    wrong(pointer, {fmt::format("{} is more than one of the faults", in_quotes(name)), "give each a \"name\", and write one of them here"});
  } else if (found.empty()) {
    wrong(pointer, wrong_word(name, known));
  } else {
    out.during = Span::fault;
    out.during_fault = found.front();
    out.during_name = name;
  }
}

void PlaybookReader::check_during(const ExpectationKeys& keys, const std::string& pointer, Expectation& out) {
  out.during = has_faults_ ? Span::fault : Span::run;
  if (out.probe.empty() && !out.measure.empty()) {
    if (keys.during) wrong(pointer + "/during", {fmt::format("{} is of the whole run", out.measure), "leave \"during\" out"});
    out.during = Span::run;
    return;
  }
  if (keys.during) {
    const auto& words = EnumWords<Span>::words;
    const auto phase = std::find_if(words.begin(), words.end(), [&](const auto& word) { return word.second == keys.during->text; });
    if (phase != words.end()) out.during = phase->first;
    else find_fault_named(keys.during->text, pointer + "/during", out);
  }
  if (keys.during && out.during == Span::fault && !has_faults_) {
    wrong(pointer + "/during", {"there is no fault phase: the playbook has no faults", "write \"run\", or leave \"during\" out"});
  }
  if (out.during != Span::baseline) return;
  for (const Bound& bound : out.bounds) {
    if (bound.relative_to_baseline) wrong(pointer_join(pointer, to_string(bound.comparison)), {"the baseline compared with itself", "write a bound of its own, or another phase in \"during\""});
  }
}

// A warning where a bound lies closer to what is likely than so few samples can tell.
void PlaybookReader::check_power() {
  if (!diagnostics_.ok()) return;  // mistakes first: mending them may change what there is to tell
  for (std::size_t i = 0; i < out_.hypothesis.size(); ++i) {
    const Expectation& expectation = out_.hypothesis[i];
    const auto probe = probe_types_.find(expectation.probe);
    if (probe == probe_types_.end() || probe->second == nullptr) continue;
    const MeasureInfo* info = find_measure(*probe->second, expectation.measure);
    if (info == nullptr) continue;
    for (const Bound& bound : expectation.bounds) {
      const auto warning = power_warning(out_, *probe->second, *info, expectation, bound);
      if (warning) diagnostics_.warn(pointer_join(pointer_join("/hypothesis", hypothesis_places_[i]), to_string(bound.comparison)), warning->fact, warning->remedy);
    }
  }
  for (std::size_t i = 0; i < out_.abort_when.size(); ++i) {
    const Guardrail& guardrail = out_.abort_when[i];
    const auto probe = probe_types_.find(guardrail.breach.probe);
    if (probe == probe_types_.end() || probe->second == nullptr) continue;
    const MeasureInfo* info = find_measure(*probe->second, guardrail.breach.measure);
    const auto warning = info == nullptr ? std::nullopt : guardrail_warning(out_, *probe->second, *info, guardrail);
    if (warning) diagnostics_.warn(pointer_join("/abort_when", i), warning->fact, warning->remedy);
  }
}

// A wrong password that is let in is worse than an outage: where logins that must be refused are sent, nobody has to remember to expect it.
void PlaybookReader::expect_refusals() {
  for (const auto& [name, use] : out_.probes) {
    const auto type = probe_types_.find(name);
    if (type == probe_types_.end() || type->second == nullptr || type->second->sends_controls == nullptr) continue;
    if (!type->second->sends_controls(use.params)) continue;
    const bool said = std::any_of(out_.hypothesis.begin(), out_.hypothesis.end(),
                                  [&](const Expectation& expectation) { return expectation.probe == name && expectation.measure == kRefusalMeasure; });
    if (said) continue;
    Expectation expectation;
    expectation.probe = name;
    expectation.measure = kRefusalMeasure;
    expectation.during = Span::run;
    expectation.bounds = {{Comparison::at_most, 0, false, "0"}};
    out_.hypothesis.push_back(std::move(expectation));
  }
}

void PlaybookReader::check_recovery_time(const Expectation& expectation, const std::string& pointer) {
  for (const Bound& bound : expectation.bounds) {
    const std::string place = pointer_join(pointer, to_string(bound.comparison));
    if (bound.relative_to_baseline) {
      wrong(place, {"recovery_time has no baseline", "write a duration, as \"10s\""});
    } else if (bound.value + seconds(out_.timing.settle) > seconds(out_.timing.recovery)) {
      diagnostics_.warn(place,
                        fmt::format("after {} there is no time left to see {} of steady state (timing.settle) within {} (timing.recovery)", printable(bound.written, 60),
                                    show(out_.timing.settle), show(out_.timing.recovery)),
                        "make timing.recovery longer");
    }
  }
}

// What fires and is gone between two looks is not seen (detection.cc). `in_place`: how long the fault is.
void PlaybookReader::check_looks(const Expectation& expectation, const Bound& bound, Duration in_place, const std::string& pointer) {
  const auto use = out_.probes.find(expectation.probe);
  const auto type = probe_types_.find(expectation.probe);
  if (use == out_.probes.end() || type == probe_types_.end() || type->second == nullptr) return;
  const auto every = looks_every(use->second, *type->second);
  const double often = expectation.of == MeasureOf::since_fault ? std::min(bound.value / 2, seconds(in_place)) : bound.value / 2;
  if (!every || seconds(*every) <= often) return;
  diagnostics_.warn(pointer, fmt::format("its probe looks every {}: whether it took {} may not be known afterwards", show(*every), printable(bound.written, 60)),
                    fmt::format("let it look every {}, or oftener", show(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(often)))));
}

// How long something took since a fault, or since its end: at most so long, and there must be room to see it.
void PlaybookReader::check_since(const ExpectationKeys& keys, const Expectation& expectation, const std::string& pointer) {
  if (!has_faults_) wrong(pointer + "/measure", {"there is no fault for it to count from: the playbook has no faults", "leave it out, or add a fault"});
  if (keys.during && !expectation.during_fault && expectation.during != Span::fault) {
    wrong(pointer + "/during", {fmt::format("{} counts from a fault, not over a phase", in_quotes(keys.measure)), "leave \"during\" out, or write the name of a fault"});
  }
  const bool since_fault = expectation.of == MeasureOf::since_fault;
  Duration from = out_.fault_phase();
  for (std::size_t i = 0; i < out_.faults.size(); ++i) {
    const PlannedFault& fault = out_.faults[i];
    if (expectation.during_fault == i) from = fault.at + (since_fault ? Duration(0) : fault.lasting);
    else if (!expectation.during_fault && since_fault) from = std::min(from, fault.at);
  }
  const Duration room = out_.fault_phase() + out_.timing.recovery - from;
  for (const Bound& bound : expectation.bounds) {
    const std::string place = pointer_join(pointer, to_string(bound.comparison));
    if (bound.relative_to_baseline) wrong(place, {fmt::format("{} has no baseline", in_quotes(keys.measure)), "write a duration, as \"30s\""});
    else if (bound.comparison != Comparison::at_most && bound.comparison != Comparison::below) wrong(place, {"a least time for it to take", "write \"at_most\""});
    else if (bound.value > seconds(room)) diagnostics_.warn(place, fmt::format("the run ends {} after it begins to count: whether it took {} cannot be seen", show(room), printable(bound.written, 60)), "make timing.recovery longer");
    else if (has_faults_) check_looks(expectation, bound, expectation.during_fault ? out_.faults[*expectation.during_fault].lasting : out_.fault_phase() - from, place);
  }
}

void PlaybookReader::read_expectations(const Json& list, const std::string& pointer, std::vector<Expectation>& out) {
  const bool is_steady_state = pointer == "/steady_state";
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string place = pointer_join(pointer, i);
    const ExpectationKeys keys = parse(is_steady_state ? steady_state_spec() : hypothesis_spec(), list[i], place);
    Expectation expectation = read_expectation(keys, list[i], place);
    const bool of_the_run = expectation.probe.empty() && !expectation.measure.empty();
    if (is_steady_state) {
      expectation.during = Span::baseline;
      if (of_the_run || expectation.of != MeasureOf::span) wrong(place + "/measure", {fmt::format("{} is known only when the run is over", in_quotes(keys.measure)), "write it in \"hypothesis\""});
      for (const Bound& bound : expectation.bounds) {
        if (bound.relative_to_baseline) wrong(pointer_join(place, to_string(bound.comparison)), {"the steady state judges the baseline, and cannot be relative to it", "write a bound of its own"});
      }
    } else {
      check_during(keys, place, expectation);
      if (of_the_run) check_recovery_time(expectation, place);
      if (expectation.of != MeasureOf::span) check_since(keys, expectation, place);
    }
    if (leaves_out(expectation)) continue;
    if (!is_steady_state) hypothesis_places_.push_back(i);
    out.push_back(std::move(expectation));
  }
}

void PlaybookReader::read_guardrails(const Json& list) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string place = pointer_join("/abort_when", i);
    const ExpectationKeys keys = parse(guardrail_spec(), list[i], place);
    Guardrail guardrail;
    guardrail.breach = read_expectation(keys, list[i], place);
    guardrail.breach.during = Span::run;
    guardrail.lasting = keys.lasting;
    if ((guardrail.breach.probe.empty() && !guardrail.breach.measure.empty()) || guardrail.breach.of != MeasureOf::span) {
      wrong(place + "/measure", {fmt::format("{} is known only when the run is over", in_quotes(keys.measure)), "watch a measure of a probe"});
    }
    if (keys.bounds().size() > 1) diagnostics_.add_key(place, "more than one bound", "write a guardrail for each: any of them stops the run");
    if (leaves_out(guardrail.breach)) continue;
    out_.abort_when.push_back(std::move(guardrail));
  }
}

}  // namespace capsize
