// System calls and their errors by name, as a playbook writes them.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/param_types.h"

namespace capsize {

struct SystemCall {  // "fsync"; "74" or 74 where there is no name for it
  long number = -1;
  friend bool operator==(const SystemCall&, const SystemCall&) = default;
};
template <>
struct ParamTraits<SystemCall> {
  static std::string name();
  static Parsed<SystemCall> parse(const Json& json);
  static Json schema();
  static Json show(const SystemCall& value);
};

struct SystemError {  // "EIO"
  int number = 0;
  friend bool operator==(const SystemError&, const SystemError&) = default;
};
template <>
struct ParamTraits<SystemError> {
  static std::string name();
  static Parsed<SystemError> parse(const Json& json);
  static Json schema();
  static Json show(const SystemError& value);
};

std::string name_of(SystemCall call);    // "fsync"; "system call 999" without a name
std::string name_of(SystemError error);  // "EIO"; "error 200"
const std::vector<std::string>& system_call_names();

// Calls whose failure or delay leaves a process neither well nor ill but broken: it cannot end, or return from a signal.
bool must_not_be_touched(SystemCall call);

}  // namespace capsize
