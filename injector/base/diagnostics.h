// What a person wrote wrong: every problem at once, each with its place, the fact and the remedy.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/json.h"

namespace capsize {

enum class Severity { error, warning };

struct Diagnostic {
  std::string pointer;  // JSON pointer (RFC 6901) of the value or key
  std::string fact;
  std::string remedy;
  Severity severity = Severity::error;
  int line = 0;    // from 1; 0: not yet located
  int column = 0;  // from 1, in bytes
  bool about_key = false;  // the key itself (unknown, or another is missing beside it), not its value: then `fact` shows no values
};

class Diagnostics {
 public:
  void add(std::string pointer, std::string fact, std::string remedy) { all_.push_back({std::move(pointer), std::move(fact), std::move(remedy), Severity::error, 0, 0, false}); }
  void add_key(std::string pointer, std::string fact, std::string remedy) { all_.push_back({std::move(pointer), std::move(fact), std::move(remedy), Severity::error, 0, 0, true}); }
  void warn(std::string pointer, std::string fact, std::string remedy) { all_.push_back({std::move(pointer), std::move(fact), std::move(remedy), Severity::warning, 0, 0, true}); }
  void add(Diagnostic diagnostic) { all_.push_back(std::move(diagnostic)); }

  bool ok() const;  // no errors; warnings do not count
  std::size_t errors() const;
  const std::vector<Diagnostic>& all() const { return all_; }
  std::vector<Diagnostic>& all() { return all_; }

  // "file:line:column: /pointer: fact; remedy", one a line, in the order of the file.
  std::string text(std::string_view file) const;
  Json json(std::string_view file) const;

 private:
  std::vector<Diagnostic> all_;
};

std::string pointer_join(const std::string& pointer, std::string_view key);  // escapes ~ and /
std::string pointer_join(const std::string& pointer, std::size_t index);

// The closest of `known` to `word`, or empty when none is near enough to be meant.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

// Text from outside made fit for a terminal line: control characters, ESC and invalid UTF-8 escaped; cut at `limit` bytes.
std::string printable(std::string_view text, std::size_t limit = 200);

}  // namespace capsize
