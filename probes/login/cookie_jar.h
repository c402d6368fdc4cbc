// The cookies of one login: what the service set is sent back to the same host, below the cookie's path. Sessions only: no domains.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "probes/http/url.h"

namespace capsize {

class CookieJar {
 public:
  // The value of a Set-Cookie header; nonsense is ignored. An age of zero or an expiry in 1970 takes the cookie away.
  void take(const Url& from, std::string_view set_cookie);
  // For the header Cookie; empty: none.
  std::string header_for(const Url& url) const;
  std::optional<std::string> value(std::string_view name) const;

 private:
  struct Cookie {
    std::string host;
    std::string path;
    std::string name;
    std::string value;
    bool secure = false;
  };
  std::vector<Cookie> cookies_;
};

}  // namespace capsize
