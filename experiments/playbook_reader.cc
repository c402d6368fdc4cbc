#include "experiments/playbook_reader.h"

#include <fmt/format.h>

#include <algorithm>

namespace capsize {
namespace {

std::vector<std::string> names_of(const std::vector<FieldInfo>& fields) {
  std::vector<std::string> out;
  for (const FieldInfo& field : fields) out.push_back(field.name);
  return out;
}

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> out;
  for (const auto& [key, value] : object.items()) out.push_back(key);
  return out;
}

template <class Map>
std::vector<std::string> names_in(const Map& map) {
  std::vector<std::string> out;
  for (const auto& [name, value] : map) out.push_back(name);
  return out;
}

std::string in_quotes(std::string_view text) { return "\"" + printable(text, 60) + "\""; }

std::string any_of(const std::vector<std::string_view>& types) { return fmt::format("{}", fmt::join(types, " or ")); }

std::vector<std::string_view> target_types_of(const ProbeType& type) {
  return type.target_type.empty() ? std::vector<std::string_view>() : std::vector<std::string_view>{type.target_type};
}

}  // namespace

bool PlaybookReader::is_broken(const std::string& pointer) const {
  if (broken_.contains(pointer)) return true;
  const auto beneath = broken_.lower_bound(pointer + "/");
  if (beneath != broken_.end() && beneath->starts_with(pointer + "/")) return true;
  for (std::size_t slash = pointer.rfind('/'); slash != std::string::npos && slash > 0; slash = pointer.rfind('/', slash - 1)) {
    if (broken_.contains(pointer.substr(0, slash))) return true;
  }
  return false;
}

void PlaybookReader::take(const Diagnostics& found) {
  for (const Diagnostic& diagnostic : found.all()) {
    if (diagnostic.about_key || !is_broken(diagnostic.pointer)) diagnostics_.add(diagnostic);
  }
}

void PlaybookReader::wrong(const std::string& pointer, const Mistake& mistake) {
  if (!is_broken(pointer)) diagnostics_.add(pointer, mistake.fact, mistake.remedy);
}

Playbook PlaybookReader::read() {
  const PlaybookKeys keys = parse(playbook_spec(), filled_, "");
  out_.title = keys.title;
  out_.description = keys.description;
  out_.tags = keys.tags;
  has_faults_ = !keys.faults.json.empty() || !keys.sealed.json.empty();
  read_hosts(keys.hosts.json);
  read_targets(keys.targets.json);
  read_probes(keys.probes.json);
  if (!keys.timing.json.is_null()) read_timing(keys.timing.json);
  read_faults(keys.faults.json, "/faults", out_.faults);
  read_sealed(keys.sealed.json);
  bool faults_fit = check_fault_times(out_.faults, "/faults");
  for (std::size_t i = 0; i < out_.sealed.size(); ++i) faults_fit = check_fault_times(out_.sealed[i].faults, pointer_join("/sealed", i) + "/faults") && faults_fit;
  if (!keys.escape.json.is_null()) read_escape(keys.escape.json);
  check_run_time(faults_fit);
  read_steps(keys.steps.json);
  check_overlaps();
  read_expectations(keys.steady_state.json, "/steady_state", out_.steady_state);
  read_expectations(keys.hypothesis.json, "/hypothesis", out_.hypothesis);
  read_guardrails(keys.abort_when.json);
  check_left_out();
  check_power();
  check_escape_power();
  expect_refusals();
  check_unused();
  return std::move(out_);
}

bool PlaybookReader::check_name(const std::string& name, const std::string& pointer) {
  const auto mistake = playbook_name_mistake(name);
  if (mistake) diagnostics_.add_key(pointer, mistake->fact, mistake->remedy);
  return !mistake;
}

template <class P>
P PlaybookReader::common_keys(const Spec<P>& spec, const AnySpec* type, const Json& json, const std::string& pointer) {
  // Without a known type every other key may be one of its parameters.
  return parse(spec, json, pointer, type != nullptr ? names_of(type->fields()) : keys_of(json));
}

Json PlaybookReader::own_params(const AnySpec* type, const std::vector<FieldInfo>& keys, const Json& json, const std::string& pointer) {
  if (!json.is_object()) return Json::object();
  if (type != nullptr) {
    Diagnostics found;
    type->validate(json, pointer, keys_of(json), found);  // unknown keys are said with the common ones
    take(found);
  }
  Json out = json;
  for (const FieldInfo& key : keys) out.erase(key.name);
  return out;
}

template <class T>
const T* PlaybookReader::type_of(const Json& json, const std::string& key, const std::string& pointer, const std::vector<T>& table) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_string()) return nullptr;
  const auto& wanted = json[key].template get_ref<const std::string&>();
  std::vector<std::string> known;
  for (const T& type : table) {
    if (type.name == wanted) return &type;
    known.emplace_back(type.name);
  }
  wrong(pointer_join(pointer, key), wrong_word(wanted, known));
  const std::string meant = did_you_mean(wanted, known);
  for (const T& type : table) {
    if (type.name == meant) return &type;
  }
  return nullptr;
}

