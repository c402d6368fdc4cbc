// balancer.weight: exact weights, server by server.
#include "injector/faults/balancer.h"

namespace capsize {
namespace {

std::optional<Mistake> check_weights(const std::map<Name, Count>& weights) {
  for (const auto& [name, weight] : weights) {
    if (weight > static_cast<Count>(kMaxWeight)) return Mistake{fmt::format("weight {} for {} is outside 0 to {}", weight, name.text, kMaxWeight), "HAProxy takes whole numbers from 0 to 256"};
  }
  return std::nullopt;
}

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const BalancerWeight params = spec_of_balancer_weight().parse_or_throw(request.params);
  const HaproxyTarget target = haproxy_target_spec().parse_or_throw(request.target);
  Op query = observe_backend(target);
  const Json seen = co_await host.inspect(std::move(query));
  co_return plan_balancer_weight(params, target, backend_from_json(seen), request.allow);
}

}  // namespace

const Spec<BalancerWeight>& spec_of_balancer_weight() {
  static const auto spec =
      Spec<BalancerWeight>().required("weights", &BalancerWeight::weights, "new weights by server, 0 to 256; servers that are not named keep theirs",
                                      Rule<std::map<Name, Count>>{check_weights, {{"additionalProperties", {{"minimum", 0}, {"maximum", kMaxWeight}}}}});
  return spec;
}

FaultPlan plan_balancer_weight(const BalancerWeight& params, const HaproxyTarget& target, const BackendState& seen, const Allowed& allow) {
  refuse_static_algorithm(seen);
  Weights weights;
  for (const auto& [name, weight] : params.weights) weights[planned_server(seen, name.text).name] = static_cast<std::int64_t>(weight);
  const std::string words = weights_in_words(seen, weights);
  const Shares before = shares_by_weight(seen);
  if (words.empty() || shares_by_weight(with_weights(seen, weights)) == before) {
    throw Error(ErrorKind::refused, fmt::format("these weights leave every share of backend {} as it is", seen.name), "choose weights that differ in proportion");
  }
  FaultPlan out = weights_plan(target, seen, weights, allow);
  out.summary = fmt::format("weights of backend {}: {}", seen.name, words);
  return out;
}

const FaultType& balancer_weight() {
  static const FaultType type = {
      .name = "balancer.weight",
      .doc = "Servers of a balancer's backend get the given weights.",
      .target_types = {"haproxy"},
      .spec = []() -> const AnySpec& { return spec_of_balancer_weight(); },
      .example = {{"fault", "balancer.weight"}, {"target", "balancer"}, {"weights", {{"auth1", 80}, {"auth2", 10}}}, {"at", "0s"}, {"for", "30s"}},
      .plan = plan,
      .effect = judge_balancer,
      .undo_doc = "gives each server the weight it had, unless someone has changed it since; without it the weights last until HAProxy is reloaded or restarted"};
  return type;
}

}  // namespace capsize
