// net.cut: connections that are open end at once, both ends with a reset, as when a load balancer or firewall on the way forgets them.
#include <fmt/format.h>

#include <algorithm>

#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"
#include "injector/net/connections.h"
#include "injector/ops/net_cut.h"

namespace capsize {
namespace {

struct CutParams {};

constexpr double kMostLeft = 0.05;  // share of the connections of before that may still be there

const Spec<CutParams>& cut_params() {
  static const auto spec = Spec<CutParams>();
  return spec;
}

const AnySpec& cut_spec() { return cut_params(); }

// A connection is selected by the packets of either end.
ConnectionMatch connections_of(const NetAim& aim, const NetGround& ground, bool spare_control_path) {
  NetIntent intent;
  intent.direction = aim.user || aim.cgroup ? Direction::out : Direction::both;
  ConnectionMatch match;
  match.place = ground.place;
  match.affected = meet_traffic(aim, intent, ground).affected;
  for (const GuardedPath& path : ground.control) {
    if (!spare_control_path) break;
    const auto packets = packets_of(path);
    match.exempt.insert(match.exempt.end(), packets.begin(), packets.end());
  }
  return match;
}

FaultPlan decide(const NetAim& aim, const NetGround& ground, const std::set<std::string>& allow) {
  NetIntent intent;
  intent.direction = aim.user || aim.cgroup ? Direction::out : Direction::both;
  FaultPlan plan;
  plan.allowed = network_permissions(aim, ground, meet_traffic(aim, intent, ground), allow);
  if (!ground.can.cap_net_admin) throw Error(ErrorKind::privilege, "connections of others may not be cut: CAP_NET_ADMIN is missing", "run capsize there as root, or give its agent CAP_NET_ADMIN");
  if (!ground.can.sock_destroy) {
    const auto found = ground.can.missing.find("sock_destroy");
    throw Error(ErrorKind::unavailable, "cutting connections: this machine lacks sock_destroy", found != ground.can.missing.end() ? found->second : "use a kernel with CONFIG_INET_DIAG_DESTROY");
  }
  const bool spare_control_path = std::find(plan.allowed.begin(), plan.allowed.end(), "control_path") == plan.allowed.end();
  const ConnectionMatch match = connections_of(aim, ground, spare_control_path);
  Step step;
  step.apply = {"net.cut", to_json(match)};
  ConnectionMatch identity;
  identity.place = match.place;
  step.undo = {"net.cut_done", to_json(identity)};
  plan.steps.push_back(std::move(step));
  plan.observe = {"net.connections", to_json(match)};
  plan.intended = {{"cut", "every connection that matched"}};
  plan.summary = fmt::format("connections of {} are cut, both ends with a reset", named_traffic(match.affected));
  if (!ground.place_words.empty()) plan.summary = fmt::format("in {}: {}", ground.place_words, plan.summary);
  return plan;
}

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  cut_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  if (aim.protocol != Protocol::any && aim.protocol != Protocol::tcp) throw Error(ErrorKind::refused, "only TCP has connections to cut", "write \"protocol\": \"tcp\", or leave it out");
  aim.protocol = Protocol::tcp;
  const NetGround ground = co_await look_at_ground(aim, request, host);
  co_return decide(aim, ground, request.allow);
}

Effect effect(const FaultPlan& plan, const Json& before, const Json& after) {
  Effect out;
  out.intended = plan.intended;
  CutCount count;
  try {
    count = count_cut(before, after);
  } catch (const Error& error) {
    out.because = "it cannot be told: " + error.fact();
    return out;
  }
  out.measured = {{"connections_before", count.before}, {"ended", count.gone}, {"connections_now", after.value("matching", 0)}};
  if (count.before == 0) {
    out.because = "there was no connection to cut";
    return out;
  }
  const auto left = static_cast<double>(count.before - count.gone) / static_cast<double>(count.before);
  out.bites = left <= kMostLeft;
  out.because = fmt::format("{} of {} connections have ended{}", count.gone, count.before, count.whole ? "" : " (of those that were listed)");
  return out;
}

}  // namespace

FaultType net_cut_fault() {
  FaultType type;
  type.name = "net.cut";
  type.doc = "Connections that are open end at once, both ends with a reset; new ones come about.";
  type.target_types = {"service", "network", "container"};
  type.spec = cut_spec;
  type.example = {{"fault", "net.cut"}, {"target", "auth1"}, {"at", "0s"}, {"for", "10s"}};
  type.plan = plan;
  type.effect = effect;
  type.undo_doc = "has nothing to do: a connection that was cut stays cut, and nothing keeps anybody from connecting again";
  type.stacks = true;
  return type;
}

}  // namespace capsize
