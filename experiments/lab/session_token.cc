#include "experiments/lab/session_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>
#include <charconv>
#include <vector>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr std::size_t kNonceBytes = 16;

std::string to_hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text.push_back(kDigits[byte >> 4U]);
    text.push_back(kDigits[byte & 15U]);
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, value, 16);
    if (error != std::errc{} || end != text.data() + i + 2) return std::nullopt;
    bytes.push_back(static_cast<char>(value));
  }
  return bytes;
}

}  // namespace

std::string secret_hex(std::size_t bytes) {
  std::vector<unsigned char> raw(bytes);
  if (RAND_bytes(raw.data(), static_cast<int>(raw.size())) != 1) {
    throw Error(ErrorKind::unavailable, "OpenSSL has no random bytes");
  }
  return to_hex({reinterpret_cast<const char*>(raw.data()), raw.size()});
}

std::string SessionTokens::sign(std::string_view text) const {
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned length = 0;
  if (HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
           reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac.data(), &length) == nullptr) {
    throw Error(ErrorKind::unavailable, "OpenSSL could not compute an HMAC-SHA256");
  }
  return to_hex({reinterpret_cast<const char*>(mac.data()), length});
}

std::string SessionTokens::issue(std::string_view user, std::int64_t expires_unix_seconds) const {
  const std::string claim =
      secret_hex(kNonceBytes) + "." + std::to_string(expires_unix_seconds) + "." + to_hex(user);
  return claim + "." + sign(claim);
}

std::optional<std::string> SessionTokens::verify(std::string_view token, std::int64_t now_unix_seconds) const {
  const std::size_t mac_at = token.rfind('.');
  if (mac_at == std::string_view::npos) return std::nullopt;
  const std::string_view claim = token.substr(0, mac_at);
  const std::string_view mac = token.substr(mac_at + 1);
  const std::string expected = sign(claim);
  if (mac.size() != expected.size() || CRYPTO_memcmp(mac.data(), expected.data(), mac.size()) != 0) {
    return std::nullopt;
  }
  // From here on the text is our own: a genuine signature is over a claim that issue() made.
  const std::size_t expiry_at = claim.find('.') + 1;
  const std::size_t user_at = claim.find('.', expiry_at) + 1;
  std::int64_t expires = 0;
  const auto [end, error] = std::from_chars(claim.data() + expiry_at, claim.data() + user_at - 1, expires);
  if (error != std::errc{} || end != claim.data() + user_at - 1 || expires <= now_unix_seconds) return std::nullopt;
  return from_hex(claim.substr(user_at));
}

}  // namespace capsize
