// Packet rules: tables that go with their owner, chains of known tools, rules that drop by chance, queue or redirect.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <functional>
#include <map>
#include <regex>
#include <tuple>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"
#include "injector/net/socket_holder.h"

namespace capsize {
namespace {

constexpr std::string_view kOurTable = "capsize_";
constexpr const char* kNeedsAdmin = "run it as root (CAP_NET_ADMIN)";

// Names as the sources of the tools have them; the first that fits.
struct KnownName {
  std::regex name;
  const char* tool;
};
const KnownName* known(const std::vector<KnownName>& table, const std::string& name) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const KnownName& entry) { return std::regex_match(name, entry.name); });
  return found == table.end() ? nullptr : &*found;
}

const KnownName* known_chain(const std::string& name) {
  static const std::vector<KnownName> table = {
      {std::regex("CHAOS-(INPUT|OUTPUT)(-.*)?"), "Chaos Mesh or chaosd"},
      {std::regex("TC-TABLES-[0-9]+"), "Chaos Mesh"},
      {std::regex("CHAOS-.*"), "Datadog's chaos controller, by its name"},
      {std::regex("blockade-.*-p[0-9]+"), "Blockade"},
      {std::regex(".*(chaos|gremlin|toxiproxy|pumba).*", std::regex::icase), "a chaos tool, by its name"},
  };
  return known(table, name);
}

// Sets of Chaos Mesh: the begin of the experiment's name, a hash, what is in the set, which side it is.
const KnownName* known_set(const std::string& name) {
  static const std::vector<KnownName> table = {
      {std::regex(".{1,6}_[0-9a-f]{4,20}_((net|net6|np|np6|set|set6)_)?(src|tgt|source|target)"), "Chaos Mesh, by its name"},
      {std::regex(".*(chaos|capsize).*", std::regex::icase), "a chaos tool, by its name"},
  };
  return known(table, name);
}

// Who redirects for a living.
bool redirects_on_purpose(const PacketRule& rule) {
  static const std::regex chains("(ISTIO|PROXY_INIT|CILIUM|KUBE|CNI|DOCKER|LIBVIRT|NETAVARK|CALI|cali|KUMA|CONSUL)[-_].*");
  return std::regex_match(rule.chain, chains) || std::regex_match(rule.table, chains);
}

std::string legacy_program(const std::string& family) { return family == "ip6" ? "ip6tables-legacy" : "iptables-legacy"; }

std::string delete_rule(const PacketRule& rule, const NetworkPlace& place) {
  if (rule.legacy) return fmt::format("{}{} -t {} -D {} {}", place.enter, legacy_program(rule.family), shell_word(rule.table), shell_word(rule.chain), rule.place);
  return fmt::format("{}nft delete rule {} {} {} handle {}", place.enter, rule.family, shell_word(rule.table), shell_word(rule.chain), rule.handle);
}

std::vector<PacketRule> jumps_to(const PacketChain& chain, const std::vector<PacketRule>& rules) {
  std::vector<PacketRule> out;
  for (const PacketRule& rule : rules) {
    const bool same_table = rule.family == chain.family && rule.table == chain.table && rule.legacy == chain.legacy;
    if (same_table && rule.verdict == PacketRule::Verdict::jump && rule.jumps_to == chain.name) out.push_back(rule);
  }
  return out;
}

// After the rules that lead to it.
std::string delete_chain(const PacketChain& chain, const std::vector<PacketRule>& jumps, const NetworkPlace& place) {
  std::string out;
  for (const PacketRule& rule : jumps) out += delete_rule(rule, place) + " && ";
  if (chain.legacy) {
    const std::string begin = fmt::format("{}{} -t {}", place.enter, legacy_program(chain.family), shell_word(chain.table));
    return out + fmt::format("{} -F {} && {} -X {}", begin, shell_word(chain.name), begin, shell_word(chain.name));
  }
  const std::string name = fmt::format("chain {} {} {}", chain.family, shell_word(chain.table), shell_word(chain.name));
  return out + fmt::format("{}nft flush {} && {}nft delete {}", place.enter, name, place.enter, name);
}

