// An http or https URL as a parameter: what a probe connects to and asks for.
#pragma once
#include <string>
#include <string_view>

#include "injector/base/param_types.h"

namespace capsize {

struct Url {
  bool tls = false;
  Address address;     // port filled in: 80 or 443 where the URL has none
  std::string target;  // path and query as they go on the wire; never empty
  friend bool operator==(const Url&, const Url&) = default;
};

// "https://auth.staging/login?x=1". No user names, no fragments, no spaces or control characters.
Parsed<Url> parse_url(std::string_view text);
std::string show(const Url& url);
std::string host_header(const Url& url);  // without the port where it is the scheme's own
inline bool same_origin(const Url& a, const Url& b) { return a.tls == b.tls && a.address == b.address; }

template <>
struct ParamTraits<Url> {
  static std::string name() { return "URL"; }
  static Parsed<Url> parse(const Json& json);
  static Json schema();
  static Json show(const Url& value) { return capsize::show(value); }
};

}  // namespace capsize
