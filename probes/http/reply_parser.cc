#include "probes/http/reply_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace capsize {
namespace {

constexpr std::size_t kMaxLineBytes = 1024;  // of a chunk's size, with its extensions

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// One of a list's words, as in "Connection: close, TE".
bool has_word(std::string_view list, std::string_view word) {
  for (;;) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (same_word(trimmed(list.substr(0, comma)), word)) return true;
    if (comma == list.size()) return false;
    list.remove_prefix(comma + 1);
  }
}

template <class T>
bool whole_number(std::string_view text, int base, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

constexpr bool is_name_character(char c) { return c > ' ' && c < 0x7f && c != ':' && c != '"' && c != '(' && c != ')' && c != ','; }
constexpr bool may_be_in_a_line(char c) { return c != '\r' && c != '\n' && c != '\0'; }

// A look-up instead of comparisons: every byte of every head goes through here.
template <bool (*fits)(char)>
bool all_of(std::string_view text) {
  static constexpr auto kTable = [] {
    std::array<bool, 256> out{};
    for (int c = 0; c < 256; ++c) out[static_cast<std::size_t>(c)] = fits(static_cast<char>(c));
    return out;
  }();
  return std::all_of(text.begin(), text.end(), [](char c) { return kTable[static_cast<unsigned char>(c)]; });
}

// Without its line end; what is left of `text` begins after it.
std::string_view next_line(std::string_view& text) {
  const std::size_t end = text.find("\r\n");
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), line.size() + 2));
  return line;
}

}  // namespace

void ReplyParser::begin() {
  part_ = Part::head;
  any_bytes_ = false;
  status_ = 0;
  keep_alive_ = true;
  chunked_ = has_length_ = false;
  left_ = trailer_bytes_ = 0;
  head_.clear();
  line_.clear();
  body_.clear();
}

ReplyParser::State ReplyParser::feed(std::string_view bytes) {
  any_bytes_ = any_bytes_ || !bytes.empty();
  while (!bytes.empty() && part_ != Part::done && part_ != Part::bad) bytes.remove_prefix(take(bytes));
  if (!bytes.empty()) keep_alive_ = false;  // nobody asked for that
  return state();
}

ReplyParser::State ReplyParser::end() {
  part_ = part_ == Part::until_close || part_ == Part::done ? Part::done : Part::bad;
  keep_alive_ = false;
  return state();
}

std::size_t ReplyParser::take(std::string_view bytes) {
  switch (part_) {
    case Part::head: return take_head(bytes);
    case Part::length:
    case Part::chunk: {
      const std::size_t taken = take_body(bytes, left_);
      left_ -= taken;
      if (left_ == 0 && part_ != Part::bad) part_ = part_ == Part::length ? Part::done : Part::chunk_end;
      return taken;
    }
    case Part::until_close: return take_body(bytes, bytes.size());
    case Part::chunk_size:
    case Part::chunk_end:
    case Part::trailer: return take_line(bytes);
    case Part::done:
    case Part::bad: break;
  }
  return bytes.size();
}

std::size_t ReplyParser::take_body(std::string_view bytes, std::size_t most) {
  const std::size_t taken = std::min(bytes.size(), most);
  if (body_.size() + taken > max_body_) part_ = Part::bad;
  else body_.append(bytes.substr(0, taken));
  return taken;
}

// The end may lie across what came before and what comes now.
std::size_t ReplyParser::take_head(std::string_view bytes) {
  constexpr std::string_view kEnd = "\r\n\r\n";
  const std::size_t before = head_.size();
  head_.append(bytes);
  const std::size_t found = head_.find(kEnd, before < kEnd.size() ? 0 : before - kEnd.size() + 1);
  const std::size_t size = found == std::string::npos ? head_.size() : found + kEnd.size();
  if (size > kMaxHeaderBytes) part_ = Part::bad;
  if (part_ == Part::bad || found == std::string::npos) return bytes.size();
  head_.resize(size);
  if (!read_head()) part_ = Part::bad;
  return size - before;
}