std::string where_is(const PacketRule& rule) {
  return fmt::format("{} {}, table {}, chain {}", rule.legacy ? "iptables-legacy" : "nftables", rule.family, printable(rule.table, 64), printable(rule.chain, 64));
}

std::string at(const std::string& what, const NetworkPlace& place) { return place.name.empty() ? what : what + ", " + place.name; }

std::optional<Symptom> judge_rule(const PacketRule& rule, const NetworkPlace& place) {
  using Verdict = PacketRule::Verdict;
  const bool stops = rule.verdict == Verdict::drop || rule.verdict == Verdict::reject;
  Symptom out;
  out.where = at(where_is(rule), place);
  out.undo = delete_rule(rule, place);
  if (stops && (rule.random || rule.every_nth)) {
    out.kind = "rule.loss";
    out.severity = Gravity::harm;
    out.what = rule.random ? "a rule drops packets at random" : "a rule drops every n-th packet";
    out.from = rule.legacy || rule.family == "ip" || rule.family == "ip6" ? "as Pumba's \"iptables loss\" does it, or a script" : "";
  } else if (stops && rule.limits_connections) {
    out.kind = "rule.connections";
    out.severity = Gravity::suspect;
    out.what = "a rule refuses connections beyond a number of them";
    out.advice = "it may be a protection somebody wants: ask who runs this host";
  } else if (rule.verdict == Verdict::queue) {
    out.kind = "rule.queue";
    out.severity = Gravity::suspect;
    out.what = fmt::format("a rule hands packets to a program (NFQUEUE {}), which may delay or drop them", rule.queue);
    out.advice = "a firewall or intrusion detection may do this on purpose: /proc/net/netfilter/nfnetlink_queue tells the port of who reads the queue";
  } else if (rule.verdict == Verdict::redirect && !redirects_on_purpose(rule)) {
    out.kind = "rule.redirect";
    out.severity = Gravity::suspect;
    out.what = "a rule redirects connections to a local port, as proxies that inject faults do";
    out.advice = "a transparent proxy may be on purpose: ask who runs this host";
  } else {
    return std::nullopt;
  }
  return out;
}

std::optional<Symptom> judge_chain(const PacketChain& chain, const std::vector<PacketRule>& rules, const NetworkPlace& place) {
  const KnownName* tool = known_chain(chain.name);
  if (tool == nullptr) return std::nullopt;
  const auto inside = std::count_if(rules.begin(), rules.end(), [&](const PacketRule& rule) {
    return rule.chain == chain.name && rule.table == chain.table && rule.family == chain.family && rule.legacy == chain.legacy && rule.verdict != PacketRule::Verdict::other;
  });
  Symptom out;
  out.kind = "chain.chaos";
  out.severity = inside > 0 ? Gravity::harm : Gravity::leftover;
  out.what = fmt::format("chain {} of a chaos tool is there, {}", printable(chain.name, 64), inside > 0 ? fmt::format("with {} rules that stop or steer packets", inside) : "and does nothing");
  out.where = at(fmt::format("{} {}, table {}", chain.legacy ? "iptables-legacy" : "nftables", chain.family, printable(chain.table, 64)), place);
  out.from = tool->tool;
  out.undo = delete_chain(chain, jumps_to(chain, rules), place);
  return out;
}

// Rules of iptables-legacy have numbers instead of names, which move when a rule before them goes: what is found in one of its tables is
// one symptom with one command, which deletes from the last rule up, so that commands can be run one after the other.
struct LegacyFinds {
  std::vector<Symptom> parts;
  std::vector<PacketRule> rules;    // to delete
  std::vector<PacketChain> chains;  // to delete then
  std::string family() const { return rules.empty() ? chains.front().family : rules.front().family; }
  std::string table() const { return rules.empty() ? chains.front().table : rules.front().table; }
};

