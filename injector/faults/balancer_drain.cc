// balancer.drain: servers get no new sessions; those they have go on.
#include "injector/faults/balancer.h"

namespace capsize {
namespace {

std::string admin_state_in_words(const ServerState& server) {
  if ((server.admin_state & kAdminForcedMaint) != 0) return "in maintenance";
  if ((server.admin_state & kAdminForcedDrain) != 0) return "drained";
  return fmt::format("not ready (admin state {}, status {})", server.admin_state, server.status);
}

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const BalancerDrain params = spec_of_balancer_drain().parse_or_throw(request.params);
  const HaproxyTarget target = haproxy_target_spec().parse_or_throw(request.target);
  Op query = observe_backend(target);
  const Json seen = co_await host.inspect(std::move(query));
  co_return plan_balancer_drain(params, target, backend_from_json(seen), request.allow);
}

}  // namespace

const Spec<BalancerDrain>& spec_of_balancer_drain() {
  static const auto spec = Spec<BalancerDrain>().required("servers", &BalancerDrain::servers, "the servers that get no new sessions");
  return spec;
}

FaultPlan plan_balancer_drain(const BalancerDrain& params, const HaproxyTarget& target, const BackendState& seen, const Allowed& allow) {
  Json apply = Json::object();
  Json undo = Json::object();
  Json drained = Json::array();
  BackendState then = seen;
  std::string names;
  for (const Name& name : params.servers) {
    const ServerState& server = planned_server(seen, name.text);
    if (apply.contains(server.name)) continue;
    if (!server.ready()) {
      throw Error(ErrorKind::refused, fmt::format("{}/{} is {}: its state could not be put back exactly", seen.name, server.name, admin_state_in_words(server)),
                  "make it ready first, or leave it out");
    }
    refuse_agent_check(server);
    apply[server.name] = {{"from", "ready"}, {"to", "drain"}};
    undo[server.name] = {{"expect", "drain"}, {"restore", "ready"}};
    drained.push_back(server.name);
    names += (names.empty() ? "" : ", ") + server.name;
    for (ServerState& one : then.servers) {
      if (one.name == server.name) one.admin_state |= kAdminForcedDrain;
    }
  }
  FaultPlan out;
  out.allowed = needed_permissions(seen, then, allow);
  const Json common = {{"socket", target.socket}, {"backend", target.backend.text}, {"process", to_json(seen.process)}};
  Step step{Op{"haproxy.admin_state", common}, Op{"haproxy.restore_admin_state", common}};
  step.apply.args["servers"] = std::move(apply);
  step.undo.args["servers"] = std::move(undo);
  out.steps.push_back(std::move(step));
  out.intended = {{"drained", std::move(drained)}, {"shares", shares_by_weight(then)}, {"shares_before", shares_by_weight(seen)}};
  out.observe = observe_backend(target);
  out.summary = fmt::format("backend {} sends no new sessions to {}", seen.name, names);
  return out;
}

const FaultType& balancer_drain() {
  static const FaultType type = {
      .name = "balancer.drain",
      .doc = "Servers of a balancer's backend get no new sessions; those they have go on.",
      .target_types = {"haproxy"},
      .spec = []() -> const AnySpec& { return spec_of_balancer_drain(); },
      .example = {{"fault", "balancer.drain"}, {"target", "balancer"}, {"servers", {"auth1"}}, {"at", "0s"}, {"for", "30s"}},
      .plan = plan,
      .effect = judge_balancer,
      .undo_doc = "makes each server ready again, unless someone has put it into maintenance since; without it the drain lasts until HAProxy is reloaded or restarted"};
  return type;
}

}  // namespace capsize
