// The world said no: what was tried, where, and what came back. Thrown, caught once near the top, and turned into an exit code there.
#pragma once
#include <stdexcept>
#include <string>

#include "injector/base/json.h"

namespace capsize {

// Exit codes that are not an outcome of a run (pinned: scripts depend on them).
inline constexpr int kExitUsage = 64;
inline constexpr int kExitBadPlaybook = 65;
inline constexpr int kExitUnavailable = 69;
inline constexpr int kExitBug = 70;
inline constexpr int kExitPrivilege = 77;
inline constexpr int kExitResidue = 6;

enum class ErrorKind {
  refused,      // the request breaks a rule of ours (blast radius, bad names): exit 65
  unavailable,  // something needed is missing or unreachable: exit 69
  privilege,    // a privilege is missing; the message names it: exit 77
  residue,      // an earlier fault is outstanding: exit 6
  changed,      // the world is not as the plan saw it (reloaded, changed by another): exit 69
  bug,          // we are wrong: exit 70
};

class Error : public std::runtime_error {
 public:
  // `fact` names the thing and what is wrong with it; `remedy` says what to do. Both are sentences without a final stop.
  Error(ErrorKind kind, std::string fact, std::string remedy = {});

  ErrorKind kind() const { return kind_; }
  const std::string& fact() const { return fact_; }
  const std::string& remedy() const { return remedy_; }
  int exit_code() const;

 private:
  ErrorKind kind_;
  std::string fact_;
  std::string remedy_;
};

std::string_view to_string(ErrorKind kind);
Json to_json(const Error& error);
Error error_from_json(const Json& json);  // total: anything that is not an error of ours becomes a `bug`

// "what: strerror(code)", with `privilege` for EPERM and EACCES, else `unavailable`.
Error system_error(int code, const std::string& what, std::string remedy = {});

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

// On in release too: a wrong tool with root must stop, not go on.
#define CAPSIZE_CHECK(condition) ((condition) ? void(0) : ::capsize::check_failed(#condition, __FILE__, __LINE__))

}  // namespace capsize
