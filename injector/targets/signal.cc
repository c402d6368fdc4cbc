#include "injector/targets/signal.h"

#include <array>
#include <csignal>
#include <cstring>

#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

constexpr int kLastStandard = 31;
constexpr std::array<int, 4> kHarmless = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH};

}  // namespace

std::optional<int> signal_number(std::string_view name) {
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (int number = 1; number <= kLastStandard; ++number) {
    const char* known = ::sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  return std::nullopt;
}

std::string signal_name(int number) {
  const char* known = ::sigabbrev_np(number);
  return known == nullptr ? "signal " + std::to_string(number) : "SIG" + std::string(known);
}

bool stops_by_default(int number) { return number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU; }

bool ends_by_default(int number) {
  for (const int harmless : kHarmless) {
    if (number == harmless) return false;
  }
  return !stops_by_default(number);
}

bool asks_to_end(int number) { return ends_by_default(number) && number != SIGHUP && number != SIGUSR1 && number != SIGUSR2; }

std::string ParamTraits<SignalRef>::name() { return "signal"; }
Parsed<SignalRef> ParamTraits<SignalRef>::parse(const Json& json) {
  if (!json.is_string()) return wrong_type(json, "a signal, as \"SIGKILL\" or \"TERM\"");
  const auto& text = json.get_ref<const std::string&>();
  const auto number = signal_number(text);
  if (!number) return Mistake{"\"" + printable(text, 60) + "\" is not a signal", "write its name, as \"SIGKILL\" or \"TERM\""};
  return SignalRef{*number};
}
Json ParamTraits<SignalRef>::schema() { return schema_with_variables({{"type", "string"}, {"pattern", "^(SIG)?[A-Z][A-Z0-9]{1,6}$"}}); }
Json ParamTraits<SignalRef>::show(const SignalRef& value) { return value.number == 0 ? Json(nullptr) : Json(signal_name(value.number)); }

}  // namespace capsize
