#include "experiments/playbook_parts.h"

#include <fmt/format.h>

#include <charconv>

#include "injector/base/command_line.h"

namespace capsize {
namespace {

Rule<std::string> not_empty(std::size_t most) {
  return {[most](const std::string& text) -> std::optional<Mistake> {
            if (text.find_first_not_of(' ') == std::string::npos) return Mistake{"an empty text", "write what it is for"};
            if (text.size() > most) return Mistake{fmt::format("a text of more than {} bytes", most), "write a shorter one"};
            return std::nullopt;
          },
          {{"minLength", 1}}};
}

Rule<std::string> part_name() {
  return {playbook_name_mistake, {{"anyOf", Json::array({{{"pattern", kPlaybookNamePattern}}, {{"pattern", "\\$\\{"}}})}}};
}

// "during" takes phases and names of faults alike.
Rule<std::string> fault_name() {
  const auto mistake = [](const std::string& text) -> std::optional<Mistake> {
    for (const auto& [span, word] : EnumWords<Span>::words) {
      if (text == word) return Mistake{fmt::format("\"{}\" is a phase of every run", text), "give the fault another name: \"during\" would mean the phase"};
    }
    return playbook_name_mistake(text);
  };
  Json phases = Json::array();
  for (const auto& [span, word] : EnumWords<Span>::words) phases.push_back(std::string(word));
  Json patch = part_name().patch;
  patch["not"] = {{"enum", std::move(phases)}};
  return {mistake, std::move(patch)};
}

Rule<Count> this_format() {
  return {[](const Count& format) -> std::optional<Mistake> {
            if (format == kPlaybookFormat) return std::nullopt;
            return Mistake{fmt::format("format {} is not known to this capsize", format), fmt::format("write {}", kPlaybookFormat)};
          },
          {{"const", kPlaybookFormat}}};
}

Rule<Part<PartKind::sealed>> at_least_two() {
  return {[](const Part<PartKind::sealed>& part) -> std::optional<Mistake> {
            if (part.json.size() >= 2) return std::nullopt;
            return Mistake{"fewer than two causes: there is nothing to find out", "add another that looks much like it, or move its faults to \"faults\""};
          },
          {{"minItems", 2}}};
}

Rule<Span> a_phase() {
  return {[](const Span& span) -> std::optional<Mistake> {
            if (span != Span::run) return std::nullopt;
            return Mistake{"\"run\" is not a phase that begins", "write \"baseline\", \"fault\" or \"recovery\""};
          },
          {{"not", {{"const", "run"}}}}};
}

Rule<std::vector<std::string>> some_phrases() {
  return {[](const std::vector<std::string>& phrases) -> std::optional<Mistake> {
            if (!phrases.empty()) return std::nullopt;
            return Mistake{"it is empty", "write words by which the cause is known, as \"weight\" or \"slow database\""};
          },
          {{"minItems", 1}}};
}

Rule<std::vector<Share>> falling_shares() {
  static constexpr std::size_t kMostSteps = 20;
  return {[](const std::vector<Share>& steps) -> std::optional<Mistake> {
            if (steps.size() > kMostSteps) return Mistake{fmt::format("more than {} steps", kMostSteps), "write fewer"};
            double before = 1;
            for (const Share& step : steps) {
              if (step.value <= 0) return Mistake{"a step to no load at all: no login could succeed", "end with a small share, as \"5%\""};
              if (step.value >= before) return Mistake{before == 1 ? "the first step lowers nothing" : "a step that is not below the one before", "write falling shares below 100%, as [\"80%\", \"50%\", \"20%\"]"};
              before = step.value;
            }
            return std::nullopt;
          },
          {{"maxItems", kMostSteps}}};
}

template <PartKind kind>
Rule<Part<kind>> some(const char* remedy) {
  return {[remedy](const Part<kind>& part) -> std::optional<Mistake> {
            if (!part.json.empty()) return std::nullopt;
            return Mistake{"it is empty", remedy};
          },
          part_info(kind).is_list ? Json{{"minItems", 1}} : Json{{"minProperties", 1}}};
}

Rule<std::string> measure_name() {
  return {nullptr, {{"anyOf", Json::array({{{"const", kRecoveryTime}}, {{"pattern", "^[A-Za-z][A-Za-z0-9_-]{0,63}\\..+"}}, {{"pattern", "\\$\\{"}}})}}};
}

Spec<ExpectationKeys> bounds(Spec<ExpectationKeys> spec) {
  spec.optional("at_least", &ExpectationKeys::at_least, "it is this or more: \"99%\", \"120/s\", 3, or relative as \"0.5x baseline\"")
      .optional("at_most", &ExpectationKeys::at_most, "it is this or less: \"250ms\", 0, or \"2x baseline\"")
      .optional("below", &ExpectationKeys::below, "it is less than this")
      .optional("above", &ExpectationKeys::above, "it is more than this");
  return spec;
}

const char* example_of(MeasureKind kind) {
  switch (kind) {
    case MeasureKind::ratio: return "a percentage, as \"99%\"";
    case MeasureKind::duration: return "a duration, as \"250ms\"";
    case MeasureKind::rate: return "a rate, as \"120/s\"";
    case MeasureKind::count:
    case MeasureKind::number: break;
  }
  return "a number without quotes, as 3";
}

const char* noun_of(MeasureKind kind) {
  switch (kind) {
    case MeasureKind::ratio: return "a share";
    case MeasureKind::duration: return "a duration";
    case MeasureKind::rate: return "a rate";
    case MeasureKind::count: return "a count";
    case MeasureKind::number: break;
  }
  return "a number";
}

const char* noun_of(BoundText::Unit unit) {
  switch (unit) {
    case BoundText::Unit::share: return "a share";
    case BoundText::Unit::duration: return "a duration";
    case BoundText::Unit::rate: return "a rate";
    case BoundText::Unit::number:
    case BoundText::Unit::baseline: break;
  }
  return "a plain number";
}

constexpr std::string_view kTimesBaseline = "x baseline";

std::optional<double> factor_of_baseline(std::string_view text) {
  if (!text.ends_with(kTimesBaseline)) return std::nullopt;
  const std::string_view digits = text.substr(0, text.size() - kTimesBaseline.size());
  if (digits.empty() || digits.size() > 18 || digits.front() < '0' || digits.front() > '9' || digits.back() == '.') return std::nullopt;
  double value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, std::chars_format::fixed);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<Mistake> playbook_name_mistake(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); };
  bool good = !name.empty() && name.size() <= 64 && letter(name.front());
  for (const char c : name) good = good && (letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-');
  if (good) return std::nullopt;
  return Mistake{fmt::format("\"{}\" is not a name to give", printable(name, 60)), "begin with a letter, then up to 63 letters, digits, _ or -"};
}

const std::vector<MeasureInfo>& run_measures() {
  static const std::vector<MeasureInfo> table = {
      {kRecoveryTime, MeasureKind::duration, "time from the verified end of the last fault until the steady state is met again, and then stays so for timing.settle"},
  };
  return table;
}

const PartInfo& part_info(PartKind kind) {
  static const std::array<PartInfo, 12> table = {{{"variables", "object of name: value", false},
                                                 {"hosts", "object of name: host", false},
                                                 {"targets", "object of name: target", false},
                                                 {"probes", "object of name: probe", false},
                                                 {"timing", "object", false},
                                                 {"steady_state", "list of expectations", true},
                                                 {"faults", "list of faults", true},
                                                 {"hypothesis", "list of expectations", true},
                                                 {"abort_when", "list of guardrails", true},
                                                  {"steps", "list of steps", true},
                                                  {"sealed", "list of causes", true},
                                                  {"escape", "object", false}}};
  return table.at(static_cast<std::size_t>(kind));
}

const Spec<PlaybookKeys>& playbook_spec() {
  static const auto spec =
      Spec<PlaybookKeys>()
          .required("playbook", &PlaybookKeys::playbook, "the version of the format: 1", this_format())
          .required("title", &PlaybookKeys::title, "one line that names the experiment; reports carry it", not_empty(200))
          .optional("description", &PlaybookKeys::description, "what is done, why, and what a newcomer should look at")
          .optional("tags", &PlaybookKeys::tags, "words to find and group playbooks by")
          .optional("variables", &PlaybookKeys::variables, "values that ${name} stands for, and that --set name=value overrides: texts, numbers, true or false, or lists of them")
          .optional("hosts", &PlaybookKeys::hosts, "machines other than this one, by a name of your choosing")
          .optional("targets", &PlaybookKeys::targets, "what faults are aimed at, by a name of your choosing")
          .required("probes", &PlaybookKeys::probes, "what is measured, by a name of your choosing", some<PartKind::probes>("add a probe: without one nothing is known of the system"))
          .optional("timing", &PlaybookKeys::timing, "how long the phases last")
          .required("steady_state", &PlaybookKeys::steady_state, "how the system looks when it is well: the baseline must meet it, and recovered means that it is met again",
                    some<PartKind::steady_state>("add an expectation: without one nobody can say that it recovered"))
          .optional("faults", &PlaybookKeys::faults, "what is done to the system, and when; without any, the playbook only watches")
          .optional("sealed", &PlaybookKeys::sealed, "a game day: the causes of which `capsize run --sealed` chooses one, and tells it only at the end", at_least_two())
          .optional("steps", &PlaybookKeys::steps, "what the people in the room are told and asked, and when")
          .optional("hypothesis", &PlaybookKeys::hypothesis, "what is expected while things are wrong, and after")
          .optional("abort_when", &PlaybookKeys::abort_when, "when to stop early and undo everything")
          .optional("escape", &PlaybookKeys::escape, "the escape test: where the recovery ends metastable, the login load is lowered step by step until logins succeed again; {} takes the defaults")
          .optional("$schema", &PlaybookKeys::schema, "for editors: where the output of `capsize schema` is; capsize ignores it");
  return spec;
}

const Spec<HostKeys>& host_spec() {
  static const auto spec = Spec<HostKeys>().required("via", &HostKeys::via, "the command that ends in running `capsize agent` there, its stdin and stdout connected", command_line());
  return spec;
}

const Spec<TargetKeys>& target_spec() {
  static const auto spec = Spec<TargetKeys>()
                               .required("type", &TargetKeys::type, "what it is: one of the target types")
                               .optional("host", &TargetKeys::host, "where it is: a name from \"hosts\"; without it, this machine");
  return spec;
}

const Spec<ProbeKeys>& probe_spec() {
  static const auto spec = Spec<ProbeKeys>()
                               .required("probe", &ProbeKeys::probe, "what measures: one of the probes")
                               .optional("target", &ProbeKeys::target, "what it looks at: a name from \"targets\"; required by probes that look at a target, unknown to others")
                               .optional("suspect", &ProbeKeys::suspect,
                                         "what it asks directly, where that may be blamed for what the logins suffer, as \"database\": the verdict says whether it moved, is ruled out, or cannot be told",
                                         if_given(not_empty(60)))
                               .optional("only_if", &ProbeKeys::only_if,
                                         "where this is an empty text, the probe is left out, and every expectation about it; the verdict names it. For what not every place has: \"${prometheus}\"");
  return spec;
}

const Spec<Timing>& timing_spec() {
  static const auto spec = Spec<Timing>()
                               .optional("baseline", &Timing::baseline, "how long the unharmed system is watched first", more_than_zero())
                               .optional("recovery", &Timing::recovery, "how long the steady state may take to come back, once everything is undone", more_than_zero())
                               .optional("settle", &Timing::settle, "how long it must then hold without a break to count as recovered");
  return spec;
}

const Spec<EscapeKeys>& escape_spec() {
  static const auto spec = Spec<EscapeKeys>()
                               .optional("steps", &EscapeKeys::steps, "shares of the load, each smaller than the one before", falling_shares())
                               .optional("hold", &EscapeKeys::hold, "how long each step is held, at most: it ends as soon as the steady state has been met for timing.settle; default: twice timing.settle", if_given(more_than_zero()));
  return spec;
}

const Spec<FaultKeys>& fault_spec() {
  static const auto spec = Spec<FaultKeys>()
                               .required("fault", &FaultKeys::fault, "what is done: one of the faults")
                               .optional("name", &FaultKeys::name, "a name for it, so that an expectation can be \"during\" it alone", if_given(fault_name()))
                               .optional("target", &FaultKeys::target, "what it is done to: a name from \"targets\"; required by faults that have a target")
                               .optional("at", &FaultKeys::at, "when it begins, from the start of the fault phase")
                               .required("for", &FaultKeys::lasting, "how long it lasts: there is no fault without an end", more_than_zero())
                               .optional("allow", &FaultKeys::allow, "permits more harm than by default: to take the last healthy server out, or more than half of them; to meet all traffic, or the connections that capsize itself needs; to leave a host hardly any memory; to do what cannot be undone, as to end a process; needs a reason")
                               .optional("reason", &FaultKeys::reason, "why that is allowed here; the report prints it");
  return spec;
}

const Spec<StepKeys>& step_spec() {
  static const auto spec = Spec<StepKeys>()
                               .optional("ask", &StepKeys::ask, "a question to the people in the room; their answer and the time it took go into the timeline", if_given(not_empty(500)))
                               .optional("note", &StepKeys::note, "a line that is shown and kept in the timeline", if_given(not_empty(500)))
                               .optional("name", &StepKeys::name, "of a question, for the answers: a line \"NAME: text\" is for it, and so is \"to\" in the file of --answers; default \"q1\" for the first step, and so on", if_given(part_name()))
                               .optional("during", &StepKeys::during, "the phase from whose start `at` counts: \"baseline\", \"fault\" or \"recovery\"", a_phase())
                               .optional("at", &StepKeys::at, "when, from the start of that phase")
                               .optional("within", &StepKeys::within, "how long answers are taken, into later phases too, but never longer than the run: no phase and no undo waits for one", more_than_zero())
                               .optional("scores", &StepKeys::scores, "what the answers are scored as: \"detected\", \"hypothesis\" or \"mitigation\"; such a question takes every answer in its time, any other is closed by the first")
                               .exactly_one_of({"ask", "note"});
  return spec;
}

const Spec<SealedKeys>& sealed_spec() {
  static const auto spec = Spec<SealedKeys>()
                               .required("name", &SealedKeys::name, "a word for it, as \"favourite\"", part_name())
                               .required("cause", &SealedKeys::cause, "what is wrong, in a sentence: the postmortem's root cause", not_empty(1000))
                               .required("known_by", &SealedKeys::known_by, "words or phrases: a hypothesis that holds all words of one of them, and none of another cause, is right", some_phrases())
                               .required("faults", &SealedKeys::faults, "what is done, as in \"faults\"", some<PartKind::faults>("add a fault"));
  return spec;
}

const Spec<ExpectationKeys>& steady_state_spec() {
  static const auto spec =
      bounds(Spec<ExpectationKeys>().required("measure", &ExpectationKeys::measure, "what is measured: a probe's name, a dot, and one of its measures", measure_name()));
  return spec;
}

const Spec<ExpectationKeys>& hypothesis_spec() {
  static const auto spec = bounds(Spec<ExpectationKeys>()
                                      .required("measure", &ExpectationKeys::measure, "what is measured: a probe's name, a dot, and one of its measures; or recovery_time", measure_name())
                                      .optional("during", &ExpectationKeys::during, "over which phase: \"baseline\", \"fault\", \"recovery\" or \"run\"; or while which fault was in place, by its name or, where there is one of it, its type; default \"fault\", or \"run\" in a playbook without faults"));
  return spec;
}

const Spec<ExpectationKeys>& guardrail_spec() {
  static const auto spec = bounds(Spec<ExpectationKeys>()
                                      .required("measure", &ExpectationKeys::measure, "what is watched: a probe's name, a dot, and one of its measures", measure_name())
                                      .optional("for", &ExpectationKeys::lasting, "for how long without a break before the run is stopped"));
  return spec;
}

Parsed<BoundText> ParamTraits<BoundText>::parse(const Json& json) {
  BoundText out;
  out.written = json.is_string() ? json.get<std::string>() : json.dump(-1, ' ', true, Json::error_handler_t::replace);
  const auto of = [&](BoundText::Unit unit, double value) {
    out.unit = unit;
    out.value = value;
    return out;
  };
  if (json.is_number()) return of(BoundText::Unit::number, json.get<double>());
  if (!json.is_string()) return wrong_type(json, "a bound, as \"99%\", \"250ms\", \"120/s\", 3 or \"2x baseline\"");
  auto share = parse_share(out.written);
  if (const auto* value = std::get_if<Share>(&share)) return of(BoundText::Unit::share, value->value);
  if (out.written.ends_with('%')) return std::get<Mistake>(share);
  const auto duration = parse_duration(out.written);
  if (const auto* value = std::get_if<Duration>(&duration)) return of(BoundText::Unit::duration, seconds(*value));
  // Not parse_rate: a bound may be zero.
  if (out.written == "0/s") return of(BoundText::Unit::rate, 0);
  const auto rate = parse_rate(out.written);
  if (const auto* value = std::get_if<Rate>(&rate)) return of(BoundText::Unit::rate, value->per_second);
  if (const auto factor = factor_of_baseline(out.written)) {
    if (*factor > 0) return of(BoundText::Unit::baseline, *factor);
    return Mistake{"zero times the baseline", "write a factor above zero, as \"2x baseline\""};
  }
  return Mistake{fmt::format("\"{}\" is not a bound", printable(out.written, 60)), "write \"99%\", \"250ms\", \"120/s\", 3 (without quotes) or \"2x baseline\", as suits the measure"};
}

Json ParamTraits<BoundText>::schema() {
  Json any = Json::array({{{"type", "number"}}});
  for (const Json& schema : {ParamTraits<Share>::schema(), ParamTraits<Duration>::schema(), ParamTraits<Rate>::schema()}) any.push_back(schema["anyOf"][0]);
  any.push_back({{"const", "0/s"}});
  any.push_back({{"type", "string"}, {"pattern", "^(?=.*[1-9])[0-9]+(\\.[0-9]+)?x baseline$"}});
  any.push_back({{"type", "string"}, {"pattern", "\\$\\{"}});
  return {{"anyOf", any}};
}

std::vector<std::pair<Comparison, BoundText>> ExpectationKeys::bounds() const {
  std::vector<std::pair<Comparison, BoundText>> out;
  if (at_least) out.emplace_back(Comparison::at_least, *at_least);
  if (at_most) out.emplace_back(Comparison::at_most, *at_most);
  if (below) out.emplace_back(Comparison::below, *below);
  if (above) out.emplace_back(Comparison::above, *above);
  return out;
}

std::variant<Bound, Mistake> bound_of(MeasureKind kind, const std::string& measure, Comparison comparison, const BoundText& text) {
  const auto fits = [&] {
    switch (text.unit) {
      case BoundText::Unit::baseline: return true;
      case BoundText::Unit::share: return kind == MeasureKind::ratio;
      case BoundText::Unit::duration: return kind == MeasureKind::duration;
      case BoundText::Unit::rate: return kind == MeasureKind::rate;
      case BoundText::Unit::number: break;
    }
    return kind == MeasureKind::count || kind == MeasureKind::number;
  };
  if (!fits()) {
    return Mistake{fmt::format("{} is {}, but {} is {}", printable(text.written, 60), noun_of(text.unit), printable(measure, 60), noun_of(kind)), fmt::format("write {}", example_of(kind))};
  }
  const bool is_share = text.unit == BoundText::Unit::share;
  if (is_share && comparison == Comparison::above && text.value >= 1) return Mistake{"no share is above 100%", "write at_least \"100%\", or a smaller share"};
  if (is_share && comparison == Comparison::below && text.value <= 0) return Mistake{"no share is below 0%", "write at_most \"0%\", or a larger share"};
  return Bound{comparison, text.value, text.unit == BoundText::Unit::baseline, text.written};
}

}  // namespace capsize
