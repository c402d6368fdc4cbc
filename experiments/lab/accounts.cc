#include "experiments/lab/accounts.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <charconv>
#include <memory>

#include "injector/base/error.h"

namespace capsize {
namespace {

// Measured: about 1 ms on one core of a small virtual machine. Too cheap for a real service, on
// purpose: two cores carry the whole lab at 165 logins a second.
constexpr std::uint64_t kScryptN = 512;
constexpr std::uint32_t kScryptR = 8;
constexpr std::uint32_t kScryptP = 1;

struct KdfDeleter {
  void operator()(EVP_KDF* kdf) const { EVP_KDF_free(kdf); }
  void operator()(EVP_KDF_CTX* context) const { EVP_KDF_CTX_free(context); }
};

EVP_KDF* scrypt_algorithm() {
  static const std::unique_ptr<EVP_KDF, KdfDeleter> kdf(EVP_KDF_fetch(nullptr, "SCRYPT", nullptr));
  if (!kdf) throw Error(ErrorKind::unavailable, "OpenSSL offers no scrypt", "install OpenSSL 3 with its default provider");
  return kdf.get();
}

}  // namespace

PasswordHash scrypt(std::string_view password, const std::array<std::uint8_t, kSaltBytes>& salt) {
  const std::unique_ptr<EVP_KDF_CTX, KdfDeleter> context(EVP_KDF_CTX_new(scrypt_algorithm()));
  // OSSL_PARAM points at its values and is not const-correct: it only reads them here.
  std::string secret(password);
  auto salt_copy = salt;
  std::uint64_t n = kScryptN;
  std::uint32_t r = kScryptR;
  std::uint32_t p = kScryptP;
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, secret.data(), secret.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt_copy.data(), salt_copy.size()),
      OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
      OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
      OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
      OSSL_PARAM_construct_end(),
  };
  PasswordHash hash{};
  if (!context || EVP_KDF_derive(context.get(), hash.data(), hash.size(), params) != 1) {
    throw Error(ErrorKind::unavailable, "OpenSSL could not derive a scrypt hash");
  }
  return hash;
}

StoredPassword stored_password(std::string_view password) {
  StoredPassword fresh;
  if (RAND_bytes(fresh.salt.data(), static_cast<int>(fresh.salt.size())) != 1) {
    throw Error(ErrorKind::unavailable, "OpenSSL has no random bytes for a salt");
  }
  fresh.hash = scrypt(password, fresh.salt);
  return fresh;
}

bool matches(const StoredPassword& stored, std::string_view password) {
  const PasswordHash given = scrypt(password, stored.salt);
  return CRYPTO_memcmp(given.data(), stored.hash.data(), given.size()) == 0;
}

constexpr std::size_t kDecoy = 0;  // whose hash an unknown user is held against

NumberedAccounts::NumberedAccounts(std::string prefix, int users)
    : prefix_(std::move(prefix)), stored_(static_cast<std::size_t>(users) + 1) {}

std::optional<std::size_t> NumberedAccounts::index_of(std::string_view user) const {
  if (!user.starts_with(prefix_)) return std::nullopt;
  const std::string_view digits = user.substr(prefix_.size());
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  // `user01` is not `user1`: one name for one user.
  if (index == 0 || index >= stored_.size() || digits != std::to_string(index)) return std::nullopt;
  return index;
}

Task<AccountLookup> NumberedAccounts::find(std::string user) {
  const std::optional<std::size_t> index = index_of(user);
  std::optional<StoredPassword>& entry = stored_[index.value_or(kDecoy)];
  if (!entry) entry = stored_password("pw" + std::to_string(index.value_or(kDecoy)));
  AccountLookup found;
  found.state = index ? AccountLookup::State::known : AccountLookup::State::unknown;
  found.password = *entry;
  co_return found;
}

}  // namespace capsize
