#include "injector/net/device_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "injector/net/packet_rules.h"
#include "injector/netlink/ifb_module.h"
#include "injector/netlink/network_namespace.h"

namespace capsize {
namespace {

constexpr std::string_view kDeviceStart = "cpz";
constexpr std::string_view kDigits = "0123456789abcdef";
constexpr std::string_view kLeaveDigits = "ghijklmnopqrstuv";  // in place of the first one: there is no room for more
constexpr std::size_t kImpairmentDigits = 12;
constexpr std::size_t kMostAlias = 255;
constexpr std::string_view kClsactWord = " clsact ";

// Errors here mean that it is gone already, or stays as something inert that a later sweep finds.
template <class F>
void try_to(F&& work) noexcept {
  try {
    work();
  } catch (const std::exception&) {
  }
}

bool is_redirect(const EgressFilter& filter, std::uint32_t mark) { return filter.kind == "bpf" && filter.handle == mark && filter.program == redirect_program(mark); }

UndoResult result(UndoState state, std::string because, std::string remedy = {}) { return {state, std::move(because), std::move(remedy), Json::object()}; }

class Sweep {
 public:
  Sweep(TrafficControl& control, const Impairment& impairment) : control_(control), impairment_(impairment) {}

  // Filters, clsact where nobody else uses it by now, then devices: what is redirected to one that has gone is dropped.
  UndoResult run() {
    for (const std::string& name : {device_name(impairment_), leave_device_name(impairment_)}) {
      const auto link = control_.link(name);
      if (!link) continue;
      if (link->kind != "ifb" || !is_alias_of(link->alias, impairment_.name)) {
        return result(UndoState::refused, fmt::format("the network device {} is not the one that was put there", name), fmt::format("look at it with ip -details link show {0}; to remove it: ip link delete {0}", name));
      }
      ifbs_.push_back(link->index);
      clsact_.merge(clsact_from_alias(link->alias));
    }
    const std::size_t filters = remove_filters();
    for (const int ifb : ifbs_) control_.remove_link(ifb);
    if (filters == 0 && ifbs_.empty()) return result(UndoState::nothing_to_undo, fmt::format("no device or filter of {} is there", impairment_.name));
    UndoResult out = result(UndoState::undone, fmt::format("removed {} ifb device{} and {} filter{} that did nothing any more", ifbs_.size(), ifbs_.size() == 1 ? "" : "s", filters, filters == 1 ? "" : "s"));
    out.detail = {{"devices", ifbs_.size()}, {"filters", filters}, {"packets_dropped", waiting_}};
    return out;
  }

 private:
  std::size_t remove_filters() {
    std::size_t removed = 0;
    for (const Queue& queue : control_.queues()) {
      if (std::find(ifbs_.begin(), ifbs_.end(), queue.link) != ifbs_.end() && queue.parent == kRootParent) waiting_ += queue.counts.waiting;
      if (queue.kind != "clsact") continue;
      for (const EgressFilter& filter : control_.egress_filters(queue.link)) {
        if (!is_redirect(filter, impairment_.mark)) continue;
        control_.remove_redirect(queue.link, filter.priority, impairment_.mark);
        ++removed;
      }
      if (clsact_.count(queue.link) != 0 && !control_.has_filters(queue.link)) control_.remove_clsact(queue.link);
    }
    return removed;
  }