Symptom one_of(LegacyFinds finds, const NetworkPlace& place) {
  std::sort(finds.rules.begin(), finds.rules.end(), [](const PacketRule& a, const PacketRule& b) { return std::tie(a.chain, b.place) < std::tie(b.chain, a.place); });
  std::vector<std::string> commands;
  for (const PacketRule& rule : finds.rules) commands.push_back(delete_rule(rule, place));
  for (const PacketChain& chain : finds.chains) commands.push_back(delete_chain(chain, {}, place));
  sort_by_severity(finds.parts);
  Symptom out = finds.parts.front();
  out.undo.clear();
  for (const std::string& command : commands) out.undo += (out.undo.empty() ? "" : " && ") + command;
  if (finds.parts.size() == 1) return out;
  out.kind = "rules.legacy";
  out.what = fmt::format("{} things in one table of iptables-legacy: ", finds.parts.size());
  for (std::size_t i = 0; i < finds.parts.size(); ++i) out.what += (i == 0 ? "" : "; ") + finds.parts[i].what;
  out.where = at(fmt::format("iptables-legacy {}, table {}", finds.family(), finds.table()), place);
  out.advice = "the command undoes all of them; to keep one, leave its part out: rules are deleted from the last up, as their numbers move";
  return out;
}

std::optional<Symptom> judge_our_table(const PacketTable& table, const TableOwner& owner, const NetworkPlace& place) {
  Symptom out;
  out.kind = "table.capsize";
  out.from = "capsize";
  out.impairment = table.name.substr(kOurTable.size());
  out.where = at(fmt::format("nftables {}", table.family), place);
  const std::string name = printable(table.name, 64);
  if (owner.pid != 0) {
    out.severity = owner.is_capsize ? Gravity::held : Gravity::harm;
    out.what = fmt::format("table {} of a network fault is held by process {} ({})", name, owner.pid, printable(owner.name, 64));
    out.undo = fmt::format("kill {}", owner.pid);
    out.advice = owner.is_capsize ? "a run in progress takes it away by itself; to end it now rather use `capsize status` and `capsize stop RUN`" : "";
  } else if (table.owner != 0) {
    out.severity = Gravity::harm;
    out.what = fmt::format("table {} of a network fault is held by a process that cannot be seen from here (netlink port {})", name, table.owner);
    out.advice = "it goes when that process ends: look in the other pid namespaces, or reboot";
  } else {
    out.severity = Gravity::harm;
    out.what = fmt::format("table {} of a network fault is there, and nobody holds it", name);
    out.undo = fmt::format("{}nft delete table {} {}", place.enter, table.family, shell_word(table.name));
  }
  return out;
}

std::optional<Symptom> judge_owned_table(const PacketTable& table, const TableOwner& owner, const NetworkPlace& place) {
  if (table.name == "firewalld") return std::nullopt;  // newer ones own theirs
  Symptom out;
  out.kind = "table.owned";
  out.severity = Gravity::suspect;
  out.where = at(fmt::format("nftables {}", table.family), place);
  const std::string name = printable(table.name, 64);
  if (table.owner == 0) {
    out.what = fmt::format("table {} outlived the process that owned it", name);
    out.undo = fmt::format("{}nft delete table {} {}", place.enter, table.family, shell_word(table.name));
    return out;
  }
  out.what = owner.pid == 0 ? fmt::format("table {} belongs to a process that cannot be seen from here (netlink port {})", name, table.owner)
                            : fmt::format("table {} belongs to process {} ({}), and goes with it", name, owner.pid, printable(owner.name, 64));
  if (owner.pid != 0) out.undo = fmt::format("kill {}", owner.pid);
  out.advice = "look what it is before you end it: nobody else can remove its table";
  return out;
}

TableOwner find_owner(const PacketTable& table, const NetworkPlace& place, const Surroundings& here) {
  if (table.owner == 0) return {};
  const SocketHolder holder = find_netlink_holder(place.where, table.owner);
  const SeenProcess* process = here.process(holder.pid);
  return {holder.pid, holder.name, process != nullptr && process->program == "capsize"};
}

// One kind of rules of one namespace; what it throws is what could not be seen.
void look_at(const std::string& what, const NetworkPlace& place, Examination& examination, const std::function<std::vector<Symptom>()>& look) {
  try {
    auto found = look();
    std::move(found.begin(), found.end(), std::back_inserter(examination.findings));
  } catch (const Error& error) {
    if (!still_there(place)) return;
    examination.unseen.push_back({what + " of " + (place.name.empty() ? "this host" : place.name), error.fact(), error.kind() == ErrorKind::privilege ? kNeedsAdmin : error.remedy()});
  }
}

