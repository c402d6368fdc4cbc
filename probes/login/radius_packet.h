// RADIUS packets as a login needs them (RFC 2865, 2869): an Access-Request with a PAP password, and the verified answer. Pure.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "probes/login/transport.h"

namespace capsize {

inline constexpr std::size_t kMaxRadiusName = 253;      // bytes of an attribute's value
inline constexpr std::size_t kMaxRadiusPassword = 128;  // bytes
inline constexpr std::size_t kMaxRadiusPacket = 4096;

using RadiusAuthenticator = std::array<unsigned char, 16>;

struct RadiusAsk {
  std::uint8_t id = 0;
  RadiusAuthenticator authenticator{};  // nobody can guess it: it hides the password
  std::string user;
  std::string password;
  std::string nas_identifier;
  bool wants_message_authenticator = false;  // an answer without one is none
};

// Always with a Message-Authenticator, before all other attributes: servers that know of the attack on RADIUS without it (CVE-2024-3596) want it.
// User, password and identifier are within the limits above.
std::string access_request(const RadiusAsk& ask, std::string_view secret);

enum class RadiusAnswer { accept, reject, challenge, other };
// Nothing for what is no answer to this request by somebody who knows the secret: such a packet counts as not received.
std::optional<RadiusAnswer> verified_answer(std::string_view packet, const RadiusAsk& ask, std::string_view secret);

// A challenge, as for a second factor, is neither a yes nor a no, and so is a word that is not of the protocol: broken, whatever the password.
Answer meaning_of(RadiusAnswer answer, bool wrong_password);

// For tests, which play the server.
std::string hidden_password(std::string_view password, const RadiusAuthenticator& authenticator, std::string_view secret);
std::string md5(std::string_view bytes);

}  // namespace capsize
