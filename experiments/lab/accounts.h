// The users of an authentication server of the lab, and where it finds them. Each login pays for a real salted scrypt hash (about 1 ms of
// CPU), as a login service does.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/task.h"

namespace capsize {

inline constexpr std::size_t kSaltBytes = 16;
inline constexpr std::size_t kHashBytes = 32;
inline constexpr int kLabUsers = 500;  // user1 with password pw1 and so on, as `login.http` numbers them

using PasswordHash = std::array<std::uint8_t, kHashBytes>;

// scrypt with the lab's cost (N=512, r=8, p=1). Throws Error (unavailable) where OpenSSL has no scrypt.
PasswordHash scrypt(std::string_view password, const std::array<std::uint8_t, kSaltBytes>& salt);

struct StoredPassword {
  std::array<std::uint8_t, kSaltBytes> salt{};
  PasswordHash hash{};
};
StoredPassword stored_password(std::string_view password);  // with a salt of its own
bool matches(const StoredPassword& stored, std::string_view password);

struct AccountLookup {
  enum class State {
    known,
    unknown,
    no_answer,  // the store did not say, in time or at all
  };
  State state = State::unknown;
  StoredPassword password;  // of an unknown user a decoy's: looking one up must not be told from the time it takes
};

// Where a server finds its users. Thread: one, that of the coroutines that call find().
class Accounts {
 public:
  virtual ~Accounts() = default;
  virtual Task<AccountLookup> find(std::string user) = 0;
  virtual bool ready() const { return true; }  // whether the store has answered yet, ever
};

// `user1` with password `pw1` and so on, in memory. Stored hashes are made at the first login of their user, so that a server with many
// users starts at once.
class NumberedAccounts final : public Accounts {
 public:
  NumberedAccounts(std::string prefix, int users);
  Task<AccountLookup> find(std::string user) override;

 private:
  std::optional<std::size_t> index_of(std::string_view user) const;

  std::string prefix_;
  std::vector<std::optional<StoredPassword>> stored_;  // by number; the one of number 0 is the decoy
};

}  // namespace capsize
