// The tables of iptables-legacy, which nftables does not show: read through getsockopt, as iptables-legacy does itself.
#include "injector/netlink/ruleset_look.h"

#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
// The kernel's headers come behind libc's, which they then take care not to repeat.
#include <linux/netfilter/xt_NFQUEUE.h>
#include <linux/netfilter/xt_statistic.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>

#include "injector/base/error.h"
#include "injector/base/unique_fd.h"
#include "injector/netlink/network_namespace.h"
#include "injector/netlink/structures.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxTableBytes = 64u << 20;

// The two families differ in their head only.
struct Layout {
  const char* family;
  int domain, level, get_info, get_entries;
  const char* names;         // the file that lists the tables in use
  std::size_t entry_bytes;   // of the head
  std::size_t target_offset, next_offset;  // places of two 16 bit numbers in it
};
const std::array<Layout, 2> kLayouts = {{
    {"ip", AF_INET, IPPROTO_IP, IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES, "/proc/thread-self/net/ip_tables_names", sizeof(ipt_entry), offsetof(ipt_entry, target_offset),
     offsetof(ipt_entry, next_offset)},
    {"ip6", AF_INET6, IPPROTO_IPV6, IP6T_SO_GET_INFO, IP6T_SO_GET_ENTRIES, "/proc/thread-self/net/ip6_tables_names", sizeof(ip6t_entry), offsetof(ip6t_entry, target_offset),
     offsetof(ip6t_entry, next_offset)},
}};
static_assert(sizeof(ipt_getinfo) == sizeof(ip6t_getinfo) && offsetof(ipt_getinfo, size) == offsetof(ip6t_getinfo, size));
static_assert(offsetof(ipt_get_entries, entrytable) == offsetof(ip6t_get_entries, entrytable));

// How a match begins, and a target: the kernel's own structures end in an array of no length.
struct PartHead {
  std::uint16_t bytes;
  char name[XT_EXTENSION_MAXNAMELEN];
  std::uint8_t revision;
};
static_assert(sizeof(PartHead) == sizeof(xt_entry_match) && sizeof(PartHead) == sizeof(xt_entry_target));

template <std::size_t N>
std::string fixed_text(const char (&field)[N]) {
  return std::string(field, strnlen(field, N));
}

struct Entry {
  BytesView matches;  // one after the other
  BytesView target;
  std::size_t bytes = 0;
};

std::optional<Entry> entry_at(BytesView entries, std::size_t offset, const Layout& layout) {
  const BytesView rest = entries.subspan(offset);
  if (rest.size() < layout.entry_bytes) return std::nullopt;
  const std::size_t target = structure_at<std::uint16_t>(rest, layout.target_offset).value_or(0);
  const std::size_t next = structure_at<std::uint16_t>(rest, layout.next_offset).value_or(0);
  if (target < layout.entry_bytes || next > rest.size() || next < target + sizeof(PartHead)) return std::nullopt;
  return Entry{rest.subspan(layout.entry_bytes, target - layout.entry_bytes), rest.subspan(target, next - target), next};
}

void read_matches(BytesView matches, PacketRule& rule) {
  while (const auto head = structure_at<PartHead>(matches)) {
    const std::size_t size = head->bytes;
    if (size < sizeof(PartHead) || size > matches.size()) return;
    const std::string name = fixed_text(head->name);
    if (name == "statistic") {
      const auto mode = structure_at<std::uint16_t>(matches.first(size), sizeof(PartHead));
      (mode && *mode == XT_STATISTIC_MODE_NTH ? rule.every_nth : rule.random) = true;
    }
    if (name == "connlimit") rule.limits_connections = true;
    matches = matches.subspan(size);
  }
}

// A jump is told as the offset of the first rule of its chain: named when all chains are known.
std::optional<int> read_target(BytesView target, PacketRule& rule) {
  const auto head = structure_at<PartHead>(target);
  const std::string name = head ? fixed_text(head->name) : "";
  if (name.empty()) {
    const int verdict = structure_at<int>(target, sizeof(PartHead)).value_or(0);
    if (verdict >= 0) return verdict;
    if (verdict == -NF_DROP - 1) rule.verdict = PacketRule::Verdict::drop;
    return std::nullopt;
  }
  if (name == "NFQUEUE") {
    rule.verdict = PacketRule::Verdict::queue;
    rule.queue = structure_at<std::uint16_t>(target, sizeof(PartHead)).value_or(0);
  }
  if (name == "REDIRECT") rule.verdict = PacketRule::Verdict::redirect;
  if (name == "REJECT") rule.verdict = PacketRule::Verdict::reject;
  return std::nullopt;
}

// The name of the chain that begins with this entry; empty: it begins none.
std::string begins_chain(const Entry& entry) {
  const auto head = structure_at<PartHead>(entry.target);
  if (!head || fixed_text(head->name) != XT_ERROR_TARGET) return "";
  struct Name {
    char text[XT_FUNCTION_MAXNAMELEN];
  };
  const auto name = structure_at<Name>(entry.target, sizeof(PartHead));
  return name ? fixed_text(name->text) : "";
}

// Entries come as: the rules of the chains the kernel enters at, each ended by the chain's policy, then each chain of the user, begun by
// its name and ended by a return, then an end mark.
struct Reading {
  PacketRuleset out;
  std::map<int, std::string> chain_at;                // offset of its first rule -> chain
  std::vector<std::pair<std::size_t, int>> jumps;     // rule -> offset
};

