#include "experiments/schema.h"

#include <fmt/format.h>

#include "experiments/playbook_parts.h"

namespace capsize {
namespace {

Json closed(Json schema) {
  schema["type"] = "object";
  schema["additionalProperties"] = false;
  return schema;
}

// {"if": key is this name, "then": that definition}
Json when(const std::string& key, std::string_view name, const std::string& definition) {
  Json is_name = Json::object();
  is_name["properties"][key]["const"] = name;
  is_name["required"] = Json::array({key});
  Json out = Json::object();
  out["if"] = std::move(is_name);
  out["then"]["$ref"] = "#/$defs/" + definition;
  return out;
}

// The keys that every fault, probe or target has, together with those of one type.
Json with_common(const AnySpec& common, const AnySpec& own, const std::string& key, std::string_view name, std::string_view doc) {
  Json out = closed(schema_of(common));
  const Json mine = schema_of(own);
  out["properties"].update(mine["properties"]);
  for (const Json& required : mine["required"]) out["required"].push_back(required);
  if (mine.contains("allOf")) out["allOf"] = mine["allOf"];
  out["properties"][key] = {{"const", name}, {"description", doc}};
  return out;
}

void aim(Json& schema, bool has_target) {
  if (!has_target) schema["properties"].erase("target");
  else schema["required"].push_back("target");
}

// An object whose `key` names one of `names`, and so what else it holds.
Json dispatch(const std::string& key, const std::vector<std::string>& names, const std::string& kind, std::string_view doc) {
  Json out = Json::object();
  out["type"] = "object";
  out["required"] = Json::array({key});
  out["properties"][key] = {{"enum", names}, {"description", doc}};
  out["allOf"] = Json::array();
  for (const std::string& name : names) out["allOf"].push_back(when(key, name, kind + "." + name));
  if (names.empty()) out.erase("allOf");
  return out;
}

Json named(Json items) {
  Json out = Json::object();
  out["type"] = "object";
  out["maxProperties"] = kMaxParts;
  out["propertyNames"]["pattern"] = kPlaybookNamePattern;
  out["additionalProperties"] = std::move(items);
  return out;
}

Json list_of(Json items) { return {{"type", "array"}, {"maxItems", kMaxParts}, {"items", std::move(items)}}; }

Json reference(const std::string& definition) { return {{"$ref", "#/$defs/" + definition}}; }

Json expectation(const AnySpec& spec, const char* how_many) {
  Json out = closed(schema_of(spec));
  for (const char* bound : {"at_least", "at_most", "below", "above"}) {
    Json has = Json::object();
    has["required"] = Json::array({bound});
    out[how_many].push_back(std::move(has));
  }
  return out;
}

Json variables() {
  const Json scalar = {{"type", Json::array({"string", "number", "boolean"})}};
  Json value = Json::object();
  value["anyOf"] = Json::array({scalar, list_of(scalar)});
  value["anyOf"][1]["maxItems"] = 1000;
  return named(std::move(value));
}

}  // namespace

Json playbook_schema(const Catalogs& catalogs) {
  Json out = closed(schema_of(playbook_spec()));
  out["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  out["title"] = "A playbook of capsize";
  Json& defs = out["$defs"];
  defs["variables"] = variables();
  defs["hosts"] = named(closed(schema_of(host_spec())));
  defs["targets"] = named(dispatch("type", catalogs.target_names(), "target", "what it is"));
  defs["probes"] = named(dispatch("probe", catalogs.probe_names(), "probe", "what measures"));
  defs["faults"] = list_of(dispatch("fault", catalogs.fault_names(), "fault", "what is done"));
  defs["timing"] = closed(schema_of(timing_spec()));
  defs["escape"] = closed(schema_of(escape_spec()));
  defs["steady_state"] = list_of(reference("expectation.steady_state"));
  defs["sealed"] = list_of(closed(schema_of(sealed_spec())));
  defs["steps"] = list_of(closed(schema_of(step_spec())));
  for (const char* key : {"name", "within", "scores"}) defs["steps"]["items"]["dependentRequired"][key] = Json::array({"ask"});
  defs["hypothesis"] = list_of(reference("expectation.hypothesis"));
  defs["abort_when"] = list_of(reference("guardrail"));
  defs["expectation.steady_state"] = expectation(steady_state_spec(), "anyOf");
  defs["expectation.hypothesis"] = expectation(hypothesis_spec(), "anyOf");
  defs["guardrail"] = expectation(guardrail_spec(), "oneOf");
  for (const TargetType& type : *catalogs.targets) {
    defs[fmt::format("target.{}", type.name)] = with_common(target_spec(), type.spec(), "type", type.name, type.doc);
  }
  for (const ProbeType& type : *catalogs.probes) {
    Json& schema = defs[fmt::format("probe.{}", type.name)] = with_common(probe_spec(), type.spec(), "probe", type.name, type.doc);
    aim(schema, !type.target_type.empty());
  }
  for (const FaultType& type : *catalogs.faults) {
    Json& schema = defs[fmt::format("fault.{}", type.name)] = with_common(fault_spec(), type.spec(), "fault", type.name, type.doc);
    aim(schema, !type.target_types.empty());
    schema["dependentRequired"]["allow"] = Json::array({"reason"});
  }
  return out;
}

}  // namespace capsize
