// The keys of a playbook itself, each declared once: the reader, the JSON Schema, `capsize describe` and the reference docs are made from
// these Specs. What a fault, probe or target adds is declared where it lives.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiments/playbook.h"
#include "injector/base/spec.h"
#include "probes/measure.h"

namespace capsize {

inline constexpr Count kPlaybookFormat = 1;
inline constexpr std::size_t kMaxParts = 200;                      // hosts, targets, probes, faults, expectations: of each
inline constexpr Duration kMaxRun = std::chrono::hours(24);        // all phases together
inline constexpr const char* kPlaybookNamePattern = "^[A-Za-z][A-Za-z0-9_-]{0,63}$";
inline constexpr const char* kRecoveryTime = "recovery_time";

// Names that a playbook gives: of variables, hosts, targets, probes. No dot, so that "login.success_ratio" can be taken apart.
std::optional<Mistake> playbook_name_mistake(std::string_view name);

// What can be expected of a run rather than of a probe.
const std::vector<MeasureInfo>& run_measures();

// A part of a playbook that has a shape of its own, described by #/$defs/<its name> in the schema.
enum class PartKind { variables, hosts, targets, probes, timing, steady_state, faults, hypothesis, abort_when, steps, sealed, escape };
template <PartKind kind>
struct Part {
  Json json;
};
struct PartInfo {
  const char* name;   // in the schema
  const char* type;   // as a person reads it
  bool is_list;
};
const PartInfo& part_info(PartKind kind);

template <PartKind kind>
struct ParamTraits<Part<kind>> {
  static std::string name() { return part_info(kind).type; }
  static Parsed<Part<kind>> parse(const Json& json) {
    const PartInfo& info = part_info(kind);
    if (info.is_list ? !json.is_array() : !json.is_object()) return wrong_type(json, info.is_list ? "a list: [ ... ]" : "an object: { ... }");
    if (json.size() > kMaxParts) return Mistake{"more than " + std::to_string(kMaxParts) + " entries", "split the playbook"};
    return Part<kind>{json};
  }
  static Json schema() { return {{"$ref", std::string("#/$defs/") + part_info(kind).name}}; }
  static Json show(const Part<kind>&) { return nullptr; }
};

struct PlaybookKeys {
  std::string schema;
  Count playbook = kPlaybookFormat;
  std::string title;
  std::string description;
  std::vector<std::string> tags;
  Part<PartKind::variables> variables;
  Part<PartKind::hosts> hosts;
  Part<PartKind::targets> targets;
  Part<PartKind::probes> probes;
  Part<PartKind::timing> timing;
  Part<PartKind::steady_state> steady_state;
  Part<PartKind::faults> faults;
  Part<PartKind::sealed> sealed;
  Part<PartKind::steps> steps;
  Part<PartKind::hypothesis> hypothesis;
  Part<PartKind::abort_when> abort_when;
  Part<PartKind::escape> escape;
};
const Spec<PlaybookKeys>& playbook_spec();

struct HostKeys {
  std::vector<std::string> via;
};
const Spec<HostKeys>& host_spec();

struct TargetKeys {
  std::string type;
  std::optional<Name> host;
};
const Spec<TargetKeys>& target_spec();

struct ProbeKeys {
  std::string probe;
  std::optional<Name> target;
  std::optional<std::string> suspect;
  std::optional<std::string> only_if;
};
const Spec<ProbeKeys>& probe_spec();

const Spec<Timing>& timing_spec();

struct EscapeKeys {
  std::vector<Share> steps = {Share{0.8}, Share{0.6}, Share{0.4}, Share{0.2}, Share{0.1}};
  std::optional<Duration> hold;
};
const Spec<EscapeKeys>& escape_spec();

enum class Allow { last_server, majority, everything, control_path, starve_host, irreversible };
template <>
struct EnumWords<Allow> {
  static constexpr std::array<std::pair<Allow, std::string_view>, 6> words = {
      {{Allow::last_server, "last_server"}, {Allow::majority, "majority"}, {Allow::everything, "everything"}, {Allow::control_path, "control_path"},
       {Allow::starve_host, "starve_host"}, {Allow::irreversible, "irreversible"}}};
};

struct FaultKeys {
  std::string fault;
  std::optional<std::string> name;
  std::optional<Name> target;
  Duration at{};
  Duration lasting{};
  std::vector<Allow> allow;
  std::string reason;
};
const Spec<FaultKeys>& fault_spec();

template <>
struct EnumWords<Span> {
  static constexpr std::array<std::pair<Span, std::string_view>, 4> words = {
      {{Span::baseline, "baseline"}, {Span::fault, "fault"}, {Span::recovery, "recovery"}, {Span::run, "run"}}};
};

template <>
struct EnumWords<Scores> {
  static constexpr std::array<std::pair<Scores, std::string_view>, 3> words = {
      {{Scores::detected, "detected"}, {Scores::hypothesis, "hypothesis"}, {Scores::mitigation, "mitigation"}}};
};

struct StepKeys {
  std::optional<std::string> ask;
  std::optional<std::string> note;
  std::optional<std::string> name;
  Span during = Span::fault;
  Duration at{};
  Duration within = std::chrono::seconds(60);
  std::optional<Scores> scores;
};
const Spec<StepKeys>& step_spec();

struct SealedKeys {
  std::string name;
  std::string cause;
  std::vector<std::string> known_by;
  Part<PartKind::faults> faults;
};
const Spec<SealedKeys>& sealed_spec();

// A phase, or the name of a fault: which of them is known once the faults have been read.
struct During {
  std::string text;
};
template <>
struct ParamTraits<During> {
  static std::string name() { return "phase or fault"; }
  static Parsed<During> parse(const Json& json) {
    if (!json.is_string()) return wrong_type(json, "a phase, as \"fault\", or the name of a fault");
    return During{json.get<std::string>()};
  }
  static Json schema() { return {{"type", "string"}, {"minLength", 1}}; }
  static Json show(const During& value) { return value.text; }
};

// What stands behind at_least and the like, before it is known what is measured.
struct BoundText {
  enum class Unit { number, share, duration, rate, baseline };
  Unit unit = Unit::number;
  double value = 0;     // share 0 to 1, seconds, per second, or the factor of the baseline
  std::string written;
};
template <>
struct ParamTraits<BoundText> {
  static std::string name() { return "bound"; }
  static Parsed<BoundText> parse(const Json& json);
  static Json schema();
  static Json show(const BoundText& value) { return value.written; }
};

struct ExpectationKeys {
  std::string measure;
  std::optional<During> during;
  std::optional<BoundText> at_least;
  std::optional<BoundText> at_most;
  std::optional<BoundText> below;
  std::optional<BoundText> above;
  Duration lasting = std::chrono::seconds(5);  // guardrails only

  std::vector<std::pair<Comparison, BoundText>> bounds() const;
};
const Spec<ExpectationKeys>& steady_state_spec();
const Spec<ExpectationKeys>& hypothesis_spec();
const Spec<ExpectationKeys>& guardrail_spec();

// A bound of a measure of this kind, or why it is none.
std::variant<Bound, Mistake> bound_of(MeasureKind kind, const std::string& measure, Comparison comparison, const BoundText& text);

}  // namespace capsize
