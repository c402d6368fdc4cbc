#include "experiments/report/escape.h"

#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

std::string markup_text(std::string_view text) {
  std::string out;
  for (const char c : printable(text, kMaxReportText)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

void remove_all(std::string& text, std::string_view what) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos;) text.erase(at, what.size());
}

// The character that makes a line that begins with this text an item of a list, a rule, or the line above a heading; npos: none does.
std::size_t block_mark(std::string_view line) {
  const std::size_t at = line.find_first_not_of("0123456789");
  if (at == std::string_view::npos) return at;
  const bool ends_there = at + 1 == line.size() || line[at + 1] == ' ';
  const std::string_view marks = at > 0 ? ".)" : "-+=";
  const bool is_mark = marks.find(line[at]) != std::string_view::npos && (ends_there || (at == 0 && line[1] == line[0]));
  return is_mark ? at : std::string_view::npos;
}

}  // namespace

std::string html_text(std::string_view text) { return markup_text(text); }

std::string xml_text(std::string_view text) {
  std::string out = markup_text(text);
  remove_all(out, "\xef\xbf\xbe");  // U+FFFE and U+FFFF are characters in UTF-8 but not in XML
  remove_all(out, "\xef\xbf\xbf");
  return out;
}

std::string markdown_text(std::string_view text) {
  std::string safe = printable(text, kMaxReportText);
  safe.erase(0, safe.find_first_not_of(' '));  // four of them begin a block of code
  const std::size_t block = block_mark(safe);
  std::string out;
  for (std::size_t i = 0; i < safe.size(); ++i) {
    const char c = safe[i];
    if (i == block) out += '\\';
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '@': out += "@\xe2\x81\xa0"; break;  // a word joiner: chats and forges look for "@name" after they have read the markup
      case '\\': case '`': case '*': case '_': case '[': case ']': case '|': case '~': case '#': case '!': case '$':
        out += '\\';
        out += c;
        break;
      case ':':  // else "http://..." becomes a link by itself
        out += safe.compare(i, 3, "://") == 0 ? "\\:" : ":";
        break;
      case '.':
        out += i >= 3 && safe.compare(i - 3, 3, "www") == 0 ? "\\." : ".";
        break;
      default: out += c;
    }
  }
  return out;
}

std::string script_json(const Json& json) {
  std::string out;
  for (const char c : json.dump(-1, ' ', true, Json::error_handler_t::replace)) {  // ASCII only: U+2028 and U+2029 are escaped already
    switch (c) {
      case '&': out += "\\u0026"; break;
      case '<': out += "\\u003c"; break;
      case '>': out += "\\u003e"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace capsize
