#include "injector/base/spec.h"

#include <fmt/format.h>

#include <algorithm>

namespace capsize {

Rule<Duration> more_than_zero() {
  return {[](const Duration& value) -> std::optional<Mistake> {
            if (value.count() > 0) return std::nullopt;
            return Mistake{"a duration of zero", "write more than zero, as \"10s\""};
          },
          {{"anyOf", Json::array({{{"pattern", "[1-9]"}}, {{"pattern", "\\$\\{"}}})}}};
}

Rule<Count> between(Count least, Count most) {
  return {[least, most](const Count& value) -> std::optional<Mistake> {
            if (value >= least && value <= most) return std::nullopt;
            return Mistake{fmt::format("{} is outside {} to {}", value, least, most), fmt::format("write a whole number from {} to {}", least, most)};
          },
          {{"anyOf", Json::array({{{"type", "integer"}, {"minimum", least}, {"maximum", most}}, {{"type", "string"}}})}}};
}

Json schema_of(const AnySpec& spec) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const FieldInfo& field : spec.fields()) {
    Json schema = field.schema;
    schema["description"] = field.doc;
    if (!field.default_value.is_null()) schema["default"] = field.default_value;
    properties[field.name] = std::move(schema);
    if (field.required) required.push_back(field.name);
  }
  Json out = {{"properties", std::move(properties)}, {"required", std::move(required)}};
  for (const auto& names : spec.exactly_one()) {
    Json choices = Json::array();
    for (const std::string& name : names) choices.push_back({{"required", Json::array({name})}});
    out["allOf"].push_back({{"oneOf", std::move(choices)}});
  }
  return out;
}

namespace spec_detail {

void check_exactly_one(const Json& object, const std::string& pointer, const std::vector<std::string>& names, Diagnostics& diagnostics) {
  std::string list;
  std::vector<std::string> given;
  for (const std::string& name : names) {
    list += (list.empty() ? "\"" : " or \"") + name + "\"";
    if (object.contains(name)) given.push_back(name);
  }
  if (given.empty()) diagnostics.add_key(pointer, "none of " + list + " is given", "add one of them");
  for (std::size_t i = 1; i < given.size(); ++i) {
    diagnostics.add_key(pointer_join(pointer, given[i]), fmt::format("\"{}\" beside \"{}\" says the same thing twice", given[i], given.front()), "keep one of " + list);
  }
}

void check_keys(const Json& object, const std::string& pointer, const std::vector<FieldInfo>& fields, const std::vector<std::string>& also_known, Diagnostics& diagnostics) {
  std::vector<std::string> known = also_known;
  for (const FieldInfo& field : fields) known.push_back(field.name);
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string meant = did_you_mean(key, known);
    std::string list;
    for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
    diagnostics.add_key(pointer_join(pointer, key), fmt::format("\"{}\" is not a key here", printable(key, 60)),
                    meant.empty() ? "leave it out; known here: " + list : fmt::format("did you mean \"{}\"?", meant));
  }
  for (const FieldInfo& field : fields) {
    if (field.required && !object.contains(field.name)) {
      diagnostics.add_key(pointer, fmt::format("\"{}\" is missing ({})", field.name, field.doc), fmt::format("add \"{}\": {}", field.name, field.type));
    }
  }
}

}  // namespace spec_detail
}  // namespace capsize
