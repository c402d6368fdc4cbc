#include "probes/login/cookie_jar.h"

#include <algorithm>
#include <cctype>

namespace capsize {
namespace {

constexpr std::size_t kMostCookies = 50;       // of one login
constexpr std::size_t kMaxCookieBytes = 4096;  // name and value (RFC 6265, 6.1)

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// The part of `rest` up to `mark`, which is taken off it.
std::string_view cut(std::string_view& rest, char mark) {
  const std::size_t end = std::min(rest.find(mark), rest.size());
  const std::string_view out = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return trimmed(out);
}

std::string_view path_of(const Url& url) { return std::string_view(url.target).substr(0, url.target.find('?')); }

// RFC 6265, 5.1.4: the folder of what was asked for.
std::string default_path(const Url& url) {
  const std::string_view path = path_of(url);
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string_view::npos ? "/" : std::string(path.substr(0, slash));
}

bool below(std::string_view path, std::string_view folder) {
  if (!path.starts_with(folder)) return false;
  return path.size() == folder.size() || folder.back() == '/' || path[folder.size()] == '/';
}

bool fit(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != ';'; });
}

}  // namespace

void CookieJar::take(const Url& from, std::string_view set_cookie) {
  std::string_view pair = cut(set_cookie, ';');
  Cookie cookie;
  cookie.host = from.address.host;
  cookie.path = default_path(from);
  if (pair.find('=') == std::string_view::npos) return;
  cookie.name = cut(pair, '=');
  cookie.value = trimmed(pair);
  if (cookie.name.empty() || !fit(cookie.name) || !fit(cookie.value) || cookie.name.size() + cookie.value.size() > kMaxCookieBytes) return;
  bool gone = false;
  while (!set_cookie.empty()) {
    std::string_view attribute = cut(set_cookie, ';');
    const std::string key = lower(cut(attribute, '='));
    const std::string_view value = trimmed(attribute);
    if (key == "path" && value.starts_with('/')) cookie.path = value;
    if (key == "secure") cookie.secure = true;
    if (key == "max-age") gone = gone || value == "0" || value.starts_with('-');
    if (key == "expires") gone = gone || value.find("1970") != std::string_view::npos;
  }
  std::erase_if(cookies_, [&cookie](const Cookie& old) { return old.host == cookie.host && old.path == cookie.path && old.name == cookie.name; });
  if (!gone && cookies_.size() < kMostCookies) cookies_.push_back(std::move(cookie));
}

std::string CookieJar::header_for(const Url& url) const {
  std::string out;
  for (const Cookie& cookie : cookies_) {
    if (cookie.host != url.address.host || !below(path_of(url), cookie.path) || (cookie.secure && !url.tls)) continue;
    out += (out.empty() ? "" : "; ") + cookie.name + "=" + cookie.value;
  }
  return out;
}

std::optional<std::string> CookieJar::value(std::string_view name) const {
  const auto found = std::find_if(cookies_.rbegin(), cookies_.rend(), [name](const Cookie& cookie) { return cookie.name == name; });
  return found == cookies_.rend() ? std::nullopt : std::optional(found->value);
}

}  // namespace capsize
