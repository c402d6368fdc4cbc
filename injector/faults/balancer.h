// The faults of a balancer. Each plan is pure given what was seen of the backend, so that it is tested as a table.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "injector/fault.h"
#include "injector/targets/haproxy.h"

namespace capsize {

struct BalancerSkew {
  Name server;
  Share share{0.8};
};
struct BalancerWeight {
  std::map<Name, Count> weights;
};
struct BalancerDrain {
  std::vector<Name> servers;
};

const Spec<BalancerSkew>& spec_of_balancer_skew();
const Spec<BalancerWeight>& spec_of_balancer_weight();
const Spec<BalancerDrain>& spec_of_balancer_drain();

// For the table of faults.
const FaultType& balancer_skew();
const FaultType& balancer_weight();
const FaultType& balancer_drain();

using Allowed = std::set<std::string>;
FaultPlan plan_balancer_skew(const BalancerSkew& params, const HaproxyTarget& target, const BackendState& seen, const Allowed& allow);
FaultPlan plan_balancer_weight(const BalancerWeight& params, const HaproxyTarget& target, const BackendState& seen, const Allowed& allow);
FaultPlan plan_balancer_drain(const BalancerDrain& params, const HaproxyTarget& target, const BackendState& seen, const Allowed& allow);

// Weights that give the favourite `share` (0 to 1, both excluded) of the traffic and the others the rest in the proportions they have
// now, as well as small whole numbers can: small weights make roundrobin's cycle short. `others`: their weights now, none of them 0.
struct SkewWeights {
  std::int64_t favourite = 0;
  std::vector<std::int64_t> others;
  double share = 0;  // what they really give
};
SkewWeights weights_for_share(const std::vector<std::int64_t>& others, double share);

// What the three have in common (balancer.cc).
using Weights = std::map<std::string, std::int64_t>;
using Shares = std::map<std::string, double>;
const ServerState& planned_server(const BackendState& seen, const std::string& name);  // throws Error::refused with did-you-mean
void refuse_static_algorithm(const BackendState& seen);
void refuse_agent_check(const ServerState& server);
BackendState with_weights(BackendState seen, const Weights& weights);
Shares shares_by_weight(const BackendState& backend);  // of new sessions; 0 for those out of service
std::string percent(double share);
// Which permissions the change from `before` to `after` needs; throws Error::refused for one that `allow` does not hold.
std::vector<std::string> needed_permissions(const BackendState& before, const BackendState& after, const Allowed& allow);
// One step that sets those of `weights` that differ from what is there, the observation and the intended shares.
FaultPlan weights_plan(const HaproxyTarget& target, const BackendState& seen, const Weights& weights, const Allowed& allow);
std::string weights_in_words(const BackendState& seen, const Weights& weights);
Op observe_backend(const HaproxyTarget& target);

// A fault of a balancer bites when the settings read back as planned, and the shares of at least kEnoughToJudge new sessions have gone
// at least kClearMove of the way from what the weights gave before to what is intended.
inline constexpr std::int64_t kEnoughToJudge = 30;
inline constexpr double kClearMove = 0.25;
Effect judge_balancer(const FaultPlan& plan, const Json& before, const Json& after);

}  // namespace capsize
