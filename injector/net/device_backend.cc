// hold_by_device(): an ifb device that carries netem or tbf, and an OWNER table that sends packets there: arriving ones by its own rule, leaving ones by a
// mark that a filter on clsact redirects. The table is what bites: without it the rest is inert, so the kernel ends the fault with its holder.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "injector/net/backends.h"
#include "injector/net/device_parts.h"
#include "injector/net/packet_rules.h"

namespace capsize {
namespace {

constexpr std::uint32_t kLinkHeader = 18;       // bytes, with a VLAN tag
constexpr std::uint16_t kLastPriority = 0xfff0;  // of filters: behind those of anybody else
constexpr const char* kModules = "; where there is no such module: linux-image-cloud-amd64 or linux-image-amd64 on Debian, linux-modules-extra on Ubuntu, kernel-modules-extra on Fedora and RHEL";

Error missing(const std::string& what, const std::string& module) {
  return Error(ErrorKind::unavailable, fmt::format("this kernel has no {} ({})", what, module), fmt::format("modprobe {}{}", module, kModules));
}

// Runs `work`; an answer that says "no such kind" names what is missing.
template <class F>
auto needing(const std::string& what, const std::string& module, F&& work) {
  try {
    return work();
  } catch (const NetlinkError& error) {
    if (error.code() == ENOENT || error.code() == EOPNOTSUPP) throw missing(what, module);
    if (error.code() == ENODEV) throw Error(ErrorKind::changed, error.fact() + " (the device has disappeared)", "plan again");
    throw;
  }
}

// Behind all filters that are there, so that they go on as before; but ahead of a program whose answer is final. Programs share a priority.
std::uint16_t priority_on(const std::vector<EgressFilter>& filters) {
  std::set<std::uint16_t> taken;
  for (const EgressFilter& filter : filters) {
    const bool can_share = filter.kind == "bpf" && filter.protocol == 0x0003;  // ETH_P_ALL
    if (filter.decides && can_share) return filter.priority;
    if (!can_share) taken.insert(filter.priority);
  }
  std::uint16_t out = kLastPriority;
  while (taken.count(out) != 0) ++out;
  return out;
}

class DeviceHold final : public HeldImpairment {
 public:
  explicit DeviceHold(const Impairment& impairment) : impairment_(impairment), control_(impairment.place), parts_(control_, impairment_) {
    if (impairment.effect.refusal || impairment.effect.dns) throw Error(ErrorKind::bug, "a device neither refuses packets nor answers queries");
    netem_ = netem_for(impairment.effect);
    const std::vector<Link> links = control_.links();
    std::uint32_t largest = 0;
    for (const Link& link : links) largest = std::max(largest, meets_packets(link) ? link.mtu + kLinkHeader : 0);
    tbf_ = tbf_for(impairment.effect, largest);
    if (!netem_ && !tbf_) throw Error(ErrorKind::bug, "an impairment without an effect");
    if (const Impairment part = only(Hook::arrive); !part.affected.empty()) {
      const int ifb = add_device(device_name(impairment));
      rules_.push_back(std::make_unique<PacketRules>(part, RuleAction{RuleAction::Kind::forward, 1, static_cast<std::uint32_t>(ifb)}));
    }
    if (const Impairment part = only(Hook::leave); !part.affected.empty()) {
      const int ifb = add_device(leave_device_name(impairment));
      std::set<int> ways;
      for (const Link& link : links) {
        if (meets_packets(link)) ways.insert(link.index);
      }
      needing("clsact", "sch_ingress", [&] { parts_.add_clsact(ways); });
      for (const int way : ways) add_redirect(way, ifb);
      rules_.push_back(std::make_unique<PacketRules>(part, RuleAction{RuleAction::Kind::mark, 1, impairment.mark}));
    }
    parts_.keep();
  }

  ~DeviceHold() override { release(); }

  void release() noexcept override {
    if (rules_.empty()) return;
    rules_.clear();  // the fault is over
    if (!tbf_) return;
    for (const int ifb : parts_.ifbs()) {
      try {
        control_.open_tbf(ifb, *tbf_, netem_.has_value());
      } catch (const std::exception&) {
        // What waits there goes at the old pace.
      }
    }
  }

