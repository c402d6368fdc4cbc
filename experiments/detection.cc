#include "experiments/detection.h"

#include <fmt/format.h>

#include <algorithm>

#include "injector/base/error.h"
#include "probes/alert/alert_state.h"

namespace capsize {
namespace {

constexpr double kOneMoreLook = 1.5;  // seconds after its limit that an answer about it may come
constexpr double kLateLook = 0.5;     // seconds that a look may be late

double from_of(const Window* window) { return window->value("from", 0.0); }
double to_of(const Window* window) { return window->value("to", 0.0); }

std::string seconds_text(double value) { return show_value(MeasureKind::duration, value); }

// Why this look proves nothing.
std::string why(const Window* window) { return window->value(window->contains("gap") ? "gap" : "because", "no answer"); }

struct Subject {
  std::string alert;
  std::string server;
};

Subject subject_of(const Evidence& evidence, const std::string& probe) {
  const auto use = evidence.playbook().probes.find(probe);
  CAPSIZE_CHECK(use != evidence.playbook().probes.end());
  const Json& params = use->second.params;
  const Playbook& playbook = evidence.playbook();  // an address may have a secret in it
  return {playbook.redact(params.value("alert", probe)), playbook.redact(params.value(params.contains("prometheus") ? "prometheus" : "alertmanager", ""))};
}

const Window* last_before(const std::vector<const Window*>& windows, double moment) {
  const Window* out = nullptr;
  for (const Window* window : windows) {
    if (to_of(window) <= moment) out = window;
  }
  return out;
}

// When the fault, or the first of them, was about to be injected: it is in place a little later.
double due_at(const Evidence& evidence, std::optional<std::size_t> fault, double in_place) {
  const auto phase = evidence.span(Span::fault);
  const auto& faults = evidence.playbook().faults;
  if (!phase || faults.empty() || (fault && *fault >= faults.size())) return in_place;
  Duration at = fault ? faults[*fault].at : faults[0].at;
  for (const PlannedFault& one : faults) at = fault ? at : std::min(at, one.at);
  return std::min(in_place, phase->from + seconds(at));
}

void judge_silence(AlertTime& out, const Evidence& evidence, const std::vector<const Window*>& windows, std::optional<std::size_t> fault, double unseen) {
  const auto baseline = evidence.span(Span::baseline);
  for (const Window* window : windows) {
    if (baseline && to_of(window) <= baseline->to && is_there(alert_state(*window))) out.always = true;
  }
  if (out.always) {
    out.silent_before = false;
    return;
  }
  const Window* before = last_before(windows, *out.moment);
  if (before == nullptr) {
    out.doubt = "nobody had looked before the fault";
  } else if (is_there(alert_state(*before))) {
    out.silent_before = false;
    out.doubt = "it fired already when this fault began";
  } else if (!is_silent(alert_state(*before))) {
    out.doubt = "whether it was silent before the fault is not known: " + why(before);
  } else {
    out.silent_before = true;
    const double due = due_at(evidence, fault, *out.moment);
    const Window* untouched = last_before(windows, due - 1e-6);
    const double not_looked_for = due - to_of(before);
    if (not_looked_for > unseen) out.doubt = fmt::format("nobody had looked for {} when this fault began: it may have fired before", seconds_text(not_looked_for));
    else if (untouched != nullptr && alert_state(*untouched) == AlertState::pending) out.doubt = "it was pending already when this fault began, and may have fired without it";
  }
}

// The larger of the bounds that it may take at most.
double longest(const Expectation& expectation) {
  double out = 0;
  for (const Bound& bound : expectation.bounds) out = std::max(out, bound.value);
  return out;
}

// The smallest bound that the playbook has for the time to detect the first fault by this probe.
std::optional<double> detected_in_time(const Playbook& playbook, const std::string& probe) {
  std::optional<double> out;
  for (const Expectation& expectation : playbook.hypothesis) {
    if (expectation.probe != probe || expectation.of != MeasureOf::since_fault || expectation.during_fault) continue;
    for (const Bound& bound : expectation.bounds) out = std::min(out.value_or(bound.value), bound.value);
  }
  return out;
}

// For how long nobody need have looked to say that it did not fire. It lasts about as long as the fault does, so that in a longer stretch it may have
// come and gone; and in one that is longer than it may take, it may have come in time.
double longest_unseen(const Evidence& evidence, std::optional<std::size_t> fault, double moment, std::optional<double> in_time) {
  const double in_place = evidence.undone_at(fault).value_or(evidence.last()) - moment;
  return std::min(in_place, in_time.value_or(in_place)) + kLateLook;
}

Holds judge_time(const AlertTime& time, const Bound& bound) {
  const bool strictly = bound.comparison == Comparison::below;
  if (time.always) return Holds::no;
  if (strictly ? time.not_before >= bound.value : time.not_before > bound.value) return Holds::no;
  const bool in_time = time.seconds && (strictly ? *time.seconds < bound.value : *time.seconds <= bound.value);
  return in_time && time.doubt.empty() ? Holds::yes : Holds::unknown;
}

std::string what_was_seen(const AlertTime& time, const Subject& subject, MeasureOf of) {
  const bool fault = of == MeasureOf::since_fault;
  if (time.always) return fmt::format("{} fired before the fault: an alert that always fires detects nothing", subject.alert);
  const std::string seen = time.seen.empty() ? "" : fmt::format(" ({}; asked of {})", time.seen, subject.server);
  std::string out;
  if (time.seconds && fault) out = fmt::format("{} fired {} after the fault", subject.alert, seconds_text(*time.seconds));
  else if (time.seconds) out = *time.seconds == 0 ? fmt::format("{} was gone before the fault was", subject.alert) : fmt::format("{} was gone {} after the undo", subject.alert, seconds_text(*time.seconds));
  else if (!fault) out = fmt::format("{} was not seen gone within {} of the undo", subject.alert, seconds_text(time.watched));
  else if (time.watched == 0) out = fmt::format("whether {} fired is not known: nobody looked after the fault{}", subject.alert, seen);
  else if (time.not_before < time.watched) out = fmt::format("{} was not seen firing within {} of the fault{}", subject.alert, seconds_text(time.watched), seen);
  else out = fmt::format("{} did not fire within {} of the fault{}", subject.alert, seconds_text(time.watched), seen);
  return time.doubt.empty() ? out : fmt::format("{}; {}", out, time.doubt);
}

// Nothing was injected: it has to have been silent throughout.
Finding hold_undisturbed(const Evidence& evidence, const Expectation& expectation, Finding finding) {
  const Subject subject = subject_of(evidence, expectation.probe);
  const auto run = evidence.span(Span::run);
  const auto firing = run ? evidence.measure(expectation.probe, "firing", *run) : std::nullopt;
  if (!firing) {
    finding.because = fmt::format("whether {} was silent is not known", subject.alert);
    const auto& windows = evidence.windows(expectation.probe);
    for (const Window* window : windows) {
      if (is_silent(alert_state(*window))) continue;
      finding.because += ": " + why(window);
      break;
    }
  } else if (firing->value > 0) {
    finding.holds = Holds::no;
    finding.because = fmt::format("{} fired, and no fault was injected", subject.alert);
  } else {
    finding.holds = Holds::yes;
    finding.because = fmt::format("no fault was injected, and {} was silent", subject.alert);
  }
  return finding;
}

Holds worst(Holds a, Holds b) { return a == Holds::no || b == Holds::no ? Holds::no : a == Holds::unknown || b == Holds::unknown ? Holds::unknown : Holds::yes; }

AlertTime time_of(const Evidence& evidence, const Expectation& expectation) {
  if (expectation.of != MeasureOf::since_fault) return time_to_clear(evidence, expectation.probe, expectation.during_fault);
  double in_time = longest(expectation);
  for (const Bound& bound : expectation.bounds) in_time = std::min(in_time, bound.value);
  return time_to_detect(evidence, expectation.probe, expectation.during_fault, in_time);
}

bool of_an_alert(const ProbeUse& use) {
  const ProbeType* type = find_probe(use.probe);
  if (type == nullptr) return false;
  const auto& infos = type->measures();
  return std::any_of(infos.begin(), infos.end(), [](const MeasureInfo& info) { return info.of != MeasureOf::span; });
}

}  // namespace

AlertTime time_to_detect(const Evidence& evidence, const std::string& probe, std::optional<std::size_t> fault, std::optional<double> in_time) {
  AlertTime out;
  out.moment = evidence.injected_at(fault);
  if (!out.moment) return out;
  const auto& windows = evidence.windows(probe);
  const double unseen = longest_unseen(evidence, fault, *out.moment, in_time);
  judge_silence(out, evidence, windows, fault, unseen);
  for (const Window* window : windows) {
    if (to_of(window) <= *out.moment) continue;
    const AlertState state = alert_state(*window);
    if (fires(state)) {
      out.seconds = to_of(window) - *out.moment;
      out.seen.clear();
      if (from_of(window) < *out.moment && out.doubt.empty()) out.doubt = "the look that saw it firing was begun before the fault was in place";
      break;
    }
    if (from_of(window) < *out.moment) continue;
    const double since_last = from_of(window) - *out.moment - out.watched;
    out.watched += since_last;
    if (state == AlertState::unknown && out.gap.empty()) out.gap = why(window);
    if (out.gap.empty() && out.unseen == 0 && since_last > unseen) out.unseen = since_last;
    if (out.gap.empty() && out.unseen == 0) out.not_before = out.watched;
    out.seen = is_silent(state) ? (state == AlertState::pending ? "it was pending" : "") : window->contains("gap") ? "" : why(window);
  }
  if (!out.seconds && !out.always) out.doubt.clear();  // that it did not fire needs no silence before
  return out;
}

AlertTime time_to_clear(const Evidence& evidence, const std::string& probe, std::optional<std::size_t> fault) {
  AlertTime out;
  out.moment = evidence.undone_at(fault);
  const auto injected = evidence.injected_at(fault);
  if (!out.moment || !injected) return out;
  const auto& windows = evidence.windows(probe);
  bool fired = false;
  std::optional<double> gone;  // since when without a break
  for (const Window* window : windows) {
    if (to_of(window) <= *injected) continue;
    const AlertState state = alert_state(*window);
    fired = fired || fires(state);
    const bool after = to_of(window) > *out.moment;
    if (after) out.watched = to_of(window) - *out.moment;
    if (is_silent(state)) {
      if (!gone) gone = after ? to_of(window) - *out.moment : 0;
      continue;
    }
    gone.reset();
    out.gap = is_there(state) ? "" : why(window);
    if (after && is_there(state)) out.not_before = std::max(0.0, from_of(window) - *out.moment);
  }
  if (gone && out.watched > 0) out.seconds = gone;
  if (!fired) out.doubt = "it was never seen firing, so that it was gone says nothing";
  else if (!out.seconds && out.watched == 0) out.doubt = "nobody looked after the undo";
  if (out.seconds) out.gap.clear();
  return out;
}

Finding hold_since(const Evidence& evidence, const Expectation& expectation, bool without_faults) {
  Finding finding;
  finding.expectation = describe(expectation);
  finding.evidence = {{"measure", expectation.name()}, {"kind", "duration"}, {"value", nullptr}};
  if (without_faults) return hold_undisturbed(evidence, expectation, std::move(finding));
  const AlertTime time = time_of(evidence, expectation);
  if (!time.moment) {
    finding.because = evidence.untold() ? "what was injected was sealed, and never told" : expectation.of == MeasureOf::since_fault ? "the fault was never injected" : "the fault was not verified gone";
    return finding;
  }
  finding.holds = Holds::yes;
  std::string wanted;
  for (const Bound& bound : expectation.bounds) {
    finding.holds = worst(finding.holds, judge_time(time, bound));
    wanted += fmt::format("{}{} {}", wanted.empty() ? "" : " and ", bound.comparison == Comparison::below ? "below" : "at most", bound.written);
    finding.evidence["limit"] = bound.value;
    finding.evidence["comparison"] = bound.comparison == Comparison::below ? "below" : "at most";
  }
  finding.evidence["since"] = *time.moment;
  finding.evidence["not_before"] = time.not_before;
  if (time.seconds && !time.always) finding.evidence["value"] = *time.seconds;
  if (finding.holds == Holds::unknown && !time.gap.empty()) wanted += "; not every look had an answer: " + time.gap;
  else if (finding.holds == Holds::unknown && time.unseen > 0) wanted += fmt::format("; nobody looked for {}, in which it may have fired and gone", seconds_text(time.unseen));
  const char* verdict = finding.holds == Holds::yes ? "as expected" : finding.holds == Holds::no ? "not as expected" : "it cannot be told";
  finding.because = fmt::format("{}; expected {}: {}", what_was_seen(time, subject_of(evidence, expectation.probe), expectation.of), wanted, verdict);
  return finding;
}

bool still_open(const Evidence& evidence) {
  for (const Expectation& expectation : evidence.playbook().hypothesis) {
    if (expectation.of == MeasureOf::span) continue;
    const auto moment = expectation.of == MeasureOf::since_fault ? evidence.injected_at(expectation.during_fault) : evidence.undone_at(expectation.during_fault);
    if (!moment || evidence.last() > *moment + longest(expectation) + kOneMoreLook) continue;
    if (hold_since(evidence, expectation, false).holds == Holds::unknown) return true;
  }
  return false;
}

Json alerts_json(const Evidence& evidence) {
  Json out = Json::array();
  for (const auto& [name, use] : evidence.playbook().probes) {
    if (!of_an_alert(use)) continue;
    const AlertTime detect = time_to_detect(evidence, name, {}, detected_in_time(evidence.playbook(), name));
    if (!detect.moment) continue;
    const AlertTime clear = time_to_clear(evidence, name);
    const Subject subject = subject_of(evidence, name);
    const bool detected = detect.seconds && !detect.always;
    Json line = {{"probe", name}, {"alert", subject.alert}, {"server", subject.server}};
    line["silent_before"] = detect.silent_before ? Json(*detect.silent_before) : Json(nullptr);
    line["detected"] = detect.always || (detect.doubt.empty() && (detected || (detect.gap.empty() && detect.unseen == 0 && detect.watched > 0))) ? Json(detected) : Json(nullptr);
    line["time_to_detect"] = detected ? Json(*detect.seconds) : Json(nullptr);
    line["time_to_clear"] = detected && clear.seconds && clear.doubt.empty() ? Json(*clear.seconds) : Json(nullptr);
    line["because"] = what_was_seen(detect, subject, MeasureOf::since_fault);
    if (detected && clear.moment) line["because"] = line["because"].get<std::string>() + "; " + what_was_seen(clear, subject, MeasureOf::since_undo);
    out.push_back(std::move(line));
  }
  return out;
}

}  // namespace capsize
