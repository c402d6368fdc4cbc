#include "injector/netlink/discipline_look.h"

#include <fmt/format.h>
#include <net/if.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_gact.h>
#include <linux/tc_act/tc_mirred.h>

#include "injector/netlink/netlink_socket.h"
#include "injector/netlink/structures.h"

namespace capsize {
namespace {

constexpr int kDeepestNesting = 4;           // of attributes within a filter, where its actions are
constexpr double kTicksPerMicrosecond = 15.625;  // a tick is 64 ns on every kernel since 2.6.30

double share_of(std::uint32_t probability) { return probability / 4294967295.0; }

std::string percent(double share) { return fmt::format("{:.4g} %", share * 100); }

std::string milliseconds(double nanoseconds) { return fmt::format("{:.4g}ms", nanoseconds / 1e6); }

void add(std::string& list, const std::string& item) { list += (list.empty() ? "" : ", ") + item; }

// Gilbert-Elliott or the four states of "loss state".
std::string loss_model(const Attributes& loss) {
  if (const auto model = loss.value<tc_netem_gemodel>(NETEM_LOSS_GE)) return fmt::format("loss gemodel {} {}", percent(share_of(model->p)), percent(share_of(model->r)));
  if (const auto model = loss.value<tc_netem_gimodel>(NETEM_LOSS_GI)) return fmt::format("loss state {}", percent(share_of(model->p13)));
  return "";
}

std::string netem_settings(BytesView options) {
  const auto base = structure_at<tc_netem_qopt>(options);
  if (!base) return "";
  const Attributes more(behind<tc_netem_qopt>(options));
  std::string out;
  const double delay = more.find(TCA_NETEM_LATENCY64) ? static_cast<double>(more.value<std::int64_t>(TCA_NETEM_LATENCY64).value_or(0)) : base->latency / kTicksPerMicrosecond * 1e3;
  const double jitter = more.find(TCA_NETEM_JITTER64) ? static_cast<double>(more.value<std::int64_t>(TCA_NETEM_JITTER64).value_or(0)) : base->jitter / kTicksPerMicrosecond * 1e3;
  if (delay > 0) add(out, "delay " + milliseconds(delay));
  if (jitter > 0) add(out, "jitter " + milliseconds(jitter));
  if (base->loss > 0) add(out, "loss " + percent(share_of(base->loss)));
  if (const std::string model = loss_model(more.nested(TCA_NETEM_LOSS)); !model.empty()) add(out, model);
  if (base->duplicate > 0) add(out, "duplicate " + percent(share_of(base->duplicate)));
  const auto reorder = more.value<tc_netem_reorder>(TCA_NETEM_REORDER);
  if (reorder && reorder->probability > 0) add(out, "reorder " + percent(share_of(reorder->probability)));
  const auto corrupt = more.value<tc_netem_corrupt>(TCA_NETEM_CORRUPT);
  if (corrupt && corrupt->probability > 0) add(out, "corrupt " + percent(share_of(corrupt->probability)));
  const auto rate = more.value<tc_netem_rate>(TCA_NETEM_RATE);
  const std::uint64_t bytes = more.value<std::uint64_t>(TCA_NETEM_RATE64).value_or(rate ? rate->rate : 0);
  if (bytes > 0) add(out, fmt::format("rate {} bytes/s", bytes));
  return out.empty() ? "no impairment" : out;
}

std::string tbf_settings(BytesView options) {
  const Attributes all(options);
  const auto base = all.value<tc_tbf_qopt>(TCA_TBF_PARMS);
  if (!base) return "";
  return fmt::format("rate {} bytes/s", all.value<std::uint64_t>(TCA_TBF_RATE64).value_or(base->rate.rate));
}

// An action says its kind and its options the same way in every filter; only the attribute that lists them differs from kind to kind.
void take_action(const Attributes& action, TrafficFilter& filter) {
  const std::string kind = action.text(TCA_ACT_KIND);
  const Attributes options = action.nested(TCA_ACT_OPTIONS);
  if (kind == "mirred") {
    const auto setting = options.value<tc_mirred>(TCA_MIRRED_PARMS);
    const bool redirects = setting && (setting->eaction == TCA_EGRESS_REDIR || setting->eaction == TCA_INGRESS_REDIR);
    if (redirects) filter.redirects_to = static_cast<int>(setting->ifindex);
  } else if (kind == "gact") {
    const auto chance = options.value<tc_gact_p>(TCA_GACT_PROB);
    const bool drops = chance && chance->ptype != PGACT_NONE && chance->paction == TC_ACT_SHOT && chance->pval > 0;
    if (drops) filter.drops = 1.0 / chance->pval;
  }
}

void take_actions(const Attributes& attributes, TrafficFilter& filter, int depth) {
  if (!attributes.text(TCA_ACT_KIND).empty() && attributes.find(TCA_ACT_OPTIONS)) take_action(attributes, filter);
  if (depth == kDeepestNesting) return;
  for (const Attributes::Attribute& attribute : attributes.all()) {
    const Attributes inner(attribute.data);
    if (!inner.all().empty()) take_actions(inner, filter, depth + 1);
  }
}

// What filters can hang on: on clsact in both directions, on a discipline that somebody gave a handle.
std::vector<std::uint32_t> filter_parents(const QueueDiscipline& discipline) {
  if (discipline.kind == "clsact") return {kClsactIn, kClsactOut};
  if (discipline.handle == 0) return {};
  return {discipline.handle};
}

void list_filters(NetlinkSocket& socket, int device, std::uint32_t parent, std::vector<TrafficFilter>& into) {
  tcmsg which{};
  which.tcm_ifindex = device;
  which.tcm_parent = parent;
  NetlinkWriter message;
  message.message(RTM_GETTFILTER, 0, which);
  for (const NetlinkReply& reply : socket.dump(std::move(message), "listing traffic filters")) {
    auto filter = parse_filter(reply.payload);
    if (!filter) continue;
    filter->parent = parent;
    into.push_back(*filter);
  }
}

}  // namespace

std::string show_handle(std::uint32_t handle) {
  const std::uint32_t minor = handle & 0xffff;
  return minor == 0 ? fmt::format("{:x}:", handle >> 16) : fmt::format("{:x}:{:x}", handle >> 16, minor);
}

std::optional<NetworkDevice> parse_device(BytesView payload) {
  const auto head = structure_at<ifinfomsg>(payload);
  if (!head || head->ifi_index <= 0) return std::nullopt;
  const Attributes attributes(behind<ifinfomsg>(payload));
  NetworkDevice device;
  device.index = head->ifi_index;
  device.name = attributes.text(IFLA_IFNAME);
  device.kind = attributes.nested(IFLA_LINKINFO).text(IFLA_INFO_KIND);
  device.up = (head->ifi_flags & IFF_UP) != 0;
  return device.name.empty() ? std::nullopt : std::optional(device);
}

std::optional<QueueDiscipline> parse_discipline(BytesView payload) {
  const auto head = structure_at<tcmsg>(payload);
  if (!head || head->tcm_ifindex <= 0) return std::nullopt;
  const Attributes attributes(behind<tcmsg>(payload));
  QueueDiscipline out;
  out.device = head->tcm_ifindex;
  out.kind = attributes.text(TCA_KIND);
  out.handle = head->tcm_handle;
  out.parent = head->tcm_parent;
  if (out.kind == "netem") out.settings = netem_settings(payload_of(attributes, TCA_OPTIONS));
  if (out.kind == "tbf") out.settings = tbf_settings(payload_of(attributes, TCA_OPTIONS));
  return out.kind.empty() ? std::nullopt : std::optional(out);
}

std::optional<TrafficFilter> parse_filter(BytesView payload) {
  const auto head = structure_at<tcmsg>(payload);
  if (!head || head->tcm_ifindex <= 0) return std::nullopt;
  const Attributes attributes(behind<tcmsg>(payload));
  TrafficFilter out;
  out.device = head->tcm_ifindex;
  out.kind = attributes.text(TCA_KIND);
  out.parent = head->tcm_parent;
  out.handle = head->tcm_handle;
  out.preference = static_cast<int>(head->tcm_info >> 16);
  out.protocol = __builtin_bswap16(static_cast<std::uint16_t>(head->tcm_info & 0xffff));
  if (out.kind.empty()) return std::nullopt;
  take_actions(attributes.nested(TCA_OPTIONS), out, 0);
  return out;
}

DisciplineLook look_at_disciplines(const NetworkNamespace& place) {
  NetlinkSocket socket(NETLINK_ROUTE, place);
  DisciplineLook out;
  NetlinkWriter links;
  links.message(RTM_GETLINK, 0, ifinfomsg{});
  for (const NetlinkReply& reply : socket.dump(std::move(links), "listing network devices")) {
    if (const auto device = parse_device(reply.payload)) out.devices.push_back(*device);
  }
  NetlinkWriter disciplines;
  disciplines.message(RTM_GETQDISC, 0, tcmsg{});
  for (const NetlinkReply& reply : socket.dump(std::move(disciplines), "listing queueing disciplines")) {
    if (const auto discipline = parse_discipline(reply.payload)) out.disciplines.push_back(*discipline);
  }
  for (const QueueDiscipline& discipline : out.disciplines) {
    for (const std::uint32_t parent : filter_parents(discipline)) list_filters(socket, discipline.device, parent, out.filters);
  }
  return out;
}

}  // namespace capsize