  ImpairCounts counts() override {
    ImpairCounts out;
    std::uint64_t seen = 0;  // by the disciplines, before the rules are asked: a packet that comes in between is no duplicate
    for (const Queue& queue : control_.queues()) {
      if (queue.parent != kRootParent || std::find(parts_.ifbs().begin(), parts_.ifbs().end(), queue.link) == parts_.ifbs().end()) continue;
      out.dropped += queue.counts.dropped;
      seen += queue.counts.passed + queue.counts.dropped + queue.counts.waiting;
      if (impairment_.effect.delay || impairment_.effect.reorder || impairment_.effect.rate) out.delayed += queue.counts.passed;
      if (impairment_.effect.rate) out.passed_bytes += queue.counts.passed_bytes, out.held_back += queue.counts.held_back + queue.counts.waiting;
    }
    for (const auto& rules : rules_) {
      const RuleCounts one = rules->counts();
      out.matched += one.matched;
      out.matched_bytes += one.matched_bytes;
    }
    if (impairment_.effect.duplicate) out.duplicated = seen - std::min(seen, out.matched);
    return out;
  }

 private:
  Impairment only(Hook hook) const {
    Impairment out = impairment_;
    std::erase_if(out.affected, [&](const PacketMatch& match) { return match.hook != hook; });
    return out;
  }

  int add_device(const std::string& name) {
    int index = 0;
    try {
      index = needing("ifb devices", "ifb", [&] { return parts_.add_ifb(name); });
    } catch (const NetlinkError& error) {
      if (error.code() != EEXIST) throw;
      throw Error(ErrorKind::changed, fmt::format("a network device {} is there already", name), "plan again: names are never used twice");
    }
    const auto distribution = impairment_.effect.delay ? impairment_.effect.delay->distribution : DelayDistribution::constant;
    if (netem_) needing("netem, which delays, loses, repeats and corrupts packets", "sch_netem", [&] { control_.add_netem(index, *netem_, distribution, impairment_.seed); });
    if (tbf_) needing("tbf, which limits a rate", "sch_tbf", [&] { control_.add_tbf(index, *tbf_, netem_.has_value()); });
    control_.bring_up(index);
    prove(index);
    return index;
  }

  // The kernel may know less than it took: an option that an old netem passes over would be a fault that does not bite.
  void prove(int index) {
    for (const Queue& queue : control_.queues()) {
      if (queue.link != index) continue;
      const bool differs = (queue.kind == "netem" && netem_ && netem_from(queue.options) != *netem_) || (queue.kind == "tbf" && tbf_ && tbf_from(queue.options).rate != tbf_->rate);
      if (differs) throw Error(ErrorKind::unavailable, fmt::format("this kernel's {} does not do all that is asked of it", queue.kind), "use a newer kernel, or a simpler fault");
    }
  }

  void add_redirect(int link, int ifb) {
    const std::uint16_t priority = parts_.added_clsact(link) ? kLastPriority : priority_on(control_.egress_filters(link));
    if (can_unmark_) {
      try {
        return parts_.add_redirect(link, priority, ifb, true);
      } catch (const NetlinkError& error) {
        if (error.code() != ENOENT && error.code() != EOPNOTSUPP) throw;
        can_unmark_ = false;  // no act_skbedit: packets in tunnels are met twice
      }
    }
    needing("classic BPF filters or redirection", "cls_bpf act_mirred", [&] { parts_.add_redirect(link, priority, ifb, false); });
  }

  const Impairment impairment_;
  TrafficControl control_;
  DeviceParts parts_;  // before rules_: what the table sends packets to goes after it
  std::optional<NetemOptions> netem_;
  std::optional<TbfOptions> tbf_;
  bool can_unmark_ = true;
  std::vector<std::unique_ptr<PacketRules>> rules_;
};

}  // namespace

std::unique_ptr<HeldImpairment> hold_by_device(const Impairment& impairment) { return std::make_unique<DeviceHold>(impairment); }

}  // namespace capsize