std::size_t ReplyParser::take_line(std::string_view bytes) {
  const std::size_t end = bytes.find('\n');
  const std::size_t taken = end == std::string_view::npos ? bytes.size() : end + 1;
  line_.append(bytes.substr(0, taken));
  trailer_bytes_ += part_ == Part::trailer ? taken : 0;
  if (line_.size() > kMaxLineBytes || trailer_bytes_ > kMaxHeaderBytes) part_ = Part::bad;
  if (end == std::string_view::npos || part_ == Part::bad) return taken;
  if (!line_.ends_with("\r\n")) {
    part_ = Part::bad;
    return taken;
  }
  read_line(std::string_view(line_).substr(0, line_.size() - 2));
  line_.clear();
  return taken;
}

void ReplyParser::read_line(std::string_view line) {
  if (part_ == Part::chunk_end) {
    part_ = line.empty() ? Part::chunk_size : Part::bad;
  } else if (part_ == Part::trailer) {
    if (line.empty()) part_ = Part::done;
  } else if (!whole_number(trimmed(line.substr(0, line.find(';'))), 16, left_)) {
    part_ = Part::bad;
  } else {
    part_ = left_ == 0 ? Part::trailer : Part::chunk;
  }
}

bool ReplyParser::read_head() {
  std::string_view rest = head_;
  if (!read_status_line(next_line(rest))) return false;
  for (std::string_view line = next_line(rest); !line.empty(); line = next_line(rest)) {
    if (!read_header(line)) return false;
  }
  if (status_ >= 100 && status_ < 200) {  // on the way to the reply; 101 was not asked for
    if (status_ == 101) return false;
    begin();
    any_bytes_ = true;
    return true;
  }
  if (chunked_ && has_length_) return false;  // whoever is right about where it ends, the next reply may begin elsewhere
  if (status_ == 204 || status_ == 304) part_ = Part::done;
  else if (chunked_) part_ = Part::chunk_size;
  else if (!has_length_) part_ = Part::until_close, keep_alive_ = false;
  else part_ = left_ == 0 ? Part::done : Part::length;
  return true;
}

bool ReplyParser::read_status_line(std::string_view line) {
  if (!all_of<may_be_in_a_line>(line)) return false;
  if (line.size() < 12 || !line.starts_with("HTTP/1.") || (line[7] != '0' && line[7] != '1') || line[8] != ' ') return false;
  if (line.size() > 12 && line[12] != ' ') return false;
  keep_alive_ = line[7] == '1';
  return whole_number(line.substr(9, 3), 10, status_) && status_ >= 100;
}

bool ReplyParser::read_header(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::string_view name = line.substr(0, colon);
  if (!all_of<is_name_character>(name)) return false;  // a continued line, too, begins with a blank
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (!all_of<may_be_in_a_line>(value)) return false;
  if (same_word(name, "content-length")) {
    std::size_t length = 0;
    if (!whole_number(value, 10, length) || (has_length_ && length != left_)) return false;
    has_length_ = true;
    left_ = length;
  } else if (same_word(name, "transfer-encoding")) {
    if (chunked_ || !same_word(value, "chunked")) return false;
    chunked_ = true;
  } else if (same_word(name, "connection")) {
    if (has_word(value, "close")) keep_alive_ = false;
    else if (has_word(value, "keep-alive")) keep_alive_ = true;
  }
  return true;
}

std::vector<std::pair<std::string_view, std::string_view>> headers_in(std::string_view head) {
  std::vector<std::pair<std::string_view, std::string_view>> out;
  next_line(head);
  for (std::string_view line = next_line(head); !line.empty(); line = next_line(head)) {
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos) out.emplace_back(line.substr(0, colon), trimmed(line.substr(colon + 1)));
  }
  return out;
}

}  // namespace capsize
