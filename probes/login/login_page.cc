#include "probes/login/login_page.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <map>
#include <vector>

namespace capsize {
namespace {

constexpr std::string_view kSpace = " \t\r\n\f";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

void add_utf8(std::string& out, std::uint32_t point) {
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    for (const std::uint32_t byte : {0xc0 | point >> 6, 0x80 | (point & 0x3f)}) out += static_cast<char>(byte);
  } else if (point < 0x10000) {
    for (const std::uint32_t byte : {0xe0 | point >> 12, 0x80 | (point >> 6 & 0x3f), 0x80 | (point & 0x3f)}) out += static_cast<char>(byte);
  } else {
    for (const std::uint32_t byte : {0xf0 | point >> 18, 0x80 | (point >> 12 & 0x3f), 0x80 | (point >> 6 & 0x3f), 0x80 | (point & 0x3f)}) out += static_cast<char>(byte);
  }
}

// "#39" and "#x27"; nothing for what is no character.
std::optional<std::uint32_t> numbered(std::string_view name) {
  if (!name.starts_with('#')) return std::nullopt;
  name.remove_prefix(1);
  const bool is_hex = name.starts_with('x') || name.starts_with('X');
  if (is_hex) name.remove_prefix(1);
  if (name.empty() || name.size() > 7) return std::nullopt;
  std::uint32_t out = 0;
  for (const char c : name) {
    const bool is_digit = c >= '0' && c <= '9';
    const char letter = static_cast<char>(c | 0x20);
    if (!is_digit && !(is_hex && letter >= 'a' && letter <= 'f')) return std::nullopt;
    out = out * (is_hex ? 16 : 10) + static_cast<std::uint32_t>(is_digit ? c - '0' : letter - 'a' + 10);
  }
  const bool is_surrogate = out >= 0xd800 && out < 0xe000;
  return out > 0 && out <= 0x10ffff && !is_surrogate ? std::optional(out) : std::nullopt;
}

// What HTML writes with an ampersand. Names beyond those that must be written so in an attribute stay as they are.
std::string unescaped(std::string_view text) {
  static const std::map<std::string_view, char> kNamed = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
  std::string out;
  while (!text.empty()) {
    const std::size_t mark = std::min(text.find('&'), text.size());
    out += text.substr(0, mark);
    text.remove_prefix(mark);
    if (text.empty()) break;
    const std::size_t end = text.find(';');
    const std::string_view name = end == std::string_view::npos ? "" : text.substr(1, end - 1);
    const auto point = numbered(name);
    const auto named = kNamed.find(name);
    if (point) add_utf8(out, *point);
    else if (named != kNamed.end()) out += named->second;
    else out += '&';
    text.remove_prefix(point || named != kNamed.end() ? end + 1 : 1);
  }
  return out;
}

struct HtmlTag {
  std::string name;  // "form", "/form"
  std::map<std::string, std::string> attributes;
  std::string_view at(const std::string& attribute) const {
    const auto found = attributes.find(attribute);
    return found == attributes.end() ? std::string_view() : std::string_view(found->second);
  }
};

void skip(std::string_view& rest, std::string_view what) { rest.remove_prefix(std::min(rest.find_first_not_of(what), rest.size())); }

std::string_view take_until(std::string_view& rest, std::string_view marks) {
  const std::string_view out = rest.substr(0, rest.find_first_of(marks));
  rest.remove_prefix(out.size());
  return out;
}

std::string value_of(std::string_view& rest) {
  if (rest.empty() || (rest.front() != '"' && rest.front() != '\'')) return unescaped(take_until(rest, " \t\r\n\f>"));
  const char quote = rest.front();
  rest.remove_prefix(1);
  const std::string_view out = take_until(rest, {&quote, 1});
  if (!rest.empty()) rest.remove_prefix(1);
  return unescaped(out);
}

// Takes a tag off `rest`, which begins behind its "<".
HtmlTag tag_at(std::string_view& rest) {
  HtmlTag out;
  if (rest.starts_with('/')) out.name = "/";
  rest.remove_prefix(out.name.size());
  out.name += lower(take_until(rest, " \t\r\n\f/>"));
  while (true) {
    skip(rest, " \t\r\n\f/");
    if (rest.empty() || rest.front() == '>') return out;
    std::string name = lower(take_until(rest, "= \t\r\n\f>/"));
    skip(rest, kSpace);
    std::string value;
    if (rest.starts_with('=')) {
      rest.remove_prefix(1);
      skip(rest, kSpace);
      value = value_of(rest);
    }
    out.attributes.emplace(std::move(name), std::move(value));  // the first of a name counts
  }
}

void skip_beyond(std::string_view& rest, std::string_view end) {
  const std::size_t found = rest.find(end);
  rest.remove_prefix(found == std::string_view::npos ? rest.size() : found + end.size());
}

// Which `rest` begins with, behind its "<".
void skip_comment(std::string_view& rest) {
  rest.remove_prefix(3);
  for (const std::string_view at_once : {">", "->"}) {  // "<!-->" is a whole comment
    if (rest.starts_with(at_once)) return rest.remove_prefix(at_once.size());
  }
  for (std::size_t dashes = rest.find("--"); dashes != std::string_view::npos; dashes = rest.find("--", dashes + 1)) {
    for (const std::string_view end : {"-->", "--!>"}) {
      if (rest.substr(dashes).starts_with(end)) return rest.remove_prefix(dashes + end.size());
    }
  }
  rest = {};
}

// What is between their tags is text, whatever it looks like. (Not noscript: there are no scripts here.)
bool holds_text(std::string_view element) {
  constexpr std::array<std::string_view, 9> kAll = {"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "plaintext"};
  return std::find(kAll.begin(), kAll.end(), element) != kAll.end();
}

// Up to the element's own end tag: no other ends it, and none in a comment or a quoted text within is spared.
void skip_text_of(std::string_view& rest, std::string_view element) {
  while (!rest.empty()) {
    skip_beyond(rest, "</");
    const std::string_view behind = rest.substr(std::min(element.size(), rest.size()));
    if (lower(rest.substr(0, element.size())) == element && (behind.empty() || std::string_view(" \t\r\n\f/>").find(behind.front()) != std::string_view::npos)) return;
  }
}

// The tags of forms and inputs that are on the page: none in comments, in what is text, or in a template, which a script may or may not put to use.
std::vector<HtmlTag> tags_of(std::string_view page) {
  std::vector<HtmlTag> out;
  std::size_t templates = 0;  // that we are in
  for (std::string_view rest = page; !rest.empty();) {
    skip_beyond(rest, "<");
    if (rest.starts_with("!--")) {
      skip_comment(rest);
      continue;
    }
    if (rest.starts_with('!') || rest.starts_with('?')) {
      skip_beyond(rest, ">");
      continue;
    }
    if (rest.empty() || (rest.front() != '/' && std::isalpha(static_cast<unsigned char>(rest.front())) == 0)) continue;  // a plain "<"
    HtmlTag tag = tag_at(rest);
    if (holds_text(tag.name)) skip_text_of(rest, tag.name);
    if (tag.name == "template") ++templates;
    if (tag.name == "/template" && templates > 0) --templates;
    if (templates > 0) continue;
    if (tag.name == "form" || tag.name == "/form" || tag.name == "input") out.push_back(std::move(tag));
  }
  return out;
}

}  // namespace

std::optional<std::string> form_action(std::string_view page, std::string_view form) {
  std::optional<std::string> first;
  std::optional<std::string> open;  // of the form that we are in
  for (const HtmlTag& tag : tags_of(page)) {
    if (tag.name == "form") {
      open = std::string(tag.at("action"));
      if (!form.empty() && (tag.at("id") == form || tag.at("name") == form)) return open;
      if (!first) first = open;
    }
    if (tag.name == "/form") open.reset();
    if (form.empty() && open && tag.name == "input" && lower(tag.at("type")) == "password") return open;
  }
  return form.empty() ? first : std::nullopt;
}

std::optional<std::string> field_value(std::string_view page, std::string_view name) {
  for (const HtmlTag& tag : tags_of(page)) {
    if (tag.name == "input" && tag.at("name") == name && tag.attributes.contains("value")) return std::string(tag.at("value"));
  }
  return std::nullopt;
}

}  // namespace capsize
