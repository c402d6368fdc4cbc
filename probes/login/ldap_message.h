// LDAP messages as a login needs them (RFC 4511): a simple bind, "Who am I?" (RFC 4532), and their answers. Pure. Own code and not libldap,
// whose connecting, resolving and TLS handshakes block the thread that all other logins share.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace capsize {

inline constexpr std::size_t kMaxLdapMessage = 64 * 1024;

std::string ldap_bind(int id, std::string_view dn, std::string_view password);
std::string ldap_who_am_i(int id);
std::string ldap_start_tls(int id);  // RFC 4511, 4.14
std::string ldap_unbind(int id);

struct LdapReply {
  int id = 0;
  enum class Kind { bind, extended, other } kind = Kind::other;
  int result = 0;          // 0 success, 49 invalid credentials; of bind and extended
  std::string value;       // of an extended reply: who it is, as "dn:uid=ann,dc=example"
};

// The size of the message that `bytes` begin with; nothing where too few bytes are there to tell. Zero: this is no LDAP, or too large.
std::optional<std::size_t> ldap_message_size(std::string_view bytes);
// Of a whole message; nothing where it makes no sense.
std::optional<LdapReply> ldap_reply(std::string_view message);

// Text made fit for a value in a DN (RFC 4514), so that no user's name can become another DN.
std::string dn_escaped(std::string_view text);

}  // namespace capsize
