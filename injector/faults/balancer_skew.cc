// balancer.skew: one server gets more, or less, of the traffic than its part.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "injector/faults/balancer.h"

namespace capsize {
namespace {

constexpr double kShareTolerance = 0.005;      // of the whole
constexpr double kProportionTolerance = 0.10;  // of each other server's part of the rest
constexpr std::int64_t kMaxOthersSum = 1024;

// Where both cannot be met, the share matters more: it is what was asked for.
double badness(double share_error, double proportion_error) { return share_error / kShareTolerance + std::min(proportion_error, 1.0); }

// `total` dealt in the proportions of `wanted`, by largest remainder, each at least 1 and at most kMaxWeight.
std::vector<std::int64_t> deal(const std::vector<std::int64_t>& wanted, std::int64_t total) {
  const double sum = static_cast<double>(std::accumulate(wanted.begin(), wanted.end(), std::int64_t{0}));
  std::vector<std::int64_t> out;
  std::vector<std::pair<double, std::size_t>> remainders;
  std::int64_t dealt = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double exact = static_cast<double>(wanted[i]) * static_cast<double>(total) / sum;
    out.push_back(std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(exact)), 1, kMaxWeight));
    remainders.emplace_back(static_cast<double>(out.back()) - exact, i);
    dealt += out.back();
  }
  std::sort(remainders.begin(), remainders.end());
  for (const auto& [ignored, i] : remainders) {
    if (dealt >= total) break;
    if (out[i] >= kMaxWeight) continue;
    ++out[i];
    ++dealt;
  }
  return out;
}

double worst_proportion_error(const std::vector<std::int64_t>& wanted, const std::vector<std::int64_t>& given) {
  const double wanted_sum = static_cast<double>(std::accumulate(wanted.begin(), wanted.end(), std::int64_t{0}));
  const double given_sum = static_cast<double>(std::accumulate(given.begin(), given.end(), std::int64_t{0}));
  double worst = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double part = static_cast<double>(wanted[i]) / wanted_sum;
    worst = std::max(worst, std::abs(static_cast<double>(given[i]) / given_sum - part) / part);
  }
  return worst;
}

Weights planned_weights(const BalancerSkew& params, const BackendState& seen, const ServerState& favourite) {
  std::vector<std::string> names;
  std::vector<std::int64_t> now;
  for (const ServerState& server : seen.servers) {
    if (!server.in_service() || server.name == favourite.name) continue;
    names.push_back(server.name);
    now.push_back(server.weight);
  }
  if (names.empty()) {
    throw Error(ErrorKind::refused, fmt::format("{} is the only server in service in backend {}: it gets everything already", favourite.name, seen.name), "bring a second server into service");
  }
  Weights weights;
  if (params.share.value >= 1) {
    weights[favourite.name] = favourite.weight;
    for (const std::string& name : names) weights[name] = 0;
  } else if (params.share.value <= 0) {
    weights[favourite.name] = 0;
    for (std::size_t i = 0; i < names.size(); ++i) weights[names[i]] = now[i];
  } else {
    const SkewWeights chosen = weights_for_share(now, params.share.value);
    weights[favourite.name] = chosen.favourite;
    for (std::size_t i = 0; i < names.size(); ++i) weights[names[i]] = chosen.others[i];
  }
  return weights;
}

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const BalancerSkew params = spec_of_balancer_skew().parse_or_throw(request.params);
  const HaproxyTarget target = haproxy_target_spec().parse_or_throw(request.target);
  Op query = observe_backend(target);
  const Json seen = co_await host.inspect(std::move(query));
  co_return plan_balancer_skew(params, target, backend_from_json(seen), request.allow);
}

}  // namespace

const Spec<BalancerSkew>& spec_of_balancer_skew() {
  static const auto spec = Spec<BalancerSkew>()
                               .required("server", &BalancerSkew::server, "the server that gets more, or less, than its part")
                               .optional("share", &BalancerSkew::share, "its part of the backend's new sessions");
  return spec;
}

SkewWeights weights_for_share(const std::vector<std::int64_t>& others, double share) {
  CAPSIZE_CHECK(!others.empty() && share > 0 && share < 1);
  const auto count = static_cast<std::int64_t>(others.size());
  SkewWeights best;
  double best_score = 0;
  for (std::int64_t total = count; total <= std::max(2 * count, kMaxOthersSum); ++total) {
    SkewWeights candidate;
    candidate.others = deal(others, total);
    const double sum = static_cast<double>(std::accumulate(candidate.others.begin(), candidate.others.end(), std::int64_t{0}));
    candidate.favourite = std::clamp<std::int64_t>(std::llround(share / (1 - share) * sum), 1, kMaxWeight);
    candidate.share = static_cast<double>(candidate.favourite) / (static_cast<double>(candidate.favourite) + sum);
    const double share_error = std::abs(candidate.share - share);
    const double proportion_error = worst_proportion_error(others, candidate.others);
    if (share_error <= kShareTolerance && proportion_error <= kProportionTolerance) return candidate;
    const double score = badness(share_error, proportion_error);
    if (best.others.empty() || score < best_score) {
      best = std::move(candidate);
      best_score = score;
    }
  }
  return best;
}

FaultPlan plan_balancer_skew(const BalancerSkew& params, const HaproxyTarget& target, const BackendState& seen, const Allowed& allow) {
  const ServerState& favourite = planned_server(seen, params.server.text);
  refuse_static_algorithm(seen);
  if (!favourite.in_service()) {
    throw Error(ErrorKind::refused, fmt::format("{}/{} is not in service (status {}, weight {})", seen.name, favourite.name, favourite.status, favourite.weight),
                "bring it into service, or name another server");
  }
  const Weights weights = planned_weights(params, seen, favourite);
  const std::string words = weights_in_words(seen, weights);
  if (words.empty()) throw Error(ErrorKind::refused, fmt::format("{} gets {} of backend {} already", favourite.name, percent(params.share.value), seen.name), "choose another share");
  FaultPlan out = weights_plan(target, seen, weights, allow);
  const double given = out.intended["shares"][favourite.name].get<double>();
  out.intended["server"] = favourite.name;
  out.intended["share"] = params.share.value;
  const bool exact = std::abs(given - params.share.value) < 0.0005;
  out.summary = fmt::format("{} gets {} of backend {}{} (weights {})", favourite.name, percent(given), seen.name,
                            exact ? "" : fmt::format(", the nearest that weights can give to {}", percent(params.share.value)), words);
  return out;
}

const FaultType& balancer_skew() {
  static const FaultType type = {
      .name = "balancer.skew",
      .doc = "The balancer plays favourites: one server gets more, or less, than its part of the traffic.",
      .target_types = {"haproxy"},
      .spec = []() -> const AnySpec& { return spec_of_balancer_skew(); },
      .example = {{"fault", "balancer.skew"}, {"target", "balancer"}, {"server", "auth1"}, {"share", "80%"}, {"at", "0s"}, {"for", "30s"}},
      .plan = plan,
      .effect = judge_balancer,
      .undo_doc = "gives each server the weight it had, unless someone has changed it since; without it the weights last until HAProxy is reloaded or restarted"};
  return type;
}

}  // namespace capsize
