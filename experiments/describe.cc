#include "experiments/describe.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/playbook_parts.h"

namespace capsize {
namespace {

std::string default_text(const FieldInfo& field) {
  if (field.required) return "required";
  const Json& value = field.default_value;
  const bool nothing = value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty()) || (value.is_structured() && value.empty());
  return nothing ? "optional" : fmt::format("default {}", value.dump());
}

Json parameters_json(const std::vector<FieldInfo>& fields) {
  Json out = Json::array();
  for (const FieldInfo& field : fields) {
    Json one = {{"name", field.name}, {"type", field.type}, {"required", field.required}, {"doc", field.doc}};
    if (!field.default_value.is_null()) one["default"] = field.default_value;
    out.push_back(std::move(one));
  }
  return out;
}

std::string parameters_text(const std::string& title, const std::vector<FieldInfo>& fields) {
  if (fields.empty()) return fmt::format("\n{}\n  none\n", title);
  std::size_t width = 0;
  for (const FieldInfo& field : fields) width = std::max(width, field.name.size());
  std::string out = fmt::format("\n{}\n", title);
  for (const FieldInfo& field : fields) {
    out += fmt::format("  {:<{}}  {}; {}\n  {:<{}}    {}\n", field.name, width, field.type, default_text(field), "", width, field.doc);
  }
  return out;
}

Json measures_json(const std::vector<MeasureInfo>& measures) {
  Json out = Json::array();
  for (const MeasureInfo& info : measures) out.push_back({{"name", info.name}, {"kind", to_string(info.kind)}, {"doc", info.doc}});
  return out;
}

std::string measures_text(const std::vector<MeasureInfo>& measures) {
  std::size_t width = 0;
  for (const MeasureInfo& info : measures) width = std::max(width, info.name.size());
  std::string out = "\nMeasures\n";
  for (const MeasureInfo& info : measures) out += fmt::format("  {:<{}}  {:<8}  {}\n", info.name, width, to_string(info.kind), info.doc);
  return out;
}

std::string example_text(const Json& playbook) { return fmt::format("\nExample: a playbook that passes `capsize check`\n{}\n", playbook.dump(2)); }

Json bound_for(MeasureKind kind) {
  switch (kind) {
    case MeasureKind::ratio: return {{"at_least", "90%"}};
    case MeasureKind::duration: return {{"at_most", "1s"}};
    case MeasureKind::rate: return {{"at_least", "1/s"}};
    case MeasureKind::count:
    case MeasureKind::number: break;
  }
  return {{"at_least", 0}};
}

Json expectation_of(const std::string& probe, const ProbeType& type) {
  for (const MeasureInfo& info : type.measures()) {
    if (info.of != MeasureOf::span) continue;  // known only when the run is over: not of the steady state
    Json out = bound_for(info.kind);
    std::string name = info.name;
    if (const std::size_t open = name.find('<'); open != std::string::npos) name.replace(open, name.find('>') - open + 1, "auth1");
    out["measure"] = probe + "." + name;
    return out;
  }
  return Json::object();
}

// The part of a probe's name that says what it looks at: "login" of "login.http".
std::string short_name(std::string_view name) { return std::string(name.substr(0, name.find('.'))); }

void add_target(Json& playbook, const std::string& name, std::string_view type, const Catalogs& catalogs) {
  const TargetType* target = catalogs.target(type);
  if (target == nullptr) return;
  Json json = target->example;
  json["type"] = type;
  json.erase("host");
  playbook["targets"][name] = std::move(json);
}

void add_probe(Json& playbook, const ProbeType& probe, const Catalogs& catalogs) {
  const std::string name = short_name(probe.name);
  Json json = probe.example;
  json["probe"] = probe.name;
  if (!probe.target_type.empty()) {
    const std::string target = json.value("target", std::string(probe.target_type));
    json["target"] = target;
    if (!playbook.contains("targets") || !playbook["targets"].contains(target)) add_target(playbook, target, probe.target_type, catalogs);
  }
  playbook["probes"][name] = std::move(json);
  playbook["steady_state"] = Json::array({expectation_of(name, probe)});
}

// A probe to judge a fault by: one that needs no target where there is one.
const ProbeType* any_probe(const Catalogs& catalogs) {
  for (const ProbeType& probe : *catalogs.probes) {
    if (probe.target_type.empty()) return &probe;
  }
  return catalogs.probes->empty() ? nullptr : &catalogs.probes->front();
}

Json begin(std::string_view what) { return {{"playbook", kPlaybookFormat}, {"title", fmt::format("An example of {}", what)}}; }

Description of_fault(const FaultType& fault, const Catalogs& catalogs) {
  const auto own = fault.spec().fields();
  const Json example = example_playbook(fault, catalogs);
  Description out;
  out.json = {{"kind", "fault"}, {"name", fault.name}, {"doc", fault.doc}, {"target_types", fault.target_types}, {"parameters", parameters_json(own)},
              {"common_parameters", parameters_json(fault_spec().fields())}, {"undo", fault.undo_doc}, {"example", example}};
  out.text = fmt::format("{}  (a fault{}{})\n  {}\n", fault.name, fault.target_types.empty() ? "" : " for targets of type ", fmt::join(fault.target_types, " or "), fault.doc);
  if (!fault.undo_doc.empty()) out.text += fmt::format("\nUndo\n  {}\n", fault.undo_doc);
  out.text += parameters_text("Parameters", own) + parameters_text("Parameters of every fault", fault_spec().fields()) + example_text(example);
  return out;
}

Description of_probe(const ProbeType& probe, const Catalogs& catalogs) {
  const auto own = probe.spec().fields();
  const Json example = example_playbook(probe, catalogs);
  Description out;
  out.json = {{"kind", "probe"}, {"name", probe.name}, {"doc", probe.doc}, {"target_type", probe.target_type}, {"parameters", parameters_json(own)},
              {"measures", measures_json(probe.measures())}, {"example", example}};
  out.text = fmt::format("{}  (a probe{}{})\n  {}\n", probe.name, probe.target_type.empty() ? "" : " of targets of type ", probe.target_type, probe.doc) +
             parameters_text("Parameters", own) + measures_text(probe.measures()) + example_text(example);
  return out;
}

Description of_target(const TargetType& target, const Catalogs& catalogs) {
  const auto own = target.spec().fields();
  const Json example = example_playbook(target, catalogs);
  Json users = Json::array();
  std::string list;
  const auto use = [&](std::string_view name) {
    users.push_back(name);
    list += fmt::format("  {}\n", name);
  };
  for (const FaultType& fault : *catalogs.faults) {
    if (accepts(fault, target.name)) use(fault.name);
  }
  for (const ProbeType& probe : *catalogs.probes) {
    if (probe.target_type == target.name) use(probe.name);
  }
  Description out;
  out.json = {{"kind", "target"}, {"name", target.name}, {"doc", target.doc}, {"parameters", parameters_json(own)}, {"used_by", users}, {"example", example}};
  out.text = fmt::format("{}  (a type of target)\n  {}\n", target.name, target.doc) + parameters_text("Parameters", own) + "\nUsed by\n" + list + example_text(example);
  return out;
}

Description of_measure(const std::string& name, const MeasureInfo& info, const Json& example) {
  Description out;
  out.json = {{"kind", "measure"}, {"name", name}, {"measures", to_string(info.kind)}, {"doc", info.doc}, {"example", example}};
  out.text = fmt::format("{}  (a measure: {})\n  {}\n\nExample\n  {}\n", name, to_string(info.kind), info.doc, example.dump());
  return out;
}

Json measure_example(const std::string& name, const MeasureInfo& info) {
  Json out = bound_for(info.kind);
  out["measure"] = name;
  return out;
}

}  // namespace

