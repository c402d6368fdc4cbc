// The packet rules of a network namespace as the kernel tells them, reduced to what a doctor asks of a rule: nftables (which includes
// what iptables-nft writes) and the older tables of iptables-legacy. Looks only.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "injector/net/traffic.h"
#include "injector/netlink/netlink_message.h"

namespace capsize {

struct PacketTable {
  std::string family;  // "ip", "ip6", "inet", "netdev", "bridge", "arp", as nft says
  std::string name;
  bool owned = false;         // has the OWNER flag: goes with its owner's socket
  bool persists = false;      // has the PERSIST flag too: stays without an owner
  std::uint32_t owner = 0;    // port id of the netlink socket; 0: none now
};

struct PacketChain {
  std::string family, table, name;
  bool legacy = false;
};

struct PacketRule {
  std::string family, table, chain;
  bool legacy = false;
  std::uint64_t handle = 0;      // nftables: what names it for ever
  int place = 0;                 // legacy: its number in its chain, from 1
  bool random = false;           // meets packets by chance
  bool every_nth = false;        // meets packets by counting them
  bool limits_connections = false;
  enum class Verdict { other, drop, reject, queue, redirect, jump } verdict = Verdict::other;
  std::string jumps_to;          // a chain
  int queue = 0;                 // its number
};

struct PacketRuleset {
  std::vector<PacketTable> tables;  // of nftables
  std::vector<PacketChain> chains;
  std::vector<PacketRule> rules;    // in the order of their chains
};

// Payload of one answer; nothing for what is not of that form. Pure.
std::optional<PacketTable> parse_table(BytesView payload);
std::optional<PacketChain> parse_chain(BytesView payload);
std::optional<PacketRule> parse_rule(BytesView payload);
std::optional<std::string> parse_ip_set(BytesView payload);  // its name

// Needs CAP_NET_ADMIN there. Throws Error: privilege, unavailable (this kernel has no nftables: there is nothing then).
PacketRuleset look_at_nftables(const NetworkNamespace& place);
std::vector<std::string> look_at_ip_sets(const NetworkNamespace& place);  // empty too where the kernel has no ipset

// The entries of one table of iptables-legacy as getsockopt tells them ("ip" or "ip6"); `entered_at`: where its own chains begin. Pure, total.
PacketRuleset parse_legacy_table(BytesView entries, const std::string& family, const std::string& table, const std::map<std::size_t, std::string>& entered_at);
// Needs CAP_NET_ADMIN there. Throws Error. Empty where the kernel has none; does not make the kernel load any.
PacketRuleset look_at_legacy_tables(const NetworkNamespace& place);

}  // namespace capsize
