// What a step of a login takes from its answer for the steps after it.
#pragma once
#include <optional>
#include <string>

#include "injector/base/json.h"
#include "probes/login/cookie_jar.h"
#include "probes/login/http_wire.h"

namespace capsize {

struct Capture {
  enum class From { json, header, cookie, query, field, form };
  From from = From::json;
  std::string what;  // a JSON pointer; the name of a header, a cookie, a parameter of where the answer redirects to, a field; a form's id, or nothing
  friend bool operator==(const Capture&, const Capture&) = default;
};

// Nothing where it is not there. `body` is the answer's, as JSON where it is that. Where a redirect or a form leads is returned as a whole
// URL: what is relative in it is so to where the answer came from.
std::optional<std::string> captured(const Capture& capture, const Url& from, const HttpSaid& said, const Json& body, const CookieJar& jar);

std::string as_text(const Json& json);                     // texts without their quotes
const Json* at(const Json& body, const std::string& pointer);  // null: not there
std::optional<std::string> header_of(const HttpSaid& said, std::string_view name);

// RFC 3986, 5.2, without the fragment. What is no http or https URL stays as it is.
std::string resolved(std::string_view reference, const Url& base);
// Of a URL's query, decoded as forms are; nothing where it is not there.
std::optional<std::string> query_parameter(std::string_view url, std::string_view name);

}  // namespace capsize
