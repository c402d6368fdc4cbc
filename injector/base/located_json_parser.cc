#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "injector/base/located_json.h"

namespace capsize {
namespace {

struct Stop {};  // thrown where reading on would only guess

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$'; }

void append_utf8(std::string& out, unsigned point) {
  const auto byte = [&](unsigned value) { out += static_cast<char>(value); };
  if (point < 0x80) {
    byte(point);
  } else if (point < 0x800) {
    byte(0xc0u | (point >> 6)), byte(0x80u | (point & 0x3fu));
  } else if (point < 0x10000) {
    byte(0xe0u | (point >> 12)), byte(0x80u | ((point >> 6) & 0x3fu)), byte(0x80u | (point & 0x3fu));
  } else {
    byte(0xf0u | (point >> 18)), byte(0x80u | ((point >> 12) & 0x3fu)), byte(0x80u | ((point >> 6) & 0x3fu)), byte(0x80u | (point & 0x3fu));
  }
}

}  // namespace

class DocumentParser {
 public:
  DocumentParser(std::string_view text, LocatedJson& out, Diagnostics& diagnostics) : text_(text), out_(out), diagnostics_(diagnostics) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') line_starts_.push_back(i + 1);
    }
  }

  bool parse() {
    try {
      check_bytes();
      if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
      skip();
      if (at_ == text_.size()) fail(at_, "there is nothing in it", "begin with { and end with }");
      const std::size_t root = add_node(at_, nullptr);
      out_.json = value(root);
      skip();
      if (at_ < text_.size()) fail(at_, "there is more after the end of the document", "count the closing braces before it, or leave the rest out");
      return true;
    } catch (const Stop&) {
      return false;
    }
  }

 private:
  Position position(std::size_t offset) const {
    const auto after = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
    const auto line = static_cast<std::size_t>(after - line_starts_.begin());
    return {static_cast<int>(line), static_cast<int>(offset - line_starts_[line - 1]) + 1};
  }

  // A slip that can be read as it was meant.
  void slip(std::size_t offset, std::string fact, std::string remedy) {
    const Position place = position(offset);
    diagnostics_.add({pointer_, std::move(fact), std::move(remedy), Severity::error, place.line, place.column, false});
    if (++problems_ >= kMaxSyntaxProblems) throw Stop{};
  }
  [[noreturn]] void fail(std::size_t offset, std::string fact, std::string remedy) {
    slip(offset, std::move(fact), std::move(remedy));
    throw Stop{};
  }

  void check_bytes() {
    if (text_.size() > kMaxDocumentBytes) fail(0, fmt::format("it is larger than {} bytes", kMaxDocumentBytes), "split it, or leave out what it does not need");
    // Control characters of one byte are judged where they stand; here the encoding counts.
    for (std::size_t i = 0; i < text_.size(); ++i) {
      std::size_t end = i;
      while (end < text_.size() && static_cast<unsigned char>(text_[end]) >= 0x80) ++end;
      std::size_t where = 0;
      if (const auto mistake = text_mistake(text_.substr(i, end - i), &where)) fail(i + where, mistake->fact, mistake->remedy);
      if (end > i) i = end - 1;
    }
  }

  std::size_t add_node(std::size_t value_offset, const std::size_t* key_offset) {
    out_.nodes_.push_back({position(value_offset), key_offset ? position(*key_offset) : Position{}});
    return out_.nodes_.size() - 1;
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool ends() const { return at_ >= text_.size(); }
  bool starts(std::string_view word) const { return text_.substr(at_).starts_with(word); }

  void skip() {
    for (;;) {
      while (!ends() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
      if (starts("//")) {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (starts("/*")) {
        const std::size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) fail(at_, "this comment has no end", "close it with */");
        at_ = end + 2;
      } else if (peek() == '#') {
        slip(at_, "\"#\" does not begin a comment here", "begin comments with //");
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else {
        return;
      }
    }
  }

  Json value(std::size_t node) {
    switch (peek()) {
      case '{': return container(node, '}');
      case '[': return container(node, ']');
      case '"': return string('"');
      case '\'': slip(at_, "single quotes", "write double quotes: \""); return string('\'');
      default: return word();
    }
  }

  Json container(std::size_t node, char close) {
    const std::size_t open_at = at_++;
    const bool is_object = close == '}';
    if (++depth_ > kMaxDocumentDepth) fail(open_at, fmt::format("more than {} objects and lists within each other", kMaxDocumentDepth), "flatten it");
    Json out = is_object ? Json::object() : Json::array();
    std::optional<std::size_t> comma;  // since the last item
    bool fresh = true;                 // an item may follow
    std::size_t item_end = at_;
    for (;;) {
      skip();
      if (ends()) fail(open_at, fmt::format("this {} is never closed", text_[open_at]), fmt::format("add {} where it ends", close));
      const char c = peek();
      if (c == close) break;
      if (c == '}' || c == ']') {
        const Position opened = position(open_at);
        fail(at_, fmt::format("{} closes the {} of line {}, column {}", c, text_[open_at], opened.line, opened.column), fmt::format("write {} here, or check what is closed before", close));
      }
      if (c == ',') {
        if (fresh) slip(at_, "a comma with nothing before it", "leave it out");
        else comma = at_;
        fresh = true;
        ++at_;
        continue;
      }
      if (!fresh) slip(item_end, "a comma is missing here", "write a comma between two items");
      if (is_object) member(node, out);
      else item(node, out);
      item_end = at_;
      fresh = false;
      comma.reset();
    }
    if (comma) slip(*comma, fmt::format("a comma before {}", close), "leave the last comma out");
    ++at_;
    --depth_;
    return out;
  }

  void item(std::size_t node, Json& out) {
    const std::string index = std::to_string(out.size());
    const std::size_t child = add_node(at_, nullptr);
    out_.children_.emplace(std::pair(node, index), child);
    const std::size_t length = pointer_.size();
    pointer_ += "/" + index;
    out.push_back(value(child));
    pointer_.resize(length);
  }

  void member(std::size_t node, Json& out) {
    const std::size_t key_at = at_;
    const std::string key = read_key();
    const std::size_t length = pointer_.size();
    pointer_ = pointer_join(pointer_, key);
    skip();
    if (peek() == '=') slip(at_, "= after a key", "write :");
    else if (peek() != ':') slip(at_, fmt::format("no : after the key \"{}\"", printable(key, 60)), "write a colon between a key and its value");
    if (peek() == '=' || peek() == ':') ++at_;
    skip();
    if (ends() || peek() == '}' || peek() == ']' || peek() == ',') fail(at_, fmt::format("the key \"{}\" has no value", printable(key, 60)), "write its value after the colon");
    const std::size_t child = add_node(at_, &key_at);
    const auto [place, is_new] = out_.children_.emplace(std::pair(node, key), child);
    if (!is_new) {
      slip(key_at, fmt::format("\"{}\" is there twice, first on line {}", printable(key, 60), out_.nodes_[place->second].key.line), "keep one of the two");
    }
    Json read = value(child);
    if (is_new) out[key] = std::move(read);
    pointer_.resize(length);
  }

  std::string read_key() {
    const std::size_t start = at_;
    std::string out;
    if (peek() == '"') {
      out = string('"').get<std::string>();
    } else if (peek() == '\'') {
      slip(start, "single quotes", "write double quotes: \"");
      out = string('\'').get<std::string>();
    } else if (is_word(peek())) {
      while (!ends() && (is_word(peek()) || peek() == '-' || peek() == '.')) ++at_;
      out = text_.substr(start, at_ - start);
      slip(start, fmt::format("the key {} has no quotes", printable(out, 60)), fmt::format("write \"{}\"", printable(out, 60)));
    } else {
      fail(start, fmt::format("{} where a key should be", shown(start)), "write \"key\": value");
    }
    if (out.size() > kMaxKeyBytes) fail(start, fmt::format("a key of more than {} bytes", kMaxKeyBytes), "write a shorter one");
    return out;
  }

  std::string shown(std::size_t offset) const { return offset < text_.size() ? "\"" + printable(text_.substr(offset, 1)) + "\"" : "the end"; }

  Json string(char quote) {
    const std::size_t start = at_++;
    std::string out;
    for (;;) {
      if (ends() || peek() == '\n' || peek() == '\r') fail(start, "this text has no closing quote on its line", fmt::format("close it with {}", quote));
      const char c = text_[at_];
      if (c == quote) break;
      if (c == '\\') {
        escape(out);
        continue;
      }
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) slip(at_, fmt::format("a control character (U+{:04X}) in a text", static_cast<unsigned>(c)), "leave it out");
      else out += c;
      ++at_;
    }
    ++at_;
    return out;
  }

  std::optional<unsigned> four_digits(std::size_t at) const {
    if (at + 4 > text_.size()) return std::nullopt;
    unsigned out = 0;
    const auto result = std::from_chars(text_.data() + at, text_.data() + at + 4, out, 16);
    if (result.ec != std::errc() || result.ptr != text_.data() + at + 4) return std::nullopt;
    return out;
  }

  void escape(std::string& out) {
    const std::size_t start = at_++;
    const char c = peek();
    ++at_;
    if (c == '"' || c == '\\' || c == '/') {
      out += c;
    } else if (c == 'b' || c == 'f' || c == 'n' || c == 'r' || c == 't') {
      slip(start, fmt::format("a control character (\\{}) in a text", c), "leave it out");
    } else if (c == 'u') {
      auto point = four_digits(at_);
      if (point) at_ += 4;
      if (point && *point >= 0xd800 && *point < 0xdc00 && starts("\\u")) {
        const auto low = four_digits(at_ + 2);
        if (low && *low >= 0xdc00 && *low < 0xe000) {
          point = 0x10000 + ((*point - 0xd800) << 10) + (*low - 0xdc00);
          at_ += 6;
        }
      }
      if (!point) slip(start, "\\u without four hexadecimal digits", "write them, as \\u00e9");
      else if (*point >= 0xd800 && *point < 0xe000) slip(start, "half of a surrogate pair", "write both halves, or the character itself");
      else if (*point < 0x20 || (*point >= 0x7f && *point < 0xa0)) slip(start, fmt::format("a control character (U+{:04X}) in a text", *point), "leave it out");
      else append_utf8(out, *point);
    } else {
      if (c == '\n' || c == '\r' || at_ > text_.size()) at_ = start + 1;  // the caller says that the quote is missing
      slip(start, fmt::format("\\{} means nothing in a text", printable(text_.substr(start + 1, 1))), "write \\\\ for a backslash");
    }
  }

  // true, false, null, a number; or what was meant by a word without quotes.
  Json word() {
    const std::size_t start = at_;
    while (!ends() && !starts("//") && !starts("/*") && (is_word(peek()) || std::string_view("+-.%/").find(peek()) != std::string_view::npos)) ++at_;
    const std::string_view token = text_.substr(start, at_ - start);
    if (token.empty()) fail(start, fmt::format("{} where a value should be", shown(start)), "write a text in quotes, a number, true, false, [ or {");
    if (token == "true") return true;
    if (token == "false") return false;
    if (token == "null") return nullptr;
    if (auto out = number(token, start)) return std::move(*out);
    const std::string text = printable(token, 60);
    if (token == "True" || token == "False" || token == "TRUE" || token == "FALSE") {
      slip(start, text + " is not a value of JSON", token.front() == 'T' ? "write true" : "write false");
      return token.front() == 'T';
    }
    if (token == "NaN" || token == "Infinity" || token == "-Infinity") slip(start, text + " is not a number", "write a number");
    else slip(start, text + " has no quotes", fmt::format("write \"{}\"", text));
    return std::string(token);
  }

  std::optional<Json> number(std::string_view token, std::size_t start) {
    if (token.find_first_not_of("0123456789.eE+-") != std::string_view::npos || token.find_first_of("0123456789") == std::string_view::npos) return std::nullopt;
    if (token.front() == 'e' || token.front() == 'E') return std::nullopt;
    const std::size_t sign = token.front() == '-' ? 1 : 0;
    const std::size_t dot = token.find('.');
    const auto is_digit = [&](std::size_t i) { return i < token.size() && token[i] >= '0' && token[i] <= '9'; };
    const bool bad_start = !is_digit(sign) || (token[sign] == '0' && is_digit(sign + 1));
    const bool bad_dot = dot != std::string_view::npos && !is_digit(dot + 1);
    double real = 0;
    const auto result = std::from_chars(token.data(), token.data() + token.size(), real);
    const bool whole_token = result.ptr == token.data() + token.size();
    if (bad_start || bad_dot || (result.ec == std::errc() && !whole_token)) {
      slip(start, fmt::format("{} is not a number as JSON writes it", printable(token, 60)), "write digits without a leading zero or plus, with digits on both sides of a point");
      return Json(0);
    }
    const bool is_whole = token.find_first_of(".eE") == std::string_view::npos;
    std::int64_t negative = 0;
    std::uint64_t positive = 0;
    const auto fits = [&](auto& out) { return std::from_chars(token.data(), token.data() + token.size(), out).ec == std::errc(); };
    if (is_whole && sign == 0 && fits(positive)) return Json(positive);
    if (is_whole && sign == 1 && fits(negative)) return Json(negative);
    if (is_whole || result.ec != std::errc() || !std::isfinite(real)) {
      slip(start, fmt::format("{} is a number beyond what can be counted with", printable(token, 60)), "write a smaller one");
      return Json(0);
    }
    return Json(real);
  }

  std::string_view text_;
  LocatedJson& out_;
  Diagnostics& diagnostics_;
  std::vector<std::size_t> line_starts_ = {0};
  std::string pointer_;
  std::size_t at_ = 0;
  std::size_t problems_ = 0;
  int depth_ = 0;
};

std::optional<LocatedJson> parse_located(std::string_view text, Diagnostics& diagnostics) {
  LocatedJson out;
  DocumentParser parser(text, out, diagnostics);
  if (!parser.parse()) return std::nullopt;
  return out;
}

}  // namespace capsize
