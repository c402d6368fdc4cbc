// The users of an authentication server of the lab: `user1` with password `pw1` and so on, as `login.http` numbers them. Each
// login pays for a real salted scrypt hash (about 1 ms of CPU), as a login service does.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace capsize {

inline constexpr std::size_t kSaltBytes = 16;
inline constexpr std::size_t kHashBytes = 32;

using PasswordHash = std::array<std::uint8_t, kHashBytes>;

// scrypt with the lab's cost (N=512, r=8, p=1). Throws Error (unavailable) where OpenSSL has no scrypt.
PasswordHash scrypt(std::string_view password, const std::array<std::uint8_t, kSaltBytes>& salt);

// Not for several threads at once: stored hashes are made at the first login of their user, so that
// a server with many users starts at once.
class Accounts {
 public:
  Accounts(std::string prefix, int users);

  // Whether this user has this password. An unknown user costs as much as a known one.
  bool verify(std::string_view user, std::string_view password);

 private:
  struct Stored {
    std::array<std::uint8_t, kSaltBytes> salt{};
    PasswordHash hash{};
  };

  std::optional<std::size_t> index_of(std::string_view user) const;
  const Stored& stored(std::size_t index);

  std::string prefix_;
  std::vector<std::optional<Stored>> stored_;  // by number; the one of number 0 is the decoy
};

}  // namespace capsize