  TrafficControl& control_;
  const Impairment& impairment_;
  std::vector<int> ifbs_;
  std::set<int> clsact_;
  std::uint64_t waiting_ = 0;
};

}  // namespace

std::string leave_device_name(const Impairment& impairment) {
  std::string out = device_name(impairment);
  const std::size_t digit = kDigits.find(out.at(kDeviceStart.size()));
  CAPSIZE_CHECK(digit != std::string_view::npos);
  out[kDeviceStart.size()] = kLeaveDigits[digit];  // no other impairment's device can be called that
  return out;
}

std::string impairment_of_device(std::string_view name) {
  if (!name.starts_with(kDeviceStart) || name.size() != kDeviceStart.size() + kImpairmentDigits) return "";
  std::string out(name.substr(kDeviceStart.size()));
  if (const std::size_t digit = kLeaveDigits.find(out[0]); digit != std::string_view::npos) out[0] = kDigits[digit];
  return out.find_first_not_of(kDigits) == std::string::npos ? out : "";
}

std::string device_alias(const std::string& name, const std::set<int>& clsact) {
  std::string out = name;
  for (auto it = clsact.begin(); it != clsact.end();) {
    const int first = *it;
    int last = first;
    while (++it != clsact.end() && *it == last + 1) last = *it;
    const std::string more = (out == name ? std::string(kClsactWord) : ",") + (first == last ? std::to_string(first) : fmt::format("{}-{}", first, last));
    if (out.size() + more.size() > kMostAlias) break;
    out += more;
  }
  return out;
}

std::set<int> clsact_from_alias(const std::string& alias) {
  std::set<int> out;
  const std::size_t word = alias.find(kClsactWord);
  if (word == std::string::npos) return out;
  const char* at = alias.data() + word + kClsactWord.size();
  const char* const end = alias.data() + alias.size();
  while (at < end) {
    int first = 0;
    auto parsed = std::from_chars(at, end, first);
    int last = first;
    if (parsed.ec == std::errc() && parsed.ptr < end && *parsed.ptr == '-') parsed = std::from_chars(parsed.ptr + 1, end, last);
    if (parsed.ec != std::errc() || first <= 0 || last < first || last - first > 100'000) break;
    for (int index = first; index <= last; ++index) out.insert(index);
    at = parsed.ptr + 1;
  }
  return out;
}

bool is_alias_of(const std::string& alias, const std::string& name) { return alias == name || alias.rfind(name + std::string(kClsactWord), 0) == 0; }

int DeviceParts::add_ifb(const std::string& name) {
  const IfbModuleGifts gifts;
  const int index = control_.create_ifb(name, impairment_.name);
  ifbs_.push_back(index);
  return index;
}

void DeviceParts::add_clsact(const std::set<int>& links) {
  clsact_ = links;
  for (const Queue& queue : control_.queues()) {
    if (queue.kind == "clsact") clsact_.erase(queue.link);
    if (queue.kind != "ingress" || links.count(queue.link) == 0) continue;
    clsact_.clear();
    throw Error(ErrorKind::unavailable, fmt::format("network device {} has an ingress discipline, which leaves no room for clsact beside it", queue.link),
                "clsact takes the same filters: have the owner of it use clsact instead, or affect packets when they arrive at the other end");
  }
  // Known to be ours before it is there: whoever sweeps after our death reads it from the alias.
  const auto tell = [&] { control_.set_alias(ifbs_.back(), device_alias(impairment_.name, clsact_)); };
  CAPSIZE_CHECK(!ifbs_.empty());
  tell();
  const std::size_t known = clsact_.size();
  for (const int link : std::set<int>(clsact_)) {
    if (!control_.add_clsact(link)) clsact_.erase(link);  // somebody was faster
  }
  if (clsact_.size() != known) tell();
}

void DeviceParts::add_redirect(int link, std::uint16_t priority, int to, bool unmark) {
  control_.add_redirect(link, priority, impairment_.mark, to, unmark);
}

DeviceParts::~DeviceParts() {
  if (!kept_ && !ifbs_.empty()) try_to([&] { Sweep(control_, impairment_).run(); });
}

std::uint64_t packets_waiting(const Impairment& impairment) {
  TrafficControl control(impairment.place);
  std::set<int> ours;
  for (const std::string& name : {device_name(impairment), leave_device_name(impairment)}) {
    const auto link = control.link(name);
    if (link && is_alias_of(link->alias, impairment.name)) ours.insert(link->index);
  }
  std::uint64_t out = 0;
  if (ours.empty()) return out;
  for (const Queue& queue : control.queues()) {
    if (queue.parent == kRootParent && ours.count(queue.link) != 0) out += queue.counts.waiting;
  }
  return out;
}

UndoResult sweep_device(const Impairment& impairment) {
  if (!impairment.place.path.empty()) {
    try {
      open_network_namespace(impairment.place);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::privilege) return result(UndoState::failed, error.fact(), error.remedy());
      return result(UndoState::nothing_to_undo, "its network namespace is gone, and what was in it did nothing any more");
    }
  }
  try {
    if (look_for_table(impairment.place, impairment.name).there) {
      return result(UndoState::failed, fmt::format("the table {} is still there: its holder lives", impairment.name), "end the capsize agent that holds it, then revert again");
    }
    TrafficControl control(impairment.place);
    return Sweep(control, impairment).run();
  } catch (const Error& error) {
    return result(UndoState::failed, error.fact(), error.remedy());
  }
}

}  // namespace capsize
