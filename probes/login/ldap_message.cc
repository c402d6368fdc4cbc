#include "probes/login/ldap_message.h"

#include <fmt/format.h>

namespace capsize {
namespace {

enum Tag : unsigned char {
  kInteger = 0x02,
  kOctets = 0x04,
  kEnumerated = 0x0a,
  kSequence = 0x30,
  kUnbind = 0x42,
  kBindRequest = 0x60,
  kBindResponse = 0x61,
  kExtendedRequest = 0x77,
  kExtendedResponse = 0x78,
  kSimple = 0x80,
  kRequestName = 0x80,
  kResponseValue = 0x8b,
};
constexpr std::string_view kWhoAmI = "1.3.6.1.4.1.4203.1.11.3";
constexpr std::string_view kStartTls = "1.3.6.1.4.1.1466.20037";

std::string element(unsigned char tag, std::string_view value) {
  std::string out(1, static_cast<char>(tag));
  if (value.size() < 0x80) {
    out += static_cast<char>(value.size());
  } else {
    out += static_cast<char>(0x83);
    for (const int shift : {16, 8, 0}) out += static_cast<char>((value.size() >> shift) & 0xff);
  }
  return out + std::string(value);
}

std::string integer(int value) {
  std::string bytes;  // as few as show that it is not negative
  for (int rest = value; rest > 0 || bytes.empty(); rest >>= 8) bytes.insert(bytes.begin(), static_cast<char>(rest & 0xff));
  if (static_cast<unsigned char>(bytes.front()) >= 0x80) bytes.insert(bytes.begin(), '\0');
  return element(kInteger, bytes);
}

std::string message(int id, std::string_view operation) { return element(kSequence, integer(id) + std::string(operation)); }

struct Element {
  unsigned char tag = 0;
  std::string_view value;
};

// How many bytes tag and length take, and how long the value is. Nothing: too few bytes to tell. A header of zero: no such length in LDAP.
struct Extent {
  std::size_t header = 0;
  std::size_t value = 0;
};
std::optional<Extent> extent_of(std::string_view bytes) {
  if (bytes.size() < 2) return std::nullopt;
  const auto first = static_cast<unsigned char>(bytes[1]);
  if (first < 0x80) return Extent{2, first};
  const std::size_t count = first & 0x7fu;
  if (count == 0 || count > 4) return Extent{};
  if (bytes.size() < 2 + count) return std::nullopt;
  Extent out{2 + count, 0};
  for (std::size_t i = 0; i < count; ++i) out.value = out.value << 8 | static_cast<unsigned char>(bytes[2 + i]);
  return out;
}

// Takes the first element off `bytes`.
std::optional<Element> next(std::string_view& bytes) {
  const auto extent = extent_of(bytes);
  if (!extent || extent->header == 0 || extent->value > bytes.size() - extent->header) return std::nullopt;
  const Element out{static_cast<unsigned char>(bytes[0]), bytes.substr(extent->header, extent->value)};
  bytes.remove_prefix(extent->header + extent->value);
  return out;
}

std::optional<int> number(const std::optional<Element>& element, unsigned char tag) {
  if (!element || element->tag != tag || element->value.empty() || element->value.size() > 4) return std::nullopt;
  std::uint32_t out = 0;
  for (const char c : element->value) out = out << 8 | static_cast<unsigned char>(c);
  return out > 0x7fffffffu ? std::nullopt : std::optional(static_cast<int>(out));
}

}  // namespace

std::string ldap_bind(int id, std::string_view dn, std::string_view password) {
  constexpr std::string_view kVersion3("\x02\x01\x03", 3);
  return message(id, element(kBindRequest, std::string(kVersion3) + element(kOctets, dn) + element(kSimple, password)));
}

std::string ldap_who_am_i(int id) { return message(id, element(kExtendedRequest, element(kRequestName, kWhoAmI))); }

std::string ldap_start_tls(int id) { return message(id, element(kExtendedRequest, element(kRequestName, kStartTls))); }

std::string ldap_unbind(int id) { return message(id, element(kUnbind, "")); }

std::optional<std::size_t> ldap_message_size(std::string_view bytes) {
  if (!bytes.empty() && static_cast<unsigned char>(bytes[0]) != kSequence) return 0;
  const auto extent = extent_of(bytes);
  if (!extent) return std::nullopt;
  return extent->header == 0 || extent->value > kMaxLdapMessage ? 0 : extent->header + extent->value;
}

std::optional<LdapReply> ldap_reply(std::string_view bytes) {
  const auto whole = next(bytes);
  if (!whole || whole->tag != kSequence || !bytes.empty()) return std::nullopt;
  std::string_view inside = whole->value;
  LdapReply out;
  const auto id = number(next(inside), kInteger);
  const auto operation = next(inside);
  if (!id || !operation) return std::nullopt;
  out.id = *id;
  if (operation->tag != kBindResponse && operation->tag != kExtendedResponse) return out;
  out.kind = operation->tag == kBindResponse ? LdapReply::Kind::bind : LdapReply::Kind::extended;
  std::string_view parts = operation->value;
  const auto result = number(next(parts), kEnumerated);
  const auto matched_dn = next(parts);
  const auto text = next(parts);
  if (!result || !matched_dn || matched_dn->tag != kOctets || !text || text->tag != kOctets) return std::nullopt;
  out.result = *result;
  while (!parts.empty()) {
    const auto more = next(parts);
    if (!more) return std::nullopt;
    if (more->tag == kResponseValue) out.value = more->value;
  }
  return out;
}

std::string dn_escaped(std::string_view text) {
  constexpr std::string_view kSpecial = "\"+,;<>\\=#";
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool at_an_end = i == 0 || i + 1 == text.size();
    if (static_cast<unsigned char>(c) < ' ' || (c == ' ' && at_an_end)) {
      out += fmt::format("\\{:02X}", static_cast<unsigned char>(c));
    } else {
      if (kSpecial.find(c) != std::string_view::npos) out += '\\';
      out += c;
    }
  }
  return out;
}

}  // namespace capsize
