#include "injector/net/kernel_trials.h"

#include <fmt/format.h>

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
  void (*run)();
};

constexpr const char* kDebian = "or boot a kernel that has it, as that of Debian's package linux-image-amd64 or linux-image-cloud-amd64";

void try_rule(Hook hook, RuleAction action) {
  Impairment impairment;
  impairment.name = "capsize_000000000000";
  impairment.mark = 1;
  PacketMatch match;
  match.hook = hook;
  match.source.addresses = {{false, {127, 0, 0, 1}, 32}, {false, {10}, 8}, {true, {0xfd}, 8}};
  match.destination.ports = {{1, 1}, {9, 10}};
  impairment.affected = {match};
  PacketRules(impairment, action).counts();
}

void try_rules() {
  try_rule(Hook::arrive, {RuleAction::Kind::drop, 0.5, 0});
  try_rule(Hook::arrive, {RuleAction::Kind::reset, 1, 0});
  try_rule(Hook::leave, {RuleAction::Kind::prohibited, 1, 0});
}

constexpr std::array<Trial, 9> kTrials = {{
    {"rules", "nf_tables with owned tables", "modprobe nf_tables nft_numgen nft_reject_inet", try_rules},
    {"egress_rules", "a queue for nf_tables rules", "modprobe nfnetlink_queue nft_queue", [] { try_rule(Hook::leave, {RuleAction::Kind::drop, 0.5, 0}); }},
    {"queue", "a queue for nf_tables rules", "modprobe nfnetlink_queue nft_queue", [] { try_rule(Hook::arrive, {RuleAction::Kind::queue, 1, 7}); }},
    {"ifb", "ifb devices", "modprobe ifb", try_ifb},
    {"clsact", "clsact", "modprobe sch_ingress", try_clsact},
    {"netem", "sch_netem", "modprobe sch_netem", try_netem},
    {"tbf", "sch_tbf", "modprobe sch_tbf", try_tbf},
    {"ipv6", "IPv6", "sysctl net.ipv6.conf.all.disable_ipv6=0", try_ipv6},
    {"sock_destroy", "SOCK_DESTROY (INET_DIAG_DESTROY)", "modprobe tcp_diag", try_sock_destroy},
}};

void run_all(KernelTrials& out) {
  for (const Trial& trial : kTrials) {
    out.can[trial.name] = false;
    try {
      trial.run();
      out.can[trial.name] = true;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::privilege) throw;
      out.missing[trial.name] = fmt::format("the kernel has no {} ({}): {}, {}", trial.thing, error.fact(), trial.bring_it, kDebian);
    }
  }
}

}  // namespace

KernelTrials try_kernel() {
  static std::optional<KernelTrials> known;
  if (known) return *known;
  KernelTrials out;
  try {
    in_scratch_namespace([&] { run_all(out); });
    known = out;
    return out;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::privilege) throw;
    out = {};
    for (const Trial& trial : kTrials) {
      out.can[trial.name] = false;
      out.missing[trial.name] = fmt::format("it could not be tried: {}; {}", error.fact(), error.remedy());
    }
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
