#include "injector/net/dns_query.h"

#include <fmt/format.h>

#include <algorithm>

namespace capsize {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kHeader = 12;
constexpr std::size_t kMostNameBytes = 255;   // on the wire
constexpr std::size_t kMostLabelBytes = 63;
constexpr std::uint8_t kIsAnswer = 0x80;
constexpr std::uint8_t kOpcode = 0x78;
constexpr std::uint8_t kRecursionDesired = 0x01;
constexpr std::uint8_t kRecursionAvailable = 0x80;
constexpr std::uint8_t kOptType = 41;
constexpr std::size_t kOptBytes = 11;  // of an OPT record without options

std::size_t word(Bytes bytes, std::size_t at) { return static_cast<std::size_t>(bytes[at] << 8 | bytes[at + 1]); }

void append_byte(std::string& name, std::uint8_t byte) {
  const char letter = static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
  const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '-' || letter == '_';
  if (plain) {
    name += letter;
  } else {
    name += fmt::format("\\{:03}", byte);
  }
}

// Where it ends. A question has no compressed name: there is nothing before it to point to.
std::optional<std::size_t> read_name(Bytes message, std::size_t at, std::string& name) {
  const std::size_t begin = at;
  for (;;) {
    if (at >= message.size()) return std::nullopt;
    const std::size_t length = message[at++];
    if (length == 0) break;
    if (length > kMostLabelBytes || length > message.size() - at || at + length - begin > kMostNameBytes) return std::nullopt;
    if (!name.empty()) name += '.';
    for (const std::uint8_t byte : message.subspan(at, length)) append_byte(name, byte);
    at += length;
  }
  if (at - begin > kMostNameBytes) return std::nullopt;
  return at;
}

}  // namespace

std::optional<DnsQuery> read_dns_query(Bytes message) {
  if (message.size() < kHeader || (message[2] & (kIsAnswer | kOpcode)) != 0) return std::nullopt;
  const bool one_question = word(message, 4) == 1 && word(message, 6) == 0 && word(message, 8) == 0;
  if (!one_question) return std::nullopt;
  DnsQuery query;
  const auto end = read_name(message, kHeader, query.name);
  if (!end || message.size() - *end < 4) return std::nullopt;
  query.question_end = *end + 4;
  const Bytes rest = message.subspan(query.question_end);
  query.has_edns = word(message, 10) > 0 && rest.size() >= kOptBytes && rest[0] == 0 && word(rest, 1) == kOptType;
  return query;
}

bool names_match(const std::vector<std::string>& names, const std::string& name) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& wanted) {
    if (wanted.rfind("*.", 0) != 0) return wanted == name;
    const std::string_view below = std::string_view(wanted).substr(1);  // ".staging"
    return name.size() > below.size() && std::string_view(name).substr(name.size() - below.size()) == below;
  });
}

std::vector<std::uint8_t> answer_dns_query(Bytes message, const DnsQuery& query, std::uint8_t code) {
  const Bytes question = message.first(query.question_end);
  std::vector<std::uint8_t> out(question.begin(), question.end());
  out[2] = static_cast<std::uint8_t>(kIsAnswer | (message[2] & kRecursionDesired));
  out[3] = static_cast<std::uint8_t>(kRecursionAvailable | code);
  out[10] = 0;
  out[11] = query.has_edns ? 1 : 0;
  if (query.has_edns) {  // who asks with it is answered with it: no name, type, 1232 bytes at most, no flags, no options
    constexpr std::uint8_t opt[kOptBytes] = {0, 0, kOptType, 0x04, 0xd0, 0, 0, 0, 0, 0, 0};
    out.insert(out.end(), opt, opt + kOptBytes);
  }
  return out;
}

}  // namespace capsize
