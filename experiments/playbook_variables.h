// ${name}, ${env:NAME} and ${secret:NAME}: filled in once, before anything else of a playbook is read. The result is there twice: as it
// is used, and as it may be shown.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "experiments/playbook.h"

namespace capsize {

inline constexpr std::size_t kMaxVariables = 200;
inline constexpr std::size_t kMaxVariableBytes = 4096;
inline constexpr std::size_t kMaxVariableItems = 1000;
inline constexpr std::size_t kMaxFilledBytes = 4 << 20;  // of all texts that variables were put into
inline constexpr std::size_t kMinSecretBytes = 4;        // a shorter one cannot be told from ordinary text

struct Filled {
  Json real;
  Json shown;                       // every secret is ***
};

// Replaces each secret by ***, also as JSON and URLs write it. The longest first, so that one within another leaves nothing.
std::string hide_secrets(std::string text, const std::vector<std::string>& secrets);
Json hide_secrets_in(const Json& json, const std::vector<std::string>& secrets);

inline constexpr std::size_t kMaxWords = 600;  // bytes that a probe's window keeps of why it has no answer

// An event's fields as a record may have them: no secret in any text of the world's or the playbook's, and the words of a window cut after that,
// so that no piece of one stays.
Json fit_to_record(Json fields, const std::vector<std::string>& secrets);

// The keys that say what the rest means ("fault", "probe", "type", "playbook") are written out: nothing is filled in there.
bool is_written_out(const std::string& pointer);

class Variables {
 public:
  Variables(const PlaybookOptions& options, Diagnostics& diagnostics) : options_(options), diagnostics_(diagnostics) {}

  // Fills in a whole playbook and warns of variables that nothing uses.
  Filled fill_playbook(const Json& raw);

  const std::set<std::string>& broken() const { return broken_; }  // pointers of values that could not be filled in
  const std::vector<std::string>& secrets() const { return secrets_; }

 private:
  struct Piece {
    std::string text;    // between "${" and "}", or literal text
    bool is_name = false;
  };
  void declare(const Json& variables);
  void declare_one(const std::string& name, const Json& written);
  bool override_value(const std::string& name, const Json& written, Filled& value);
  Filled fill(const Json& raw, const std::string& pointer);
  Filled fill_text(const std::string& text, const std::string& pointer);
  std::optional<std::vector<Piece>> pieces(const std::string& text, const std::string& pointer);
  std::optional<Filled> look_up(const std::string& name, const std::string& pointer);
  std::optional<Filled> from_outside(const std::string& name, bool is_secret, const std::string& pointer);
  void problem(const std::string& pointer, std::string fact, std::string remedy);

  const PlaybookOptions& options_;
  Diagnostics& diagnostics_;
  std::map<std::string, Filled> values_;
  std::set<std::string> names_;   // declared, also those whose value is wrong
  std::set<std::string> used_;
  std::set<std::string> broken_;
  std::vector<std::string> secrets_;
  std::size_t filled_bytes_ = 0;
  bool declaring_ = false;
};

}  // namespace capsize
