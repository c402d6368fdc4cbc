// One declaration per parameter. A Spec<P> names the parameters of a fault, probe, op or target; the parser, the validator with
// did-you-mean, the JSON Schema, `capsize describe` and the reference docs are its readers.
//
//   inline const Spec<SkewParams>& skew_spec() {
//     static const auto spec = Spec<SkewParams>()
//       .required("server", &SkewParams::server, "the server that gets too much")
//       .optional("share", &SkewParams::share, "its share of the traffic; default 80%");
//     return spec;
//   }
#pragma once
#include <concepts>
#include <functional>
#include <string>
#include <vector>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/base/json.h"
#include "injector/base/param_types.h"

namespace capsize {

// What every reader but the parser needs of one parameter.
struct FieldInfo {
  std::string name;
  std::string type;     // as a person reads it: "duration", "share", ...
  std::string doc;
  bool required = false;
  Json default_value;   // null: none
  Json schema;
};

// A bound that the type cannot say: nullopt when the value is good. `patch` is merged into the field's schema.
template <class T>
struct Rule {
  std::function<std::optional<Mistake>(const T&)> check;
  Json patch = nullptr;
};

Rule<Duration> more_than_zero();
Rule<Count> between(Count least, Count most);
// The rule for a parameter that has no default.
template <class T>
Rule<std::optional<T>> if_given(Rule<T> rule) {
  const auto check = [inner = std::move(rule.check)](const std::optional<T>& value) { return value ? inner(*value) : std::optional<Mistake>(); };
  return {check, std::move(rule.patch)};
}

// The type-erased face of a Spec, as the catalogs hold it.
class AnySpec {
 public:
  virtual ~AnySpec() = default;
  virtual std::vector<FieldInfo> fields() const = 0;
  // Groups of keys of which exactly one must be given.
  virtual std::vector<std::vector<std::string>> exactly_one() const { return {}; }
  // Adds every problem of `object` (at `pointer`) to `diagnostics`. `also_known` are keys that belong to someone else.
  virtual void validate(const Json& object, const std::string& pointer, const std::vector<std::string>& also_known, Diagnostics& diagnostics) const = 0;
};

// A type whose value has parts reads itself, and says of each part what is wrong with it, at the part's own place.
template <class T>
concept ReadsItsParts = requires(const Json& json, const std::string& pointer, Diagnostics& diagnostics) {
  { ParamTraits<T>::read(json, pointer, diagnostics) } -> std::same_as<std::optional<T>>;
};

// {"properties":…, "required":[…]}, and "allOf" where exactly one of several keys is wanted; the caller decides on additionalProperties.
Json schema_of(const AnySpec& spec);

namespace spec_detail {
// Unknown keys with did-you-mean, missing ones with what they are for.
void check_keys(const Json& object, const std::string& pointer, const std::vector<FieldInfo>& fields, const std::vector<std::string>& also_known, Diagnostics& diagnostics);
void check_exactly_one(const Json& object, const std::string& pointer, const std::vector<std::string>& names, Diagnostics& diagnostics);
}  // namespace spec_detail

template <class P>
class Spec final : public AnySpec {
 public:
  template <class T>
  Spec& required(std::string name, T P::*member, std::string doc, Rule<T> rule = {}) {
    return add(std::move(name), member, std::move(doc), true, std::move(rule));
  }
  // The default is what P{} holds.
  template <class T>
  Spec& optional(std::string name, T P::*member, std::string doc, Rule<T> rule = {}) {
    return add(std::move(name), member, std::move(doc), false, std::move(rule));
  }

  // Of these optional parameters one must be given, and only one.
  Spec& exactly_one_of(std::vector<std::string> names) {
    exactly_one_.push_back(std::move(names));
    return *this;
  }

  std::vector<FieldInfo> fields() const override {
    std::vector<FieldInfo> out;
    for (const Field& field : fields_) out.push_back(field.info);
    return out;
  }

  std::vector<std::vector<std::string>> exactly_one() const override { return exactly_one_; }

  void validate(const Json& object, const std::string& pointer, const std::vector<std::string>& also_known, Diagnostics& diagnostics) const override {
    P ignored{};
    read(object, pointer, also_known, diagnostics, ignored);
  }

  // The parameters; where something is wrong, its default and a diagnostic.
  P parse(const Json& object, const std::string& pointer, const std::vector<std::string>& also_known, Diagnostics& diagnostics) const {
    P out{};
    read(object, pointer, also_known, diagnostics, out);
    return out;
  }

  // For JSON that has been validated (a checked playbook, an op from the journal): the first problem is thrown as Error::refused.
  P parse_or_throw(const Json& object) const {
    Diagnostics diagnostics;
    P out = parse(object, "", {}, diagnostics);
    if (!diagnostics.ok()) {
      const Diagnostic& first = diagnostics.all().front();
      throw Error(ErrorKind::refused, (first.pointer.empty() ? "/" : first.pointer) + ": " + first.fact, first.remedy);
    }
    return out;
  }

 private:
  struct Field {
    FieldInfo info;
    std::function<void(const Json&, const std::string& pointer, Diagnostics&, P&)> set;
  };

  template <class T>
  Spec& add(std::string name, T P::*member, std::string doc, bool is_required, Rule<T> rule) {
    Field field;
    field.info = {std::move(name), ParamTraits<T>::name(), std::move(doc), is_required, nullptr, ParamTraits<T>::schema()};
    if (!rule.patch.is_null()) field.info.schema = {{"allOf", Json::array({field.info.schema, rule.patch})}};
    if (!is_required) field.info.default_value = ParamTraits<T>::show(P{}.*member);
    field.set = [member, rule = std::move(rule)](const Json& json, const std::string& pointer, Diagnostics& diagnostics, P& out) {
      std::optional<T> value;
      if constexpr (ReadsItsParts<T>) {
        value = ParamTraits<T>::read(json, pointer, diagnostics);
      } else {
        auto parsed = ParamTraits<T>::parse(json);
        if (auto* mistake = std::get_if<Mistake>(&parsed)) return diagnostics.add(pointer, std::move(mistake->fact), std::move(mistake->remedy));
        value.emplace(std::get<T>(std::move(parsed)));
      }
      if (!value) return;
      if (auto mistake = rule.check ? rule.check(*value) : std::optional<Mistake>()) return diagnostics.add(pointer, std::move(mistake->fact), std::move(mistake->remedy));
      out.*member = std::move(*value);
    };
    fields_.push_back(std::move(field));
    return *this;
  }

  void read(const Json& object, const std::string& pointer, const std::vector<std::string>& also_known, Diagnostics& diagnostics, P& out) const {
    if (!object.is_object()) {
      const Mistake mistake = wrong_type(object, "an object");
      diagnostics.add(pointer, mistake.fact, mistake.remedy);
      return;
    }
    spec_detail::check_keys(object, pointer, fields(), also_known, diagnostics);
    for (const auto& names : exactly_one_) spec_detail::check_exactly_one(object, pointer, names, diagnostics);
    for (const Field& field : fields_) {
      const auto found = object.find(field.info.name);
      if (found == object.end()) continue;
      field.set(*found, pointer_join(pointer, field.info.name), diagnostics, out);
    }
  }

  std::vector<Field> fields_;
  std::vector<std::vector<std::string>> exactly_one_;
};

}  // namespace capsize
