// Packet rules: tables that go with their owner, chains of known tools, rules that drop by chance, queue or redirect.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <functional>
#include <regex>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"

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

std::string delete_chain(const PacketChain& chain, const std::vector<PacketRule>& rules, const NetworkPlace& place) {
  std::string out;
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {  // from the last: the numbers of those before stay
    const bool jumps_here = rule->verdict == PacketRule::Verdict::jump && rule->jumps_to == chain.name && rule->family == chain.family && rule->table == chain.table && rule->legacy == chain.legacy;
    if (jumps_here) out += delete_rule(*rule, place) + " && ";
  }
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
  if (rule.legacy) out.advice += std::string(out.advice.empty() ? "" : "; ") + "its number changes when a rule before it goes: look again before the next";
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
  TableOwner out;
  if (table.owner == 0) return out;
  out.pid = static_cast<int>(owner_process(place.where, table.owner));
  if (const SeenProcess* process = here.process(out.pid)) {
    out.name = process->name;
    out.is_capsize = process->program == "capsize";
  }
  return out;
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
  for (const PacketChain& chain : seen.chains) {
    const KnownName* tool = known_chain(chain.name);
    if (tool == nullptr) continue;
    Symptom finding;
    finding.kind = "chain.chaos";
    const auto inside = std::count_if(seen.rules.begin(), seen.rules.end(), [&](const PacketRule& rule) {
      return rule.chain == chain.name && rule.table == chain.table && rule.family == chain.family && rule.verdict != PacketRule::Verdict::other;
    });
    finding.severity = inside > 0 ? Gravity::harm : Gravity::leftover;
    finding.what = fmt::format("chain {} of a chaos tool is there, {}", printable(chain.name, 64), inside > 0 ? fmt::format("with {} rules that stop or steer packets", inside) : "and does nothing");
    finding.where = at(fmt::format("{} {}, table {}", chain.legacy ? "iptables-legacy" : "nftables", chain.family, printable(chain.table, 64)), place);
    finding.from = tool->tool;
    finding.undo = delete_chain(chain, seen.rules, place);
    out.push_back(std::move(finding));
  }
  const auto is_told_already = [&](const PacketRule& rule) {
    const bool owned = std::any_of(seen.tables.begin(), seen.tables.end(), [&](const PacketTable& table) {
      return table.family == rule.family && table.name == rule.table && (table.owned || table.name.starts_with(kOurTable));
    });
    return owned || known_chain(rule.chain) != nullptr;
  };
  std::vector<Symptom> rules;
  for (auto rule = seen.rules.rbegin(); rule != seen.rules.rend(); ++rule) {  // the last first, so that numbers stay right when undone in order
    if (is_told_already(*rule)) continue;
    if (auto finding = judge_rule(*rule, place)) rules.push_back(std::move(*finding));
  }
  std::move(rules.begin(), rules.end(), std::back_inserter(out));
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