void look(const Surroundings& here, Examination& examination) {
  for (const NetworkPlace& place : here.networks) {
    look_at("the rules of nftables", place, examination, [&] {
      const PacketRuleset seen = look_at_nftables(place.where);
      auto out = judge_tables(seen.tables, place, [&](const PacketTable& table) { return find_owner(table, place, here); });
      auto more = judge_rules(seen, place);
      std::move(more.begin(), more.end(), std::back_inserter(out));
      return out;
    });
    look_at("the rules of iptables-legacy", place, examination, [&] { return judge_rules(look_at_legacy_tables(place.where), place); });
    look_at("the sets of ipset", place, examination, [&] { return judge_ip_sets(look_at_ip_sets(place.where), place); });
  }
}

}  // namespace

std::vector<Symptom> judge_tables(const std::vector<PacketTable>& tables, const NetworkPlace& place, const std::function<TableOwner(const PacketTable&)>& owner_of) {
  std::vector<Symptom> out;
  for (const PacketTable& table : tables) {
    const bool ours = table.name.starts_with(kOurTable);
    if (!ours && !table.owned) continue;
    const auto finding = ours ? judge_our_table(table, owner_of(table), place) : judge_owned_table(table, owner_of(table), place);
    if (finding) out.push_back(*finding);
  }
  return out;
}

std::vector<Symptom> judge_rules(const PacketRuleset& seen, const NetworkPlace& place) {
  std::vector<Symptom> out;
  std::map<std::string, LegacyFinds> legacy;  // by family and table
  // Where more is to be said of what was found in a table of iptables-legacy; null: it stands for itself.
  const auto keep = [&](const auto& found, Symptom finding) -> LegacyFinds* {
    if (!found.legacy) {
      out.push_back(std::move(finding));
      return nullptr;
    }
    LegacyFinds& finds = legacy[found.family + " " + found.table];
    finds.parts.push_back(std::move(finding));
    return &finds;
  };
  for (const PacketChain& chain : seen.chains) {
    auto finding = judge_chain(chain, seen.rules, place);
    if (!finding) continue;
    LegacyFinds* finds = keep(chain, std::move(*finding));
    if (finds == nullptr) continue;
    finds->chains.push_back(chain);
    const auto jumps = jumps_to(chain, seen.rules);
    finds->rules.insert(finds->rules.end(), jumps.begin(), jumps.end());
  }
  const auto is_told_already = [&](const PacketRule& rule) {
    const bool owned = std::any_of(seen.tables.begin(), seen.tables.end(), [&](const PacketTable& table) {
      return table.family == rule.family && table.name == rule.table && (table.owned || table.name.starts_with(kOurTable));
    });
    return (owned && !rule.legacy) || known_chain(rule.chain) != nullptr;
  };
  for (const PacketRule& rule : seen.rules) {
    if (is_told_already(rule)) continue;
    auto finding = judge_rule(rule, place);
    if (!finding) continue;
    if (LegacyFinds* finds = keep(rule, std::move(*finding))) finds->rules.push_back(rule);
  }
  for (auto& [table, finds] : legacy) out.push_back(one_of(std::move(finds), place));
  return out;
}

std::vector<Symptom> judge_ip_sets(const std::vector<std::string>& names, const NetworkPlace& place) {
  std::vector<Symptom> out;
  for (const std::string& name : names) {
    const KnownName* tool = known_set(name);
    if (tool == nullptr) continue;
    Symptom finding;
    finding.kind = "set.chaos";
    finding.severity = Gravity::leftover;
    finding.what = fmt::format("ipset {} of a chaos tool is there; by itself it does nothing", printable(name, 64));
    finding.where = place.name;
    finding.from = tool->tool;
    finding.undo = fmt::format("{}ipset destroy {}", place.enter, shell_word(name));
    finding.advice = "the rules that use it go first";
    out.push_back(std::move(finding));
  }
  return out;
}

DoctorCheck check_rules() {
  return {"packet rules", "tables held by a process or left by capsize, chains and sets of chaos tools, rules that drop by chance, queue or redirect (nftables, iptables, iptables-legacy)", look, nullptr};
}

}  // namespace capsize
