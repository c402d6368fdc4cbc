// Session tokens that every authentication server of a lab accepts, whichever of them issued it: they
// share a key, as a real fleet behind a balancer does. A token is `nonce.expiry.user.mac`, all in hex
// but the expiry (seconds since 1970), signed with HMAC-SHA256.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace capsize {

class SessionTokens {
 public:
  explicit SessionTokens(std::string key) : key_(std::move(key)) {}

  // A new token with a random 128-bit nonce. Throws Error (unavailable) without randomness.
  std::string issue(std::string_view user, std::int64_t expires_unix_seconds) const;

  // The user of a token that is genuine and has not expired.
  std::optional<std::string> verify(std::string_view token, std::int64_t now_unix_seconds) const;

 private:
  std::string sign(std::string_view text) const;

  std::string key_;
};

// `bytes` random bytes, in hex. Throws Error (unavailable) without randomness.
std::string secret_hex(std::size_t bytes);

}  // namespace capsize
