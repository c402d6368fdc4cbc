// What a client sends to log in.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace capsize {

struct AuthCredentials {
  std::string user;
  std::string password;
};

// From a JSON object or a form (user=...&password=...), by content type. Nothing when either field is
// missing or the body is malformed.
std::optional<AuthCredentials> parse_credentials(std::string_view content_type, std::string_view body);

}  // namespace capsize
