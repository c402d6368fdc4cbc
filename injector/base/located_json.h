// JSON as people write it, with the place of every value and key, so that whatever is found wrong can be shown as file:line:column.
// Comments (// and /* */) are allowed. Small slips of syntax (a missing or trailing comma, single quotes, a word without quotes) are
// reported and read as they were meant, so that they do not hide what else is wrong.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "injector/base/diagnostics.h"
#include "injector/base/json.h"
#include "injector/base/param_types.h"

namespace capsize {

inline constexpr std::size_t kMaxDocumentBytes = 1 << 20;
inline constexpr int kMaxDocumentDepth = 32;      // objects and lists within each other
inline constexpr std::size_t kMaxKeyBytes = 256;
inline constexpr std::size_t kMaxSyntaxProblems = 20;

struct Position {
  int line = 0;    // from 1
  int column = 0;  // from 1, in bytes
  friend bool operator==(const Position&, const Position&) = default;
};

class LocatedJson {
 public:
  Json json;

  // Of the value at `pointer` (RFC 6901); where there is none, of the nearest value around it.
  Position value_at(std::string_view pointer) const;
  // Of the key of that value; of the value itself where it has no key (the document, items of lists).
  Position key_at(std::string_view pointer) const;
  // Fills in line and column where they are missing.
  void locate(Diagnostics& diagnostics) const;

 private:
  friend class DocumentParser;
  struct Node {
    Position value;
    Position key;
  };
  std::size_t find(std::string_view pointer) const;

  std::vector<Node> nodes_;                                              // the first is the document
  std::map<std::pair<std::size_t, std::string>, std::size_t> children_;  // (node, key or index) -> node
};

// Adds to `diagnostics` what is wrong with the syntax, each with its line and column. Nothing when it cannot be read at all. With slips
// that can be read as meant there is both a value and errors.
std::optional<LocatedJson> parse_located(std::string_view text, Diagnostics& diagnostics);

// The bytes of a regular file of at most kMaxDocumentBytes. Throws Error: `unavailable` when there is no such file or it is of another
// kind, `privilege` when it may not be read, `refused` when it is too large.
std::string read_document(const std::filesystem::path& file);

// What is wrong with a text: it is not UTF-8, or holds control characters. `where`: set to the offset of the bytes at fault.
std::optional<Mistake> text_mistake(std::string_view text, std::size_t* where = nullptr);

}  // namespace capsize
