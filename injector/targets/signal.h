// A signal as a playbook names it: "SIGTERM" or "TERM".
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "injector/base/spec.h"

namespace capsize {

struct SignalRef {
  int number = 0;
  friend bool operator==(const SignalRef&, const SignalRef&) = default;
};
std::optional<int> signal_number(std::string_view name);  // of the standard ones
std::string signal_name(int number);                      // "SIGTERM"
bool ends_by_default(int number);                         // what it does to a process that has not asked for anything else
bool stops_by_default(int number);
bool asks_to_end(int number);  // not those by which a service is often asked to reopen its logs or to read its configuration

template <>
struct ParamTraits<SignalRef> {
  static std::string name();
  static Parsed<SignalRef> parse(const Json& json);
  static Json schema();
  static Json show(const SignalRef& value);
};

}  // namespace capsize
