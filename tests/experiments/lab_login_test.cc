// What a login of the lab is made of: credentials, password hashes, session tokens.
#include <catch2/catch.hpp>

#include "experiments/lab/accounts.h"
#include "experiments/lab/credentials.h"
#include "experiments/lab/session_token.h"

using namespace capsize;

namespace {

std::string read(const std::string& type, const std::string& body) {
  const auto credentials = parse_credentials(type, body);
  return credentials ? credentials->user + " / " + credentials->password : "none";
}

}  // namespace

TEST_CASE("credentials are read from JSON and from forms") {
  const std::string form = "application/x-www-form-urlencoded";
  CHECK(read("application/json", R"({"user":"user1","password":"pw1"})") == "user1 / pw1");
  CHECK(read("application/json; charset=utf-8", R"({"user":"user1","password":"pw1"})") == "user1 / pw1");
  CHECK(read(form, "user=user1&password=pw1") == "user1 / pw1");
  CHECK(read(form, "password=a%26b+c&user=%75ser1") == "user1 / a&b c");
  CHECK(read(form, "user=&password=") == " / ");
}

TEST_CASE("a body without both credentials is none") {
  CHECK(read("application/json", R"({"user":"user1"})") == "none");
  CHECK(read("application/json", R"({"user":"user1","password":1})") == "none");
  CHECK(read("application/json", R"(["user1","pw1"])") == "none");
  CHECK(read("application/json", R"({"user":"user1","password":)") == "none");
  CHECK(read("", "user=user1") == "none");
  CHECK(read("", "user=user1&password=%4") == "none");
  CHECK(read("", "user=user1&password=%zz") == "none");
  CHECK(read("", "") == "none");
}

TEST_CASE("a password hash is scrypt with the cost of the lab") {
  // From Python: hashlib.scrypt(b"pw1", salt=b"0123456789abcdef", n=512, r=8, p=1, dklen=32)
  std::array<std::uint8_t, kSaltBytes> salt{};
  const std::string_view text = "0123456789abcdef";
  std::copy(text.begin(), text.end(), salt.begin());
  const PasswordHash expected = {0x01, 0xa5, 0x48, 0xc5, 0x1e, 0x62, 0xc2, 0xbf, 0xcc, 0x63, 0x48, 0xf3, 0x9b, 0xe5, 0x58, 0x67, 0xad, 0x59, 0x3f, 0x2b, 0xd2, 0x1a, 0x77, 0xe7, 0x8d, 0xba, 0x2b, 0xec, 0x38, 0x20, 0x83, 0xc6};
  CHECK(scrypt("pw1", salt) == expected);
}

TEST_CASE("a token is good until it expires, for whoever has the key it was made with") {
  const SessionTokens auth1("shared key");
  const SessionTokens auth2("shared key");
  const SessionTokens stranger("another key");
  const std::string token = auth1.issue("user.7 \n", 1000);
  CHECK(auth2.verify(token, 999) == "user.7 \n");
  CHECK(auth2.verify(token, 1000) == std::nullopt);
  CHECK(stranger.verify(token, 999) == std::nullopt);
  CHECK(auth1.issue("user1", 1000) != auth1.issue("user1", 1000));
}

TEST_CASE("a token with any byte changed is worth nothing") {
  const SessionTokens tokens("key");
  const std::string token = tokens.issue("user7", 1000);
  REQUIRE(tokens.verify(token, 1) == "user7");
  for (std::size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == '0' ? '1' : '0';
    INFO(changed);
    CHECK(tokens.verify(changed, 1) == std::nullopt);
  }
  for (const char* nonsense : {"", ".", "...", "a.b.c.d", "no token at all"}) CHECK(tokens.verify(nonsense, 1) == std::nullopt);
}