namespace {

// `target_type`: one that the fault accepts; its example is aimed at the first.
Json playbook_around(const FaultType& fault, std::string_view target_type, const Catalogs& catalogs) {
  Json out = begin(fault.name);
  Json json = fault.example;
  json["fault"] = fault.name;
  if (!json.contains("for")) json["for"] = "30s";
  if (!target_type.empty()) {
    const std::string target = target_type == fault.target_types.front() ? json.value("target", std::string(target_type)) : std::string(target_type);
    json["target"] = target;
    add_target(out, target, target_type, catalogs);
  }
  out["faults"] = Json::array({json});
  if (const ProbeType* probe = any_probe(catalogs)) {
    add_probe(out, *probe, catalogs);
    Json expected = expectation_of(short_name(probe->name), *probe);
    expected["during"] = "fault";
    out["hypothesis"] = Json::array({expected, {{"measure", kRecoveryTime}, {"at_most", "10s"}}});
  }
  return out;
}

}  // namespace

Json example_playbook(const FaultType& fault, const Catalogs& catalogs) {
  return playbook_around(fault, fault.target_types.empty() ? std::string_view() : fault.target_types.front(), catalogs);
}

Json example_playbook(const ProbeType& probe, const Catalogs& catalogs) {
  Json out = begin(probe.name);
  add_probe(out, probe, catalogs);
  return out;
}

