#include "probes/login/ldap_message.h"

#include <catch2/catch.hpp>

using namespace capsize;

namespace {

std::string bytes(std::initializer_list<int> list) {
  std::string out;
  for (const int byte : list) out += static_cast<char>(byte);
  return out;
}

// As slapd sends them.
const std::string kBound = bytes({0x30, 0x0c, 0x02, 0x01, 0x01, 0x61, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00});
const std::string kRefused = bytes({0x30, 0x0c, 0x02, 0x01, 0x01, 0x61, 0x07, 0x0a, 0x01, 0x31, 0x04, 0x00, 0x04, 0x00});
const std::string kAnn = bytes({0x30, 0x14, 0x02, 0x01, 0x02, 0x78, 0x0f, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00, 0x8b, 0x06}) + "u:anna";

}  // namespace

TEST_CASE("a simple bind is encoded as the RFC says", "[ldap]") {
  CHECK(ldap_bind(1, "cn=a", "pw") == bytes({0x30, 0x12, 0x02, 0x01, 0x01, 0x60, 0x0d, 0x02, 0x01, 0x03, 0x04, 0x04, 'c', 'n', '=', 'a', 0x80, 0x02, 'p', 'w'}));
  CHECK(ldap_unbind(3) == bytes({0x30, 0x05, 0x02, 0x01, 0x03, 0x42, 0x00}));
  CHECK(ldap_who_am_i(200).substr(0, 6) == bytes({0x30, 0x1f, 0x02, 0x02, 0x00, 0xc8}));
  CHECK(ldap_start_tls(9) == bytes({0x30, 0x1d, 0x02, 0x01, 0x09, 0x77, 0x18, 0x80, 0x16}) + "1.3.6.1.4.1.1466.20037");
  const std::string long_one = ldap_bind(1, std::string(300, 'x'), "pw");
  CHECK(ldap_message_size(long_one) == long_one.size());
}

TEST_CASE("answers are read back", "[ldap]") {
  const auto bound = ldap_reply(kBound);
  REQUIRE(bound);
  CHECK(bound->id == 1);
  CHECK(bound->kind == LdapReply::Kind::bind);
  CHECK(bound->result == 0);
  CHECK(ldap_reply(kRefused)->result == 49);
  const auto who = ldap_reply(kAnn);
  REQUIRE(who);
  CHECK(who->id == 2);
  CHECK(who->kind == LdapReply::Kind::extended);
  CHECK(who->value == "u:anna");
}

TEST_CASE("a message cut off anywhere is waited for or refused, never read beyond its end", "[ldap]") {
  for (const std::string& whole : {kBound, kAnn}) {
    for (std::size_t length = 0; length < whole.size(); ++length) {
      const std::string part = whole.substr(0, length);
      INFO(length);
      const auto size = ldap_message_size(part);
      CHECK((!size || *size > part.size()));
      CHECK(ldap_reply(part) == std::nullopt);
    }
    CHECK(ldap_message_size(whole) == whole.size());
    CHECK(ldap_message_size(whole + "next") == whole.size());
  }
}

TEST_CASE("no byte that is changed makes the reader run away or call a refusal a success", "[ldap]") {
  for (std::size_t at = 0; at < kRefused.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = kRefused;
      changed[at] = static_cast<char>(value);
      const auto reply = ldap_reply(changed);
      if (at == 9 || !reply || reply->kind != LdapReply::Kind::bind) continue;  // the result itself
      CHECK(reply->result == 49);
    }
  }
}

TEST_CASE("what is no LDAP, or has no end, is seen from its first bytes", "[ldap]") {
  CHECK(ldap_message_size("HTTP/1.1 400") == 0u);
  CHECK(ldap_message_size(bytes({0x30, 0x80, 0x02})) == 0u);                    // indefinite length
  CHECK(ldap_message_size(bytes({0x30, 0x84, 0x7f, 0xff, 0xff, 0xff})) == 0u);  // two gigabytes
  CHECK(ldap_message_size(bytes({0x30, 0x85, 0, 0, 0, 0, 1})) == 0u);
  CHECK(ldap_message_size("") == std::nullopt);
}

TEST_CASE("no user's name can become another DN", "[ldap]") {
  CHECK(dn_escaped("user7") == "user7");
  CHECK(dn_escaped("a,ou=admins") == "a\\,ou\\=admins");
  CHECK(dn_escaped(" #\"+;<>\\ ") == "\\20\\#\\\"\\+\\;\\<\\>\\\\\\20");
  CHECK(dn_escaped(std::string("a\0b", 3)) == "a\\00b");
}
