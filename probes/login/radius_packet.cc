#include "probes/login/radius_packet.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr std::size_t kHeader = 20;
constexpr char kAccessRequest = 1;
enum Attribute : unsigned char { kUserName = 1, kUserPassword = 2, kNasIdentifier = 32, kMessageAuthenticator = 80 };

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

std::string hmac_md5(std::string_view key, std::string_view bytes) {
  std::string out(16, '\0');
  unsigned int size = 0;
  const auto* made = ::HMAC(::EVP_md5(), key.data(), static_cast<int>(key.size()), bytes_of(bytes), bytes.size(), reinterpret_cast<unsigned char*>(out.data()), &size);
  CAPSIZE_CHECK(made != nullptr && size == out.size());
  return out;
}

void add(std::string& packet, Attribute type, std::string_view value) {
  CAPSIZE_CHECK(value.size() <= kMaxRadiusName);
  packet += static_cast<char>(type);
  packet += static_cast<char>(value.size() + 2);
  packet += value;
}

void set_length(std::string& packet) {
  packet[2] = static_cast<char>(packet.size() >> 8);
  packet[3] = static_cast<char>(packet.size() & 0xff);
}

std::string_view text_of(const RadiusAuthenticator& authenticator) { return {reinterpret_cast<const char*>(authenticator.data()), authenticator.size()}; }

bool same(std::string_view a, std::string_view b) { return a.size() == b.size() && ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

// Where the value of the first such attribute begins; nothing: there is none. False in `sound` where the attributes do not fill the packet.
std::optional<std::size_t> find(std::string_view packet, Attribute wanted, bool& sound) {
  std::optional<std::size_t> out;
  std::size_t at = kHeader;
  while (at + 2 <= packet.size()) {
    const std::size_t size = static_cast<unsigned char>(packet[at + 1]);
    if (size < 2 || at + size > packet.size()) break;
    if (!out && static_cast<unsigned char>(packet[at]) == wanted) out = at + 2;
    at += size;
  }
  sound = at == packet.size();
  return out;
}

}  // namespace

std::string md5(std::string_view bytes) {
  std::string out(16, '\0');
  CAPSIZE_CHECK(::EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(out.data()), nullptr, ::EVP_md5(), nullptr) == 1);
  return out;
}

std::string hidden_password(std::string_view password, const RadiusAuthenticator& authenticator, std::string_view secret) {
  std::string padded(password);
  padded.resize(std::max<std::size_t>((password.size() + 15) / 16 * 16, 16), '\0');
  std::string last(text_of(authenticator));
  std::string out;
  for (std::size_t block = 0; block < padded.size(); block += 16) {
    last = md5(std::string(secret) + last);
    for (std::size_t i = 0; i < 16; ++i) last[i] = static_cast<char>(last[i] ^ padded[block + i]);
    out += last;
  }
  return out;
}

std::string access_request(const RadiusAsk& ask, std::string_view secret) {
  CAPSIZE_CHECK(ask.password.size() <= kMaxRadiusPassword);
  std::string out = {kAccessRequest, static_cast<char>(ask.id), 0, 0};
  out += text_of(ask.authenticator);
  add(out, kMessageAuthenticator, std::string(16, '\0'));
  add(out, kUserName, ask.user);
  add(out, kUserPassword, hidden_password(ask.password, ask.authenticator, secret));
  add(out, kNasIdentifier, ask.nas_identifier);
  set_length(out);
  out.replace(kHeader + 2, 16, hmac_md5(secret, out));
  return out;
}

std::optional<RadiusAnswer> verified_answer(std::string_view packet, const RadiusAsk& ask, std::string_view secret) {
  if (packet.size() < kHeader || static_cast<std::uint8_t>(packet[1]) != ask.id) return std::nullopt;
  const std::size_t length = static_cast<unsigned char>(packet[2]) * 256u + static_cast<unsigned char>(packet[3]);
  if (length < kHeader || length > packet.size() || length > kMaxRadiusPacket) return std::nullopt;
  packet = packet.substr(0, length);  // what is beyond is padding
  std::string signed_part(packet);
  signed_part.replace(4, 16, text_of(ask.authenticator));
  if (!same(packet.substr(4, 16), md5(signed_part + std::string(secret)))) return std::nullopt;
  bool sound = false;
  const auto authenticator = find(packet, kMessageAuthenticator, sound);
  if (!sound || (ask.wants_message_authenticator && !authenticator)) return std::nullopt;
  if (authenticator) {
    if (static_cast<unsigned char>(packet[*authenticator - 1]) != 18) return std::nullopt;
    signed_part.replace(*authenticator, 16, std::string(16, '\0'));
    if (!same(packet.substr(*authenticator, 16), hmac_md5(secret, signed_part))) return std::nullopt;
  }
  switch (packet[0]) {
    case 2: return RadiusAnswer::accept;
    case 3: return RadiusAnswer::reject;
    case 11: return RadiusAnswer::challenge;
    default: return RadiusAnswer::other;
  }
}

Answer meaning_of(RadiusAnswer answer, bool wrong_password) {
  if (answer == RadiusAnswer::accept) return wrong_password ? Answer::wrongly_accepted : Answer::ok;
  if (answer == RadiusAnswer::reject) return wrong_password ? Answer::rejected_rightly : Answer::denied;
  return Answer::broken;
}

}  // namespace capsize