Json example_playbook(const TargetType& target, const Catalogs& catalogs) {
  for (const FaultType& fault : *catalogs.faults) {
    if (!fault.target_types.empty() && fault.target_types.front() == target.name) return example_playbook(fault, catalogs);
  }
  for (const FaultType& fault : *catalogs.faults) {
    if (accepts(fault, target.name)) return playbook_around(fault, target.name, catalogs);
  }
  Json out = begin(target.name);
  add_target(out, std::string(target.name), target.name, catalogs);
  if (const ProbeType* probe = any_probe(catalogs)) add_probe(out, *probe, catalogs);
  return out;
}

Description describe_all(const Catalogs& catalogs) {
  Description out;
  out.json = {{"faults", Json::array()}, {"probes", Json::array()}, {"targets", Json::array()}, {"run_measures", measures_json(run_measures())}};
  const auto line = [&out](std::string_view name, std::string_view doc) { out.text += fmt::format("  {:<18}  {}\n", name, doc); };
  out.text = "Faults\n";
  for (const FaultType& fault : *catalogs.faults) {
    line(fault.name, fault.doc);
    out.json["faults"].push_back({{"name", fault.name}, {"doc", fault.doc}, {"target_types", fault.target_types}});
  }
  out.text += "\nProbes, and what they measure\n";
  for (const ProbeType& probe : *catalogs.probes) {
    line(probe.name, probe.doc);
    std::string names;
    for (const MeasureInfo& info : probe.measures()) names += (names.empty() ? "" : " ") + info.name;
    line("", names);
    out.json["probes"].push_back({{"name", probe.name}, {"doc", probe.doc}, {"target_type", probe.target_type}, {"measures", measures_json(probe.measures())}});
  }
  out.text += "\nTargets\n";
  for (const TargetType& target : *catalogs.targets) {
    line(target.name, target.doc);
    out.json["targets"].push_back({{"name", target.name}, {"doc", target.doc}});
  }
  out.text += "\nMeasures of a run\n";
  for (const MeasureInfo& info : run_measures()) line(info.name, info.doc);
  out.text += "\n`capsize describe NAME` explains one.\n";
  return out;
}

Parsed<Description> describe(std::string_view name, const Catalogs& catalogs) {
  if (const FaultType* fault = catalogs.fault(name)) return of_fault(*fault, catalogs);
  if (const ProbeType* probe = catalogs.probe(name)) return of_probe(*probe, catalogs);
  if (const TargetType* target = catalogs.target(name)) return of_target(*target, catalogs);
  std::vector<std::string> known;
  for (const auto& names : {catalogs.fault_names(), catalogs.probe_names(), catalogs.target_names()}) known.insert(known.end(), names.begin(), names.end());
  for (const MeasureInfo& info : run_measures()) {
    if (info.name == name) return of_measure(info.name, info, {{"measure", info.name}, {"at_most", "10s"}});
    known.push_back(info.name);
  }
  for (const ProbeType& probe : *catalogs.probes) {
    for (const MeasureInfo& info : probe.measures()) known.push_back(fmt::format("{}.{}", probe.name, info.name));
    const std::string prefix = std::string(probe.name) + ".";
    if (!name.starts_with(prefix)) continue;
    const std::string measure(name.substr(prefix.size()));
    if (const MeasureInfo* info = find_measure(probe, measure)) return of_measure(std::string(name), *info, measure_example(short_name(probe.name) + "." + measure, *info));
  }
  const std::string meant = did_you_mean(name, known);
  return Mistake{fmt::format("nothing here is called \"{}\"", printable(name, 60)), meant.empty() ? "`capsize describe` lists all names" : fmt::format("did you mean \"{}\"?", meant)};
}

}  // namespace capsize
