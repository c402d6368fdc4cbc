#include "injector/faults/balancer.h"

#include <algorithm>

namespace capsize {
namespace {

std::int64_t in_service(const BackendState& backend) {
  return std::count_if(backend.servers.begin(), backend.servers.end(), [](const ServerState& server) { return server.in_service(); });
}

Effect cannot_tell(const FaultPlan& plan, std::string because, Json measured = Json::object()) {
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = std::move(measured);
  effect.because = std::move(because);
  return effect;
}

// The first setting that is not as planned, in words; empty when all are.
std::string not_as_set(const Json& intended, const BackendState& now) {
  const Json weights = intended.value("weights", Json::object());
  const Json drains = intended.value("drained", Json::array());
  for (const auto& [name, weight] : weights.items()) {
    const ServerState* server = now.find(name);
    if (server == nullptr) return name + " is no longer there";
    if (server->weight != weight.get<std::int64_t>()) return fmt::format("{} has weight {}, not {}", name, server->weight, weight.get<std::int64_t>());
  }
  for (const Json& drained : drains) {
    const ServerState* server = now.find(drained.get<std::string>());
    if (server == nullptr) return drained.get<std::string>() + " is no longer there";
    if ((server->admin_state & kAdminForcedDrain) == 0) return server->name + " is not drained";
  }
  return {};
}

struct Move {
  std::int64_t sessions = 0;
  Shares shares;
  double way = 0;  // 0: as before, 1: as intended
};

// Nothing when the counters went backwards or a server is missing: they were cleared, or it is another process.
std::optional<Move> measure(const Json& intended, const BackendState& before, const BackendState& after) {
  if (!before.process.same_as(after.process)) return std::nullopt;
  Move move;
  std::map<std::string, std::int64_t> arrived;
  for (const ServerState& server : after.servers) {
    const ServerState* earlier = before.find(server.name);
    if (earlier == nullptr || server.total_sessions < earlier->total_sessions) return std::nullopt;
    arrived[server.name] = server.total_sessions - earlier->total_sessions;
    move.sessions += arrived[server.name];
  }
  if (move.sessions == 0) return move;
  double along = 0;
  double length = 0;
  for (const auto& [name, goal] : intended["shares"].items()) {
    const double start = intended["shares_before"].value(name, 0.0);
    move.shares[name] = static_cast<double>(arrived[name]) / static_cast<double>(move.sessions);
    along += (move.shares[name] - start) * (goal.get<double>() - start);
    length += (goal.get<double>() - start) * (goal.get<double>() - start);
  }
  move.way = length > 0 ? along / length : 0;
  return move;
}

std::string shares_in_words(const Json& intended, const Shares& measured) {
  std::string out;
  for (const auto& [name, goal] : intended["shares"].items()) {
    const auto it = measured.find(name);
    out += fmt::format("{}{} {} (intended {})", out.empty() ? "" : ", ", name, percent(it == measured.end() ? 0 : it->second), percent(goal.get<double>()));
  }
  return out;
}

}  // namespace

std::string percent(double share) {
  std::string text = fmt::format("{:.1f}", share * 100);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text + " %";
}

const ServerState& planned_server(const BackendState& seen, const std::string& name) {
  if (const ServerState* server = seen.find(name)) return *server;
  std::vector<std::string> names;
  std::string list;
  for (const ServerState& server : seen.servers) {
    names.push_back(server.name);
    if (names.size() <= 20) list += (list.empty() ? "" : ", ") + server.name;
  }
  const std::string meant = did_you_mean(name, names);
  throw Error(ErrorKind::refused, fmt::format("backend {} has no server {}", seen.name, name), meant.empty() ? "its servers: " + list : fmt::format("did you mean \"{}\"?", meant));
}

void refuse_static_algorithm(const BackendState& seen) {
  if (seen.algorithm != "static-rr" && seen.algorithm != "first") return;
  throw Error(ErrorKind::refused, fmt::format("backend {} uses `balance {}`, where weights cannot be changed at runtime", seen.name, seen.algorithm),
              "use balancer.drain, or test with `balance roundrobin`");
}

void refuse_agent_check(const ServerState& server) {
  if ((server.agent_state & kAgentOn) != kAgentOn) return;
  throw Error(ErrorKind::refused, fmt::format("{}/{} has an agent-check, which sets its weight over and over", server.backend, server.name),
              fmt::format("for the time of the experiment: `disable agent {}/{}` on HAProxy's socket", server.backend, server.name));
}

BackendState with_weights(BackendState seen, const Weights& weights) {
  for (ServerState& server : seen.servers) {
    const auto it = weights.find(server.name);
    if (it != weights.end()) server.weight = it->second;
  }
  return seen;
}

Shares shares_by_weight(const BackendState& backend) {
  std::int64_t sum = 0;
  for (const ServerState& server : backend.servers) sum += server.in_service() ? server.weight : 0;
  Shares shares;
  for (const ServerState& server : backend.servers) {
    shares[server.name] = server.in_service() ? static_cast<double>(server.weight) / static_cast<double>(sum) : 0.0;
  }
  return shares;
}

std::vector<std::string> needed_permissions(const BackendState& before, const BackendState& after, const Allowed& allow) {
  const std::int64_t was = in_service(before);
  const std::int64_t left = in_service(after);
  std::string needed;
  std::string fact;
  if (left == 0) {
    needed = "last_server";
    fact = fmt::format("this leaves backend {} without a server in service", before.name);
  } else if ((was - left) * 2 > was) {
    needed = "majority";
    fact = fmt::format("this takes {} of the {} servers in service out of backend {}, more than half", was - left, was, before.name);
  }
  if (needed.empty()) return {};
  if (!allow.contains(needed)) throw Error(ErrorKind::refused, fact, fmt::format("where that is meant, write \"allow\": [\"{}\"] and a \"reason\" in this fault", needed));
  return {needed};
}

std::string weights_in_words(const BackendState& seen, const Weights& weights) {
  std::string out;
  for (const ServerState& server : seen.servers) {
    const auto it = weights.find(server.name);
    if (it == weights.end() || it->second == server.weight) continue;
    out += fmt::format("{}{} {} -> {}", out.empty() ? "" : ", ", server.name, server.weight, it->second);
  }
  return out;
}

Op observe_backend(const HaproxyTarget& target) { return Op{"haproxy.servers", {{"socket", target.socket}, {"backend", target.backend.text}}}; }

FaultPlan weights_plan(const HaproxyTarget& target, const BackendState& seen, const Weights& weights, const Allowed& allow) {
  const BackendState then = with_weights(seen, weights);
  Json apply = Json::object();
  Json undo = Json::object();
  for (const ServerState& server : seen.servers) {
    const auto it = weights.find(server.name);
    if (it == weights.end() || it->second == server.weight) continue;
    refuse_agent_check(server);
    apply[server.name] = {{"from", server.weight}, {"to", it->second}};
    undo[server.name] = {{"expect", it->second}, {"restore", server.weight}};
  }
  FaultPlan plan;
  plan.allowed = needed_permissions(seen, then, allow);
  const Json common = {{"socket", target.socket}, {"backend", target.backend.text}, {"process", to_json(seen.process)}};
  Step step{Op{"haproxy.weights", common}, Op{"haproxy.restore_weights", common}};
  step.apply.args["servers"] = std::move(apply);
  step.undo.args["servers"] = std::move(undo);
  plan.steps.push_back(std::move(step));
  plan.intended = {{"weights", weights}, {"shares", shares_by_weight(then)}, {"shares_before", shares_by_weight(seen)}};
  plan.observe = observe_backend(target);
  return plan;
}

Effect judge_balancer(const FaultPlan& plan, const Json& before, const Json& after) {
  BackendState earlier;
  BackendState now;
  try {
    earlier = backend_from_json(before);
    now = backend_from_json(after);
  } catch (const Error& error) {
    return cannot_tell(plan, error.fact());
  }
  if (!earlier.process.same_as(now.process)) {
    return cannot_tell(plan, fmt::format("HAProxy was reloaded or restarted during the fault (pid {} -> {}): its counters and runtime settings began anew", earlier.process.pid, now.process.pid));
  }
  const std::optional<Move> move = measure(plan.intended, earlier, now);
  if (!move) return cannot_tell(plan, "the session counters were cleared, or servers were added, during the fault");
  const std::string wrong = not_as_set(plan.intended, now);
  Json measured = {{"sessions", move->sessions}, {"shares", move->shares}, {"as_set", wrong.empty()}, {"way", move->way}};
  if (!wrong.empty()) return cannot_tell(plan, "not set as planned: " + wrong, std::move(measured));
  if (move->sessions < kEnoughToJudge) {
    return cannot_tell(plan, fmt::format("only {} sessions arrived, {} are needed to tell", move->sessions, kEnoughToJudge), std::move(measured));
  }
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = std::move(measured);
  effect.bites = move->way >= kClearMove;
  effect.because = fmt::format("of {} sessions: {}; {} of the way from before to intended{}", move->sessions, shares_in_words(plan.intended, move->shares), percent(move->way),
                               effect.bites ? "" : fmt::format(", less than {}", percent(kClearMove)));
  return effect;
}

}  // namespace capsize