void PlaybookReader::read_hosts(const Json& hosts) {
  for (const auto& [name, json] : hosts.items()) {
    const std::string pointer = pointer_join("/hosts", name);
    check_name(name, pointer);
    out_.hosts[name] = parse(host_spec(), json, pointer).via;
  }
}

void PlaybookReader::read_targets(const Json& targets) {
  for (const auto& [name, json] : targets.items()) {
    const std::string pointer = pointer_join("/targets", name);
    check_name(name, pointer);
    const TargetType* type = type_of(json, "type", pointer, *catalogs_.targets);
    const AnySpec* spec = type != nullptr ? &type->spec() : nullptr;
    const TargetKeys keys = common_keys(target_spec(), spec, json, pointer);
    TargetUse& use = out_.targets[name];
    use.type = keys.type;
    use.params = own_params(spec, target_spec().fields(), json, pointer);
    target_types_[name] = type;
    if (!keys.host) continue;
    use.host = keys.host->text;
    used_hosts_.insert(use.host);
    if (out_.hosts.contains(use.host)) continue;
    wrong(pointer + "/host", wrong_word(use.host, names_in(out_.hosts)));
    used_hosts_.insert(did_you_mean(use.host, names_in(out_.hosts)));
  }
}

void PlaybookReader::check_target(const Json& json, const std::optional<Name>& name, const std::vector<std::string_view>& wanted, std::string_view user, const std::string& pointer) {
  if (wanted.empty()) {
    if (json.contains("target")) diagnostics_.add_key(pointer + "/target", fmt::format("\"target\" is not a key here: {} has none", user), "leave it out");
    if (name) used_targets_.insert(name->text);
    return;
  }
  if (!json.contains("target")) {
    diagnostics_.add_key(pointer, fmt::format("\"target\" is missing ({} needs one of type {})", user, any_of(wanted)), "add \"target\": a name from \"targets\"");
    return;
  }
  if (!name) return;  // said already: not a name
  used_targets_.insert(name->text);
  const auto found = target_types_.find(name->text);
  if (found == target_types_.end()) {
    Mistake mistake = wrong_word(name->text, names_in(target_types_));
    used_targets_.insert(did_you_mean(name->text, names_in(target_types_)));  // one mistake, one diagnostic
    if (target_types_.empty()) mistake.remedy = fmt::format("add \"targets\": {{ {}: {{ \"type\": \"{}\", ... }} }}", in_quotes(name->text), wanted.front());
    wrong(pointer + "/target", mistake);
  } else if (found->second != nullptr && std::find(wanted.begin(), wanted.end(), found->second->name) == wanted.end()) {
    wrong(pointer + "/target", {fmt::format("{} is a target of type {}, but {} needs one of type {}", in_quotes(name->text), found->second->name, user, any_of(wanted)), "name another target"});
  }
}

void PlaybookReader::read_probes(const Json& probes) {
  for (const auto& [name, json] : probes.items()) {
    const std::string pointer = pointer_join("/probes", name);
    check_name(name, pointer);
    const ProbeType* type = type_of(json, "probe", pointer, *catalogs_.probes);
    const AnySpec* spec = type != nullptr ? &type->spec() : nullptr;
    const ProbeKeys keys = common_keys(probe_spec(), spec, json, pointer);
    if (keys.only_if && keys.only_if->empty() && !is_broken(pointer + "/only_if")) {
      out_.left_out[name] = 0;
      probe_types_[name] = type;
      if (keys.target) used_targets_.insert(keys.target->text);
      continue;  // its own parameters may be of what is not there
    }
    ProbeUse& use = out_.probes[name];
    use.probe = keys.probe;
    use.suspect = keys.suspect.value_or("");
    use.params = own_params(spec, probe_spec().fields(), json, pointer);
    probe_types_[name] = type;
    if (keys.target) use.target = keys.target->text;
    if (type != nullptr && json.is_object()) check_target(json, keys.target, target_types_of(*type), type->name, pointer);
    else if (keys.target) used_targets_.insert(keys.target->text);
  }
}

// What is left must still say when the system is well.
void PlaybookReader::check_left_out() {
  if (out_.left_out.empty()) return;
  if (out_.probes.empty()) wrong("/probes", {"every probe is left out: each has an empty \"only_if\"", "set a variable of theirs, or add a probe without \"only_if\""});
  else if (out_.steady_state.empty()) wrong("/steady_state", {"every expectation of it is about a probe that is left out (\"only_if\")", "add one about another probe"});
}

bool PlaybookReader::leaves_out(const Expectation& expectation) {
  const auto found = out_.left_out.find(expectation.probe);
  if (found == out_.left_out.end()) return false;
  ++found->second;
  return true;
}

