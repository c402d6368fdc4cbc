// The parameter "steps" of login.http: a flow as JSON, read and checked as a whole.
#pragma once
#include <string>
#include <vector>

#include "injector/base/spec.h"
#include "probes/login/flow.h"

namespace capsize {

struct FlowSteps {
  std::vector<FlowStep> steps;
  Json written = Json::array();
};

inline constexpr std::size_t kMaxSteps = 20;

// An object of texts, as headers and forms are.
struct Texts {
  HttpHeaders entries;
};

template <>
struct ParamTraits<Texts> {
  static std::string name() { return "object of texts"; }
  static Parsed<Texts> parse(const Json& json);
  static Json schema();
  static Json show(const Texts& value);
};

template <>
struct ParamTraits<FlowSteps> {
  static std::string name() { return "list of steps"; }
  static Parsed<FlowSteps> parse(const Json& json);
  static Json schema();
  static Json show(const FlowSteps& value) { return value.written; }
};

std::optional<Mistake> json_pointer_mistake(std::string_view text);

}  // namespace capsize
