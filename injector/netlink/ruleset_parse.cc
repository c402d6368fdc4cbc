// What nftables tells of its tables, chains and rules, and ipset of its sets, read from the bytes.
#include "injector/netlink/ruleset_look.h"

#include <netinet/in.h>
// The kernel's headers come behind libc's, which they then take care not to repeat.
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/xt_NFQUEUE.h>
#include <linux/netfilter/xt_statistic.h>

#include "injector/netlink/structures.h"

namespace capsize {
namespace {

constexpr std::uint32_t kTableOwned = 0x2;     // NFT_TABLE_F_OWNER
constexpr std::uint32_t kTablePersists = 0x4;  // NFT_TABLE_F_PERSIST, since Linux 6.9: Debian's headers do not know it

std::string family_name(std::uint8_t family) {
  switch (family) {
    case NFPROTO_INET: return "inet";
    case NFPROTO_IPV4: return "ip";
    case NFPROTO_ARP: return "arp";
    case NFPROTO_NETDEV: return "netdev";
    case NFPROTO_BRIDGE: return "bridge";
    case NFPROTO_IPV6: return "ip6";
    default: return "";
  }
}

void read_verdict(const Attributes& verdict, PacketRule& rule) {
  if (!verdict.find(NFTA_VERDICT_CODE)) return;
  const std::uint32_t code = verdict.be32(NFTA_VERDICT_CODE);
  const auto signed_code = static_cast<std::int32_t>(code);
  if (signed_code == NFT_JUMP || signed_code == NFT_GOTO) {
    rule.verdict = PacketRule::Verdict::jump;
    rule.jumps_to = verdict.text(NFTA_VERDICT_CHAIN);
  } else if ((code & NF_VERDICT_MASK) == NF_DROP) {
    rule.verdict = PacketRule::Verdict::drop;
  }
}

void read_compat_target(const Attributes& data, PacketRule& rule) {
  const std::string name = data.text(NFTA_TARGET_NAME);
  if (name == "NFQUEUE") {
    const auto number = structure_at<std::uint16_t>(payload_of(data, NFTA_TARGET_INFO));
    rule.verdict = PacketRule::Verdict::queue;
    rule.queue = number.value_or(0);
  }
  if (name == "REDIRECT") rule.verdict = PacketRule::Verdict::redirect;
  if (name == "REJECT") rule.verdict = PacketRule::Verdict::reject;
  if (name == "DROP") rule.verdict = PacketRule::Verdict::drop;
}

void read_compat_match(const Attributes& data, PacketRule& rule) {
  const std::string name = data.text(NFTA_MATCH_NAME);
  if (name == "statistic") {
    const auto mode = structure_at<std::uint16_t>(payload_of(data, NFTA_MATCH_INFO));
    (mode && *mode == XT_STATISTIC_MODE_NTH ? rule.every_nth : rule.random) = true;
  }
  if (name == "connlimit") rule.limits_connections = true;
}

void read_expression(const std::string& name, const Attributes& data, PacketRule& rule) {
  if (name == "immediate") {
    read_verdict(data.nested(NFTA_IMMEDIATE_DATA).nested(NFTA_DATA_VERDICT), rule);
  } else if (name == "numgen") {
    (data.be32(NFTA_NG_TYPE) == std::uint32_t{NFT_NG_RANDOM} ? rule.random : rule.every_nth) = true;
  } else if (name == "meta") {
    if (data.be32(NFTA_META_KEY) == std::uint32_t{NFT_META_PRANDOM}) rule.random = true;
  } else if (name == "connlimit") {
    rule.limits_connections = true;
  } else if (name == "reject") {
    rule.verdict = PacketRule::Verdict::reject;
  } else if (name == "redir") {
    rule.verdict = PacketRule::Verdict::redirect;
  } else if (name == "queue") {
    rule.verdict = PacketRule::Verdict::queue;
    rule.queue = __builtin_bswap16(data.value<std::uint16_t>(NFTA_QUEUE_NUM).value_or(0));
  } else if (name == "match") {
    read_compat_match(data, rule);
  } else if (name == "target") {
    read_compat_target(data, rule);
  }
}

// The family of a netfilter message, and its attributes.
struct NetfilterMessage {
  std::string family;
  Attributes attributes;
};
std::optional<NetfilterMessage> open_message(BytesView payload) {
  const auto head = structure_at<nfgenmsg>(payload);
  if (!head || family_name(head->nfgen_family).empty()) return std::nullopt;
  return NetfilterMessage{family_name(head->nfgen_family), Attributes(behind<nfgenmsg>(payload))};
}

}  // namespace

std::optional<PacketTable> parse_table(BytesView payload) {
  const auto message = open_message(payload);
  if (!message) return std::nullopt;
  PacketTable table;
  table.family = message->family;
  table.name = message->attributes.text(NFTA_TABLE_NAME);
  const std::uint32_t flags = message->attributes.be32(NFTA_TABLE_FLAGS);
  table.owned = (flags & kTableOwned) != 0;
  table.persists = (flags & kTablePersists) != 0;
  table.owner = message->attributes.be32(NFTA_TABLE_OWNER);
  return table.name.empty() ? std::nullopt : std::optional(table);
}

std::optional<PacketChain> parse_chain(BytesView payload) {
  const auto message = open_message(payload);
  if (!message) return std::nullopt;
  PacketChain chain{message->family, message->attributes.text(NFTA_CHAIN_TABLE), message->attributes.text(NFTA_CHAIN_NAME), false};
  return chain.table.empty() || chain.name.empty() ? std::nullopt : std::optional(chain);
}

std::optional<PacketRule> parse_rule(BytesView payload) {
  const auto message = open_message(payload);
  if (!message) return std::nullopt;
  PacketRule rule;
  rule.family = message->family;
  rule.table = message->attributes.text(NFTA_RULE_TABLE);
  rule.chain = message->attributes.text(NFTA_RULE_CHAIN);
  rule.handle = message->attributes.be64(NFTA_RULE_HANDLE);
  if (rule.table.empty() || rule.chain.empty() || rule.handle == 0) return std::nullopt;
  const Attributes expressions = message->attributes.nested(NFTA_RULE_EXPRESSIONS);
  for (const Attributes::Attribute& element : expressions.all()) {
    const Attributes expression(element.data);
    read_expression(expression.text(NFTA_EXPR_NAME), expression.nested(NFTA_EXPR_DATA), rule);
  }
  return rule;
}

std::optional<std::string> parse_ip_set(BytesView payload) {
  const auto head = structure_at<nfgenmsg>(payload);
  if (!head) return std::nullopt;
  const std::string name = Attributes(behind<nfgenmsg>(payload)).text(IPSET_ATTR_SETNAME);
  return name.empty() ? std::nullopt : std::optional(name);
}

}  // namespace capsize
