// DNS queries read from the network, and short answers to them (RFC 1035, with EDNS of RFC 6891). Total: any bytes at all may come in.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace capsize {

struct DnsQuery {  // of one standard query with one question, the only kind that is used
  std::string name;          // lower case, without the final dot; a byte that is no letter, digit, '-' or '_' is "\DDD"; "" is the root
  std::size_t question_end = 0;
  bool has_edns = false;
};
std::optional<DnsQuery> read_dns_query(std::span<const std::uint8_t> message);

// Whether the name is one of these: "db.staging" itself, "*.staging" any name below staging.
bool names_match(const std::vector<std::string>& names, const std::string& name);

inline constexpr std::uint8_t kDnsServfail = 2;
inline constexpr std::uint8_t kDnsNxdomain = 3;
// The query turned around: its id and question, this code, nothing else.
std::vector<std::uint8_t> answer_dns_query(std::span<const std::uint8_t> message, const DnsQuery& query, std::uint8_t code);

}  // namespace capsize
