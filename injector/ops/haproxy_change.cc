#include "injector/ops/haproxy_change.h"

#include <algorithm>

namespace capsize {
namespace {

Json read_weight(const ServerState& server) { return server.weight; }
void write_weight(ServerState& server, const Json& value) { server.weight = value.get<std::int64_t>(); }
bool weight_raises(const Json& from, const Json& to) { return to.get<std::int64_t>() > from.get<std::int64_t>(); }
std::string weight_command(const std::string& backend, const std::string& server, const Json& value) {
  return fmt::format("set server {}/{} weight {}", backend, server, value.get<std::int64_t>());
}

// Only the forced bits are anyone's setting; the others follow from tracking, resolution or the configuration.
Json read_admin_state(const ServerState& server) {
  if ((server.admin_state & kAdminForcedMaint) != 0) return "maint";
  return (server.admin_state & kAdminForcedDrain) != 0 ? "drain" : "ready";
}
void write_admin_state(ServerState& server, const Json& value) {
  server.admin_state &= ~kAdminForced;
  if (value == "drain") server.admin_state |= kAdminForcedDrain;
  if (value == "maint") server.admin_state |= kAdminForcedMaint;
}
bool admin_state_raises(const Json&, const Json& to) { return to == "ready"; }
std::string admin_state_command(const std::string& backend, const std::string& server, const Json& value) {
  return fmt::format("set server {}/{} state {}", backend, server, value.get<std::string>());
}

ServerState* find_mutable(BackendState& backend, const std::string& name) {
  for (ServerState& server : backend.servers) {
    if (server.name == name) return &server;
  }
  return nullptr;
}

bool deals_by_turns(const std::string& algorithm) { return algorithm == "roundrobin" || algorithm == "random" || algorithm == "leastconn"; }

// Nothing arrives at a full server, and leastconn keeps away from a busy one: no sign of a trap.
bool may_rightly_get_nothing(const BackendState& backend, const ServerState& server) {
  if (server.max_connections > 0 && server.current_sessions >= server.max_connections) return true;
  return backend.algorithm == "leastconn" && server.current_sessions > 0;
}

}  // namespace

const ServerProperty kServerWeight = {"weight", read_weight, weight_command, write_weight, weight_raises};
const ServerProperty kServerAdminState = {"state", read_admin_state, admin_state_command, write_admin_state, admin_state_raises};

HaproxyPlace haproxy_place_from(const Json& args) {
  const auto text = [&](const char* key) {
    const auto it = args.find(key);
    if (it == args.end() || !it->is_string()) throw Error(ErrorKind::bug, std::string("an op on HAProxy without \"") + key + "\"");
    return it->get<std::string>();
  };
  HaproxyPlace place;
  place.socket = text("socket");
  place.backend = text("backend");
  check_haproxy_name("backend", place.backend);
  if (!args.contains("process")) throw Error(ErrorKind::bug, "an op on HAProxy without \"process\"");
  place.process = haproxy_process_from_json(args["process"]);
  return place;
}

std::vector<ServerChange> server_changes_from(const Json& args, const char* mine, const char* before, bool (*good)(const Json& value)) {
  const auto it = args.find("servers");
  if (it == args.end() || !it->is_object() || it->empty()) throw Error(ErrorKind::bug, "an op on HAProxy without \"servers\"");
  std::vector<ServerChange> changes;
  for (const auto& [name, values] : it->items()) {
    check_haproxy_name("server", name);
    if (!values.is_object() || !values.contains(mine) || !values.contains(before) || !good(values[mine]) || !good(values[before])) {
      throw Error(ErrorKind::bug, "an op on HAProxy whose values for " + name + " are not good");
    }
    changes.push_back({name, values[mine], values[before]});
  }
  return changes;
}

std::vector<std::string> requeue_commands(const BackendState& now, const std::vector<std::string>& servers) {
  const auto in_service = std::count_if(now.servers.begin(), now.servers.end(), [](const ServerState& server) { return server.in_service(); });
  std::vector<std::string> commands;
  for (const std::string& name : servers) {
    const ServerState* server = now.find(name);
    if (server == nullptr || !server->in_service()) continue;
    // The two stay on one line: no request is dealt between them on the same thread, and we cannot die between them.
    if (now.algorithm == "roundrobin" && in_service >= 2) {
      commands.push_back(weight_command(now.name, name, 0) + ";" + weight_command(now.name, name, server->weight));
    }
    if (server->max_connections > 0) commands.push_back(fmt::format("set maxconn server {}/{} {}", now.name, name, server->max_connections));
  }
  return commands;
}

std::vector<std::string> change_commands(const ServerProperty& property, const BackendState& now, const std::vector<ServerValue>& wanted) {
  std::vector<std::string> raising;
  std::vector<std::string> lowering;
  std::vector<std::string> names;
  BackendState then = now;
  for (const ServerValue& one : wanted) {
    ServerState* server = find_mutable(then, one.server);
    if (server == nullptr) continue;
    auto& list = property.raises(property.read(*server), one.value) ? raising : lowering;
    list.push_back(property.command(now.name, one.server, one.value));
    property.write(*server, one.value);
    names.push_back(one.server);
  }
  std::vector<std::string> commands = std::move(raising);
  commands.insert(commands.end(), lowering.begin(), lowering.end());
  const std::vector<std::string> extras = requeue_commands(then, names);
  commands.insert(commands.end(), extras.begin(), extras.end());
  return commands;
}

ServerComparison compare_servers(const ServerProperty& property, const BackendState& now, const std::vector<ServerChange>& changes) {
  ServerComparison out;
  for (const ServerChange& change : changes) {
    const ServerState* server = now.find(change.server);
    if (server == nullptr) {
      out.gone.push_back(change.server);
      continue;
    }
    const Json found = property.read(*server);
    if (found == change.before) {
      out.as_before.push_back(change.server);
    } else if (found == change.mine) {
      out.to_restore.push_back({change.server, change.before});
    } else {
      out.foreign.push_back({change.server, found});
    }
  }
  return out;
}

TrafficProof prove_by_traffic(const BackendState& before, const BackendState& after) {
  TrafficProof proof;
  if (!before.process.same_as(after.process) || !deals_by_turns(after.algorithm)) return proof;
  std::int64_t weights = 0;
  for (const ServerState& server : after.servers) {
    const ServerState* earlier = before.find(server.name);
    if (earlier == nullptr || server.total_sessions < earlier->total_sessions) return TrafficProof{};  // counters were cleared
    proof.sessions += server.total_sessions - earlier->total_sessions;
    if (server.in_service()) weights += server.weight;
  }
  if (weights == 0 || proof.sessions < kEnoughSessions) return proof;
  proof.state = TrafficProof::State::proved;
  for (const ServerState& server : after.servers) {
    const ServerState& earlier = *before.find(server.name);
    if (!server.in_service() || server.total_sessions > earlier.total_sessions) continue;
    const bool expected = proof.sessions * server.weight / weights >= kEnoughExpectedOfServer;
    if (expected && !may_rightly_get_nothing(before, earlier) && !may_rightly_get_nothing(after, server)) proof.starved.push_back(server.name);
  }
  if (!proof.starved.empty()) proof.state = TrafficProof::State::starved;
  return proof;
}

}  // namespace capsize
