#include "probes/login/flow_capture.h"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <cctype>

#include "probes/login/login_page.h"

namespace capsize {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char letter = static_cast<char>(c | 0x20);
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

std::string form_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_coded = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
    if (is_coded) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

bool has_scheme(std::string_view reference) {
  const std::size_t colon = reference.find_first_of(":/?");
  return colon != std::string_view::npos && colon > 0 && reference[colon] == ':';
}

// RFC 3986, 5.2.4, of a path that begins with a slash.
std::string without_dots(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/', 1), path.size());
    const std::string_view part = path.substr(0, end);
    path.remove_prefix(end);
    if (part == "/..") out.resize(std::min(out.rfind('/'), out.size()));
    if (part != "/.." && part != "/.") out += part;
    else if (path.empty()) out += '/';
  }
  return out.empty() ? "/" : out;
}

}  // namespace

std::string as_text(const Json& json) { return json.is_string() ? json.get<std::string>() : json.dump(-1, ' ', true, Json::error_handler_t::replace); }

const Json* at(const Json& body, const std::string& pointer) {
  const Json::json_pointer place(pointer);
  return body.is_discarded() || !body.contains(place) ? nullptr : &body.at(place);
}

std::optional<std::string> header_of(const HttpSaid& said, std::string_view name) {
  for (const auto& [key, value] : said.headers) {
    if (boost::beast::iequals(key, name)) return value;
  }
  return std::nullopt;
}

std::string resolved(std::string_view reference, const Url& base) {
  reference = reference.substr(0, reference.find('#'));
  if (has_scheme(reference)) {
    std::string out(reference);
    std::transform(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(out.find(':')), out.begin(), [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
    return out;
  }
  const std::string scheme = base.tls ? "https:" : "http:";
  if (reference.starts_with("//")) return scheme + std::string(reference);
  const std::string origin = scheme + "//" + host_header(base);
  const std::string_view target = base.target;
  const std::string_view path = target.substr(0, target.find('?'));
  if (reference.empty()) return origin + std::string(target);
  if (reference.front() == '?') return origin + std::string(path) + std::string(reference);
  const std::size_t query = std::min(reference.find('?'), reference.size());
  const std::string folder = reference.front() == '/' ? "" : std::string(path.substr(0, path.rfind('/') + 1));
  return origin + without_dots(folder + std::string(reference.substr(0, query))) + std::string(reference.substr(query));
}

std::optional<std::string> query_parameter(std::string_view url, std::string_view name) {
  url = url.substr(0, url.find('#'));
  const std::size_t mark = url.find('?');
  if (mark == std::string_view::npos) return std::nullopt;
  for (std::string_view rest = url.substr(mark + 1); !rest.empty();) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    if (form_decoded(pair.substr(0, equals)) == name) return form_decoded(pair.substr(std::min(equals + 1, pair.size())));
  }
  return std::nullopt;
}

std::optional<std::string> captured(const Capture& capture, const Url& from, const HttpSaid& said, const Json& body, const CookieJar& jar) {
  switch (capture.from) {
    case Capture::From::cookie: return jar.value(capture.what);
    case Capture::From::header: {
      const auto value = header_of(said, capture.what);
      return value && boost::beast::iequals(capture.what, "Location") ? resolved(*value, from) : value;
    }
    case Capture::From::query: return query_parameter(header_of(said, "Location").value_or(""), capture.what);
    case Capture::From::field: return field_value(said.body, capture.what);
    case Capture::From::form: {
      const auto action = form_action(said.body, capture.what);
      return action ? std::optional(resolved(*action, from)) : std::nullopt;
    }
    case Capture::From::json: break;
  }
  const Json* found = at(body, capture.what);
  if (found == nullptr || found->is_structured() || found->is_null()) return std::nullopt;
  return as_text(*found);
}

}  // namespace capsize
