#include "injector/net/kernel_trials.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <optional>

#include "injector/base/error.h"
#include "injector/net/packet_rules.h"
#include "injector/netlink/kernel_features.h"
#include "injector/netlink/network_namespace.h"

namespace capsize {
namespace {

struct Trial {
  const char* name;
  const char* thing;    // what the kernel lacks when it fails
  const char* bring_it;
  void (*run)(const std::string& name);
  bool harmless = false;  // where traffic flows, too
};

constexpr const char* kDebian = "or boot a kernel that has it, as that of Debian's package linux-image-amd64 or linux-image-cloud-amd64";

// For packets of addresses that documents may use and networks may not, so that none is met.
void try_rule(const std::string& name, Hook hook, RuleAction action) {
  Impairment impairment;
  impairment.name = name;
  impairment.mark = 1;
  PacketMatch match;
  match.hook = hook;
  match.source.addresses = {{false, {192, 0, 2, 1}, 32}, {false, {198, 51, 100}, 24}, {true, {0x20, 0x01, 0x0d, 0xb8}, 32}};
  match.destination.ports = {{1, 1}, {9, 10}};
  impairment.affected = {match};
  PacketRules(impairment, action).counts();
}

void try_rules(const std::string& name) {
  try_rule(name, Hook::arrive, {RuleAction::Kind::drop, 0.5, 0});
  try_rule(name, Hook::arrive, {RuleAction::Kind::reset, 1, 0});
  try_rule(name, Hook::leave, {RuleAction::Kind::prohibited, 1, 0});
}

constexpr std::array<Trial, 9> kTrials = {{
    {"rules", "nf_tables with owned tables", "modprobe nf_tables nft_numgen nft_reject_inet", try_rules, true},
    {"egress_rules", "a queue for nf_tables rules", "modprobe nfnetlink_queue nft_queue", [](const std::string& name) { try_rule(name, Hook::leave, {RuleAction::Kind::drop, 0.5, 0}); }, true},
    {"queue", "a queue for nf_tables rules", "modprobe nfnetlink_queue nft_queue", [](const std::string& name) { try_rule(name, Hook::arrive, {RuleAction::Kind::queue, 1, 7}); }, true},
    {"ifb", "ifb devices", "modprobe ifb", [](const std::string&) { try_ifb(); }},
    {"clsact", "clsact", "modprobe sch_ingress", [](const std::string&) { try_clsact(); }},
    {"netem", "sch_netem", "modprobe sch_netem", [](const std::string&) { try_netem(); }},
    {"tbf", "sch_tbf", "modprobe sch_tbf", [](const std::string&) { try_tbf(); }},
    {"ipv6", "IPv6", "sysctl net.ipv6.conf.all.disable_ipv6=0", [](const std::string&) { try_ipv6(); }},
    {"sock_destroy", "SOCK_DESTROY (INET_DIAG_DESTROY)", "modprobe tcp_diag", [](const std::string&) { try_sock_destroy(); }, true},
}};

// Of this process: a table is its owner's for as long as it is there, and others may be at their trials.
std::string name_of_trial() { return fmt::format("capsize_{:012x}", ::getpid()); }

void run(const Trial& trial, KernelTrials& out) {
  out.can[trial.name] = false;
  try {
    trial.run(name_of_trial());
    out.can[trial.name] = true;
    out.missing.erase(trial.name);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::privilege) throw;
    out.missing[trial.name] = fmt::format("the kernel has no {} ({}): {}, {}", trial.thing, error.fact(), trial.bring_it, kDebian);
  }
}

void run_harmless(const NetworkNamespace& place, KernelTrials& out) {
  try {
    in_network_namespace(place, [&] {
      for (const Trial& trial : kTrials) {
        if (trial.harmless) run(trial, out);
      }
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::privilege) throw;  // without CAP_NET_ADMIN nothing can be done there, nor tried
  }
}

}  // namespace

KernelTrials try_kernel(const NetworkNamespace& place) {
  static std::optional<KernelTrials> known;
  if (known) return *known;
  KernelTrials out;
  try {
    in_scratch_namespace([&] {
      for (const Trial& trial : kTrials) run(trial, out);
    });
    known = out;
    return out;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::privilege) throw;
    out = {};
    for (const Trial& trial : kTrials) {
      out.can[trial.name] = false;
      out.missing[trial.name] = fmt::format("it could not be tried: {}; {}", error.fact(), error.remedy());
    }
    run_harmless(place, out);
    return out;
  }
}

bool may_administer(const NetworkNamespace& place) {
  bool may = true;
  in_network_namespace(place, [&] {
    try {
      try_administration();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::privilege) throw;
      may = false;
    }
  });
  return may;
}

}  // namespace capsize