void PlaybookReader::read_timing(const Json& timing) {
  out_.timing = parse(timing_spec(), timing, "/timing");
  if (out_.timing.settle > out_.timing.recovery) {
    wrong(timing.contains("settle") ? "/timing/settle" : "/timing/recovery",
          {fmt::format("settle ({}) is longer than recovery ({}): nothing could count as recovered", show(out_.timing.settle), show(out_.timing.recovery)), "make recovery the longer one"});
  }
}

void PlaybookReader::read_faults(const Json& faults, const std::string& pointer, std::vector<PlannedFault>& out) {
  for (std::size_t i = 0; i < faults.size(); ++i) out.push_back(read_fault(faults[i], pointer_join(pointer, i)));
}

PlannedFault PlaybookReader::read_fault(const Json& json, const std::string& pointer) {
  const FaultType* type = type_of(json, "fault", pointer, *catalogs_.faults);
  const AnySpec* spec = type != nullptr ? &type->spec() : nullptr;
  const FaultKeys keys = common_keys(fault_spec(), spec, json, pointer);
  PlannedFault fault;
  fault.fault = keys.fault;
  fault.name = keys.name.value_or("");
  fault.target = keys.target ? keys.target->text : "";
  fault.at = keys.at;
  fault.lasting = keys.lasting;
  fault.reason = keys.reason;
  for (const Allow allow : keys.allow) fault.allow.insert(ParamTraits<Allow>::show(allow).get<std::string>());
  fault.params = own_params(spec, fault_spec().fields(), json, pointer);
  if (type != nullptr && json.is_object()) check_target(json, keys.target, type->target_types, type->name, pointer);
  else if (keys.target) used_targets_.insert(keys.target->text);
  if (json.is_object() && json.contains("allow")) {
    const bool has_reason = json.contains("reason");
    const bool is_blank = keys.reason.find_first_not_of(' ') == std::string::npos;
    if (!has_reason) diagnostics_.add_key(pointer + "/allow", "\"allow\" without a \"reason\"", "add \"reason\": why that much harm is right here; the report prints it");
    else if (json["reason"].is_string() && is_blank) wrong(pointer + "/reason", {"an empty reason", "write why that much harm is right here; the report prints it"});
  }
  return fault;
}

bool PlaybookReader::check_fault_times(const std::vector<PlannedFault>& faults, const std::string& pointer) {
  bool fit = true;
  for (std::size_t i = 0; i < faults.size(); ++i) {
    const PlannedFault& fault = faults[i];
    if (fault.at + fault.lasting <= kMaxRun) continue;
    fit = false;
    wrong(pointer_join(pointer_join(pointer, i), fault.lasting > fault.at ? "for" : "at"),
          {fmt::format("it would end {} after the start of the fault phase, more than {}", show(fault.at + fault.lasting), show(kMaxRun)), "make it shorter"});
  }
  return fit;
}

void PlaybookReader::check_run_time(bool faults_fit) {
  const Duration total = out_.timing.baseline + out_.fault_phase() + out_.timing.recovery + out_.escape_time();
  if (faults_fit && total > kMaxRun) wrong("/timing", {fmt::format("the run would take {}, more than {}", show(total), show(kMaxRun)), "make its phases shorter"});
}

// Two of a kind on one target, of which the earlier ends first: its undo meets what the later one did, and has to refuse.
void PlaybookReader::check_overlaps() {
  for (std::size_t i = 0; i < out_.faults.size(); ++i) {
    for (std::size_t j = 0; j < out_.faults.size(); ++j) {
      const PlannedFault& first = out_.faults[i];
      const PlannedFault& second = out_.faults[j];
      const Duration first_end = first.at + first.lasting;
      if (i == j || first.fault != second.fault || first.target != second.target || first.fault.empty()) continue;
      if (const FaultType* type = catalogs_.fault(first.fault); type != nullptr && type->stacks) continue;
      if (!(first.at < second.at && second.at < first_end && first_end < second.at + second.lasting)) continue;
      diagnostics_.warn(pointer_join("/faults", j),
                        fmt::format("it overlaps with /faults/{} on the same target, which ends first: that undo may find this one's doing and refuse", i),
                        "let one end before the other begins, or lie wholly within it");
    }
  }
}

void PlaybookReader::check_unused() {
  for (const auto& [name, use] : out_.targets) {
    if (!used_targets_.contains(name)) diagnostics_.warn(pointer_join("/targets", name), fmt::format("nothing uses the target {}", in_quotes(name)), "name it in a fault or probe, or leave it out");
  }
  for (const auto& [name, use] : out_.hosts) {
    if (!used_hosts_.contains(name)) diagnostics_.warn(pointer_join("/hosts", name), fmt::format("nothing uses the host {}", in_quotes(name)), "name it in a target, or leave it out");
  }
}

}  // namespace capsize