void take_entry(Reading& reading, const Entry& entry, const std::string& family, const std::string& table, const std::string& chain, int place) {
  PacketRule rule;
  rule.family = family;
  rule.table = table;
  rule.chain = chain;
  rule.legacy = true;
  rule.place = place;
  read_matches(entry.matches, rule);
  if (const auto offset = read_target(entry.target, rule)) reading.jumps.emplace_back(reading.out.rules.size(), *offset);
  reading.out.rules.push_back(rule);
}

const Layout& layout_of(const std::string& family) { return family == "ip6" ? kLayouts[1] : kLayouts[0]; }

PacketRuleset read_table(BytesView entries, const std::string& family, const std::string& table, const std::map<std::size_t, std::string>& entered_at) {
  const Layout& layout = layout_of(family);
  Reading reading;
  std::string chain;
  int place = 0;
  for (std::size_t offset = 0; offset < entries.size();) {
    const auto entry = entry_at(entries, offset, layout);
    if (!entry) break;
    const auto entered = entered_at.find(offset);
    const std::string begun = begins_chain(*entry);
    if (entered != entered_at.end() || !begun.empty()) {
      chain = begun.empty() ? entered->second : begun;
      place = 0;
      if (chain != XT_ERROR_TARGET) reading.out.chains.push_back({family, table, chain, true});
    }
    if (begun.empty()) take_entry(reading, *entry, family, table, chain, ++place);
    else reading.chain_at[static_cast<int>(offset + entry->bytes)] = begun;
    offset += entry->bytes;
  }
  for (const auto& [rule, offset] : reading.jumps) {
    const auto found = reading.chain_at.find(offset);
    if (found == reading.chain_at.end()) continue;  // the next rule: a rule without a target
    reading.out.rules[rule].verdict = PacketRule::Verdict::jump;
    reading.out.rules[rule].jumps_to = found->second;
  }
  return std::move(reading.out);
}

std::vector<std::string> table_names(const Layout& layout) {
  std::vector<std::string> out;
  if (::access(layout.names, R_OK) != 0 && errno != ENOENT) throw system_error(errno, fmt::format("{} may not be read", layout.names), "run it with CAP_NET_ADMIN (as root)");
  std::ifstream file(layout.names);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.size() < XT_TABLE_MAXNAMELEN) out.push_back(line);
  }
  return out;
}

PacketRuleset fetch_table(const Layout& layout, const std::string& name) {
  const UniqueFd socket(::socket(layout.domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  if (!socket) throw system_error(errno, "the rules of iptables-legacy could not be asked for", "run it with CAP_NET_ADMIN and CAP_NET_RAW (as root)");
  for (int attempt = 0; attempt < 5; ++attempt) {  // a table may grow between the two questions
    ipt_getinfo info{};
    name.copy(info.name, sizeof info.name - 1);
    socklen_t length = sizeof info;
    if (::getsockopt(socket.get(), layout.level, layout.get_info, &info, &length) != 0) throw system_error(errno, "table " + name + " of iptables-legacy was not told", "run it with CAP_NET_ADMIN (as root)");
    if (info.size > kMaxTableBytes) throw Error(ErrorKind::unavailable, "table " + name + " of iptables-legacy is too large to be read", "look at it with iptables-legacy -S");
    std::vector<std::uint8_t> buffer(offsetof(ipt_get_entries, entrytable) + info.size);
    ipt_get_entries request{};
    name.copy(request.name, sizeof request.name - 1);
    request.size = info.size;
    std::memcpy(buffer.data(), &request, offsetof(ipt_get_entries, entrytable));
    length = static_cast<socklen_t>(buffer.size());
    if (::getsockopt(socket.get(), layout.level, layout.get_entries, buffer.data(), &length) != 0) {
      if (errno == EAGAIN) continue;
      throw system_error(errno, "table " + name + " of iptables-legacy was not told");
    }
    static const std::array<const char*, NF_INET_NUMHOOKS> hooks = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"};
    std::map<std::size_t, std::string> entered_at;
    for (std::size_t hook = 0; hook < hooks.size(); ++hook) {
      if (info.valid_hooks & (1u << hook)) entered_at[info.hook_entry[hook]] = hooks[hook];
    }
    return parse_legacy_table(BytesView(buffer).subspan(offsetof(ipt_get_entries, entrytable)), layout.family, name, entered_at);
  }
  throw Error(ErrorKind::unavailable, "table " + name + " of iptables-legacy changed all the while", "ask again");
}

}  // namespace

PacketRuleset parse_legacy_table(BytesView entries, const std::string& family, const std::string& table, const std::map<std::size_t, std::string>& entered_at) {
  return read_table(entries, family, table, entered_at);
}

PacketRuleset look_at_legacy_tables(const NetworkNamespace& place) {
  PacketRuleset out;
  in_network_namespace(place, [&out] {
    for (const Layout& layout : kLayouts) {
      for (const std::string& name : table_names(layout)) {
        PacketRuleset table = fetch_table(layout, name);
        out.chains.insert(out.chains.end(), table.chains.begin(), table.chains.end());
        out.rules.insert(out.rules.end(), table.rules.begin(), table.rules.end());
      }
    }
  });
  return out;
}

}  // namespace capsize
