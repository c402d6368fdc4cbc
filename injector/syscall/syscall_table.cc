#include "injector/syscall/syscall_table.h"

#include <fmt/format.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "injector/base/diagnostics.h"
#include "injector/syscall/syscall_names.h"

namespace capsize {
namespace {

constexpr long kMostCalls = 1024;

const std::vector<std::pair<std::string, long>>& calls() {
  static const std::vector<std::pair<std::string, long>> table = {
#if defined(__x86_64__)
#define CAPSIZE_CALL(name) {#name, SYS_##name},
      CAPSIZE_SYSCALLS(CAPSIZE_CALL)
#undef CAPSIZE_CALL
#endif
  };
  return table;
}

#define CAPSIZE_ERROR(name) std::pair<std::string_view, int>{#name, name}
constexpr std::array kErrors = {
    CAPSIZE_ERROR(EPERM), CAPSIZE_ERROR(ENOENT), CAPSIZE_ERROR(ESRCH), CAPSIZE_ERROR(EINTR), CAPSIZE_ERROR(EIO), CAPSIZE_ERROR(ENXIO), CAPSIZE_ERROR(E2BIG), CAPSIZE_ERROR(EBADF),
    CAPSIZE_ERROR(ECHILD), CAPSIZE_ERROR(EAGAIN), CAPSIZE_ERROR(ENOMEM), CAPSIZE_ERROR(EACCES), CAPSIZE_ERROR(EFAULT), CAPSIZE_ERROR(EBUSY), CAPSIZE_ERROR(EEXIST), CAPSIZE_ERROR(EXDEV),
    CAPSIZE_ERROR(ENODEV), CAPSIZE_ERROR(ENOTDIR), CAPSIZE_ERROR(EISDIR), CAPSIZE_ERROR(EINVAL), CAPSIZE_ERROR(ENFILE), CAPSIZE_ERROR(EMFILE), CAPSIZE_ERROR(ETXTBSY),
    CAPSIZE_ERROR(EFBIG), CAPSIZE_ERROR(ENOSPC), CAPSIZE_ERROR(ESPIPE), CAPSIZE_ERROR(EROFS), CAPSIZE_ERROR(EMLINK), CAPSIZE_ERROR(EPIPE), CAPSIZE_ERROR(ERANGE), CAPSIZE_ERROR(EDEADLK),
    CAPSIZE_ERROR(ENAMETOOLONG), CAPSIZE_ERROR(ENOLCK), CAPSIZE_ERROR(ENOSYS), CAPSIZE_ERROR(ENOTEMPTY), CAPSIZE_ERROR(ELOOP), CAPSIZE_ERROR(ENODATA), CAPSIZE_ERROR(EPROTO),
    CAPSIZE_ERROR(EOVERFLOW), CAPSIZE_ERROR(EMSGSIZE), CAPSIZE_ERROR(EOPNOTSUPP), CAPSIZE_ERROR(EADDRINUSE), CAPSIZE_ERROR(EADDRNOTAVAIL), CAPSIZE_ERROR(ENETDOWN),
    CAPSIZE_ERROR(ENETUNREACH), CAPSIZE_ERROR(ECONNABORTED), CAPSIZE_ERROR(ECONNRESET), CAPSIZE_ERROR(ENOBUFS), CAPSIZE_ERROR(EISCONN), CAPSIZE_ERROR(ENOTCONN), CAPSIZE_ERROR(ETIMEDOUT),
    CAPSIZE_ERROR(ECONNREFUSED), CAPSIZE_ERROR(EHOSTDOWN), CAPSIZE_ERROR(EHOSTUNREACH), CAPSIZE_ERROR(EALREADY), CAPSIZE_ERROR(EINPROGRESS), CAPSIZE_ERROR(ESTALE), CAPSIZE_ERROR(EDQUOT),
    CAPSIZE_ERROR(ECANCELED)};
#undef CAPSIZE_ERROR

std::vector<std::string> error_names() {
  std::vector<std::string> out;
  for (const auto& [name, number] : kErrors) out.emplace_back(name);
  return out;
}

std::optional<long> number_in(const std::string& text) {
  long out = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size() || out < 0 || out >= kMostCalls) return std::nullopt;
  return out;
}

}  // namespace

const std::vector<std::string>& system_call_names() {
  static const auto names = [] {
    std::vector<std::string> out;
    for (const auto& [name, number] : calls()) out.push_back(name);
    return out;
  }();
  return names;
}

std::string name_of(SystemCall call) {
  for (const auto& [name, number] : calls()) {
    if (number == call.number) return name;
  }
  return fmt::format("system call {}", call.number);
}

std::string name_of(SystemError error) {
  for (const auto& [name, number] : kErrors) {
    if (number == error.number) return std::string(name);
  }
  return fmt::format("error {}", error.number);
}

bool must_not_be_touched(SystemCall call) {
  for (const long number : {SYS_exit, SYS_exit_group, SYS_rt_sigreturn, SYS_restart_syscall}) {
    if (call.number == number) return true;
  }
  return false;
}

std::string ParamTraits<SystemCall>::name() { return "system call"; }

Parsed<SystemCall> ParamTraits<SystemCall>::parse(const Json& json) {
  if (!json.is_string() && !json.is_number_integer()) return wrong_type(json, "the name of a system call, as \"fsync\"");
  const std::string text = json.is_string() ? json.get<std::string>() : json.dump();
  if (const auto number = number_in(text)) return SystemCall{*number};
  for (const auto& [name, number] : calls()) {
    if (name == text) return SystemCall{number};
  }
  if (text.empty() || text.front() == '-' || (text.front() >= '0' && text.front() <= '9') || calls().empty()) {
    return Mistake{"\"" + printable(text, 60) + "\" is no number of a system call", fmt::format("write its name, or a number from 0 to {}", kMostCalls - 1)};
  }
  const std::string meant = did_you_mean(text, system_call_names());
  return Mistake{"\"" + printable(text, 60) + "\" is no system call", (meant.empty() ? "" : "did you mean \"" + meant + "\"? ") + std::string("write a name as in `man 2 syscalls`, or the number of the call on that machine")};
}

Json ParamTraits<SystemCall>::schema() {
  Json number = {{"type", "integer"}, {"minimum", 0}, {"maximum", kMostCalls - 1}};
  Json text = {{"type", "string"}, {"pattern", "^[a-z_][a-z0-9_]*$|^[0-9]{1,4}$"}};
  return schema_with_variables({{"anyOf", Json::array({std::move(number), std::move(text)})}});
}

Json ParamTraits<SystemCall>::show(const SystemCall& value) { return name_of(value); }

std::string ParamTraits<SystemError>::name() { return "error"; }

Parsed<SystemError> ParamTraits<SystemError>::parse(const Json& json) {
  if (!json.is_string()) return wrong_type(json, "the name of an error, as \"EIO\"");
  const auto& text = json.get_ref<const std::string&>();
  for (const auto& [name, number] : kErrors) {
    if (name == text) return SystemError{number};
  }
  return wrong_word(text, error_names());
}

Json ParamTraits<SystemError>::schema() { return schema_with_variables({{"enum", error_names()}}); }
Json ParamTraits<SystemError>::show(const SystemError& value) { return name_of(value); }

}  // namespace capsize
