#include "injector/base/error.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace capsize {
namespace {

constexpr std::array kKinds = {ErrorKind::refused, ErrorKind::unavailable, ErrorKind::privilege,
                               ErrorKind::residue, ErrorKind::changed,     ErrorKind::bug};

std::string sentence(const std::string& fact, const std::string& remedy) { return remedy.empty() ? fact : fact + "; " + remedy; }

}  // namespace

Error::Error(ErrorKind kind, std::string fact, std::string remedy)
    : std::runtime_error(sentence(fact, remedy)), kind_(kind), fact_(std::move(fact)), remedy_(std::move(remedy)) {}

int Error::exit_code() const {
  switch (kind_) {
    case ErrorKind::refused: return kExitBadPlaybook;
    case ErrorKind::unavailable:
    case ErrorKind::changed: return kExitUnavailable;
    case ErrorKind::privilege: return kExitPrivilege;
    case ErrorKind::residue: return kExitResidue;
    case ErrorKind::bug: break;
  }
  return kExitBug;
}

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::refused: return "refused";
    case ErrorKind::unavailable: return "unavailable";
    case ErrorKind::privilege: return "privilege";
    case ErrorKind::residue: return "residue";
    case ErrorKind::changed: return "changed";
    case ErrorKind::bug: break;
  }
  return "bug";
}

Json to_json(const Error& error) { return {{"kind", to_string(error.kind())}, {"fact", error.fact()}, {"remedy", error.remedy()}}; }

Error error_from_json(const Json& json) {
  if (!json.is_object()) return Error(ErrorKind::bug, "an error that is not an object: " + json.dump());
  const auto text = [&](const char* key) {
    const auto it = json.find(key);
    return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const std::string name = text("kind");
  ErrorKind kind = ErrorKind::bug;
  for (const ErrorKind candidate : kKinds) {
    if (to_string(candidate) == name) kind = candidate;
  }
  return Error(kind, text("fact"), text("remedy"));
}

Error system_error(int code, const std::string& what, std::string remedy) {
  const bool privilege = code == EPERM || code == EACCES;
  return Error(privilege ? ErrorKind::privilege : ErrorKind::unavailable, fmt::format("{}: {}", what, std::strerror(code)), std::move(remedy));
}

void check_failed(const char* condition, const char* file, int line) {
  throw Error(ErrorKind::bug, fmt::format("{}:{}: not true: {}", file, line, condition), "this is a bug in capsize: please report it with the run's timeline");
}

}  // namespace capsize
