#include "probes/http/url.h"

#include <fmt/format.h>

#include <algorithm>

#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;
constexpr std::size_t kMaxUrlBytes = 2048;

std::uint16_t own_port(const Url& url) { return url.tls ? kHttpsPort : kHttpPort; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

// Visible ASCII only: nothing in a URL can end the request line.
bool visible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

Parsed<Url> parse_url(std::string_view text) {
  const Mistake mistake{"\"" + printable(text, 60) + "\" is not a URL", "write http:// or https://, a host and a path, as \"https://auth.staging/login\""};
  Url out;
  out.tls = text.starts_with("https://");
  if (!(out.tls || text.starts_with("http://")) || text.size() > kMaxUrlBytes || !visible(text)) return mistake;
  const std::string_view rest = text.substr(out.tls ? 8 : 7);
  const std::size_t slash = std::min(rest.find_first_of("/?"), rest.size());
  const std::string authority = lower(rest.substr(0, slash));  // a host is the same however it is written
  const std::string_view target = rest.substr(slash);
  if (target.find('#') != std::string_view::npos) return mistake;
  const bool has_port = authority.find(':', authority.empty() || authority.front() != '[' ? 0 : authority.find(']')) != std::string::npos;
  auto address = parse_address(has_port ? authority : fmt::format("{}:{}", authority, own_port(out)));
  if (std::holds_alternative<Mistake>(address)) return mistake;
  out.address = std::get<Address>(std::move(address));
  out.target = target.empty() || target.front() != '/' ? "/" + std::string(target) : std::string(target);
  return out;
}

std::string host_header(const Url& url) {
  const std::string whole = show(url.address);
  return url.address.port == own_port(url) ? whole.substr(0, whole.rfind(':')) : whole;
}

std::string show(const Url& url) { return (url.tls ? "https://" : "http://") + host_header(url) + url.target; }

Parsed<Url> ParamTraits<Url>::parse(const Json& json) {
  if (!json.is_string()) return wrong_type(json, "a URL, as \"https://auth.staging/login\"");
  return parse_url(json.get_ref<const std::string&>());
}

Json ParamTraits<Url>::schema() {
  return schema_with_variables({{"type", "string"},
                                {"maxLength", kMaxUrlBytes},
                                {"pattern", "^https?://(\\[[0-9A-Za-z:.%_-]+\\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?([/?][!-\"$-~]*)?$"}});
}

}  // namespace capsize
