// Queueing disciplines that delay, lose or throttle packets, and the ifb devices and filters that bring packets to them.
#include <fmt/format.h>

#include <algorithm>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"
#include "injector/net/device_parts.h"

namespace capsize {
namespace {

constexpr int kEtherTypeAny = 0x0003;

struct DeviceOf {
  const DisciplineLook& seen;
  const NetworkDevice* operator()(int index) const {
    const auto found = std::find_if(seen.devices.begin(), seen.devices.end(), [index](const NetworkDevice& device) { return device.index == index; });
    return found == seen.devices.end() ? nullptr : &*found;
  }
};

std::string name_of(const NetworkDevice* device) { return device == nullptr ? "?" : printable(device->name, 32); }

const QueueDiscipline* root_of(const DisciplineLook& seen, int device) {
  for (const QueueDiscipline& discipline : seen.disciplines) {
    if (discipline.device == device && discipline.parent == kRootParent) return &discipline;
  }
  return nullptr;
}

std::string impairment_of(const NetworkDevice* device) { return device == nullptr ? "" : impairment_of_device(device->name); }
bool is_ours(const NetworkDevice* device) { return !impairment_of(device).empty(); }

// The shapes that known tools leave, as their sources show them.
std::string origin(const QueueDiscipline& discipline, const QueueDiscipline* root, const NetworkDevice* device) {
  if (is_ours(device)) return "capsize";
  const bool under_prio = root != nullptr && root->kind == "prio" && root->handle == 0x10000;
  if (device != nullptr && device->name.starts_with("bwp")) return "the CNI plugin \"bandwidth\" (Kubernetes): probably on purpose";
  if (discipline.kind == "netem" && discipline.parent == 0x10003 && discipline.handle == 0x300000 && under_prio) return "looks like Pumba or Litmus (band 3 of a prio at the root)";
  if (discipline.kind == "netem" && discipline.parent == 0x10004 && under_prio) return "looks like Chaos Mesh, ChaosBlade or Datadog's chaos controller (band 4 of a prio at the root)";
  if (discipline.parent == kRootParent && discipline.handle == 0x10000) return "looks like Chaos Mesh (handle 1: at the root), or a script";
  return "";
}

std::string undo_discipline(const QueueDiscipline& discipline, const std::string& device, const NetworkPlace& place) {
  const std::string where = discipline.parent == kRootParent ? "root" : fmt::format("parent {} handle {}", show_handle(discipline.parent), show_handle(discipline.handle));
  return fmt::format("{}tc qdisc del dev {} {}", place.enter, shell_word(device), where);
}

Symptom judge_discipline(const QueueDiscipline& discipline, const QueueDiscipline* root, const NetworkDevice* device, const NetworkPlace& place) {
  Symptom out;
  const std::string name = device == nullptr ? fmt::format("device {}", discipline.device) : device->name;
  const bool idle = is_ours(device);  // packets come to one of ours only by rules that end with their holder
  out.kind = "qdisc." + discipline.kind;
  out.severity = idle ? Gravity::leftover : discipline.kind == "netem" ? Gravity::harm : Gravity::suspect;
  out.what = fmt::format("{} {} packets that leave {} ({})", discipline.kind, discipline.kind == "netem" ? "impairs" : "limits the rate of", printable(name, 32),
                         discipline.settings.empty() ? "its settings were not understood" : discipline.settings);
  out.where = place.name;
  out.impairment = impairment_of(device);
  out.from = origin(discipline, root, device);
  out.undo = undo_discipline(discipline, name, place);
  const bool below_own_tree = discipline.parent != kRootParent && root != nullptr && root->handle != 0;
  if (below_own_tree) {
    out.advice = fmt::format("the {} at the root may be of the same tool; without it: {}tc qdisc del dev {} root", root->kind, place.enter, shell_word(name));
  }
  if (discipline.kind == "tbf" && out.advice.empty()) out.advice = "a rate limit may be on purpose: ask who runs this host";
  return out;
}

// ifb0 and ifb1 come with the kernel's module, and do nothing as long as they are down.
std::optional<Symptom> judge_ifb(const NetworkDevice& device, const QueueDiscipline* root, bool redirected_to, const NetworkPlace& place) {
  const bool by_module = device.name == "ifb0" || device.name == "ifb1";
  const bool has_discipline = root != nullptr && (root->kind == "netem" || root->kind == "tbf");
  if (by_module && !device.up && !redirected_to) return std::nullopt;
  Symptom out;
  out.kind = "device.ifb";
  out.severity = is_ours(&device) ? Gravity::leftover : redirected_to ? Gravity::suspect : Gravity::leftover;
  out.what = fmt::format("ifb device {} is {}: packets of other devices can be sent through it to be delayed or lost{}", printable(device.name, 32), device.up ? "up" : "down",
                         redirected_to ? ", and a filter does so" : "");
  out.where = place.name;
  out.impairment = impairment_of(&device);
  if (is_ours(&device)) out.from = "capsize";
  const std::string name = shell_word(device.name);
  out.undo = by_module ? fmt::format("{}ip link set dev {} down", place.enter, name) : fmt::format("{}ip link del dev {}", place.enter, name);
  if (has_discipline && by_module) out.undo = fmt::format("{}tc qdisc del dev {} root && ", place.enter, name) + out.undo;
  if (redirected_to) out.advice = "take the filter away first: packets redirected to a device that is gone are lost";
  return out;
}

std::string show_parent(std::uint32_t parent) {
  if (parent == kClsactIn) return "ingress";
  if (parent == kClsactOut) return "egress";
  if (parent == kIngress) return "parent ffff:";
  return "parent " + show_handle(parent);
}

std::string show_filter_handle(const TrafficFilter& filter) {
  if (filter.kind == "u32") return fmt::format("{:x}:{:x}:{:x}", filter.handle >> 20, (filter.handle >> 12) & 0xff, filter.handle & 0xfff);
  return fmt::format("{:#x}", filter.handle);
}

std::string show_protocol(int protocol) {
  switch (protocol) {
    case 0x0800: return "ip";
    case 0x86dd: return "ipv6";
    case kEtherTypeAny: return "all";
    default: return fmt::format("{:#x}", protocol);
  }
}

std::optional<Symptom> judge_filter(const TrafficFilter& filter, const NetworkDevice* on, const NetworkDevice* to, const NetworkPlace& place) {
  const bool to_ifb = to != nullptr && to->kind == "ifb";
  const bool to_nowhere = filter.redirects_to != 0 && to == nullptr;
  if (!to_ifb && !to_nowhere && filter.drops <= 0) return std::nullopt;
  Symptom out;
  const std::string direction = filter.parent == kClsactIn || filter.parent == kIngress ? "arrive at" : "leave";
  out.kind = filter.drops > 0 ? "filter.drop" : "filter.redirect";
  out.severity = is_ours(to) ? Gravity::leftover : Gravity::harm;
  if (filter.drops > 0) out.what = fmt::format("a {} filter drops {:.3g} % of the packets it meets that {} {}", filter.kind, filter.drops * 100, direction, name_of(on));
  else if (to_ifb) out.what = fmt::format("a {} filter redirects packets that {} {} to ifb device {}", filter.kind, direction, name_of(on), name_of(to));
  else out.what = fmt::format("a {} filter redirects packets that {} {} to a device that is gone: they are lost", filter.kind, direction, name_of(on));
  if (to_ifb && !is_ours(to)) out.severity = to->name.starts_with("bwp") ? Gravity::suspect : Gravity::harm;
  out.where = place.name;
  out.impairment = impairment_of(to);
  if (is_ours(to)) out.from = "capsize";
  if (to_ifb && to->name.starts_with("bwp")) out.from = "the CNI plugin \"bandwidth\" (Kubernetes): probably on purpose";
  out.undo = fmt::format("{}tc filter del dev {} {} protocol {} pref {} handle {} {}", place.enter, shell_word(on == nullptr ? "?" : on->name), show_parent(filter.parent),
                         show_protocol(filter.protocol), filter.preference, show_filter_handle(filter), filter.kind);
  return out;
}

void look(const Surroundings& here, Examination& examination) {
  for (const NetworkPlace& place : here.networks) {
    try {
      auto found = judge_traffic_control(look_at_disciplines(place.where), place);
      std::move(found.begin(), found.end(), std::back_inserter(examination.findings));
    } catch (const Error& error) {
      if (!still_there(place)) continue;
      examination.unseen.push_back({"the queueing disciplines of " + (place.name.empty() ? "this host" : place.name), error.fact(), error.remedy()});
    }
  }
}

}  // namespace

std::vector<Symptom> judge_traffic_control(const DisciplineLook& seen, const NetworkPlace& place) {
  const DeviceOf device_of{seen};
  std::vector<Symptom> out;
  for (const TrafficFilter& filter : seen.filters) {
    if (const auto finding = judge_filter(filter, device_of(filter.device), device_of(filter.redirects_to), place)) out.push_back(*finding);
  }
  for (const QueueDiscipline& discipline : seen.disciplines) {
    if (discipline.kind != "netem" && discipline.kind != "tbf") continue;
    out.push_back(judge_discipline(discipline, root_of(seen, discipline.device), device_of(discipline.device), place));
  }
  for (const NetworkDevice& device : seen.devices) {
    if (device.kind != "ifb") continue;
    const bool redirected_to = std::any_of(seen.filters.begin(), seen.filters.end(), [&](const TrafficFilter& filter) { return filter.redirects_to == device.index; });
    if (const auto finding = judge_ifb(device, root_of(seen, device.index), redirected_to, place)) out.push_back(*finding);
  }
  return out;
}

DoctorCheck check_disciplines() {
  return {"traffic control", "netem and tbf disciplines, ifb devices in use, filters that redirect packets to one, in every network namespace", look, nullptr};
}

}  // namespace capsize
