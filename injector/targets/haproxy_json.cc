// HAProxy's state as the JSON that ops answer and faults plan from.
#include "injector/targets/haproxy.h"

namespace capsize {
namespace {

Error not_ours() { return Error(ErrorKind::bug, "not the state of an HAProxy backend as haproxy.servers answers it"); }

const Json& member(const Json& json, const char* key) {
  if (!json.is_object()) throw not_ours();
  const auto it = json.find(key);
  if (it == json.end()) throw not_ours();
  return *it;
}

std::string text(const Json& json, const char* key) {
  const Json& value = member(json, key);
  if (!value.is_string()) throw not_ours();
  return value.get<std::string>();
}

std::int64_t integer(const Json& json, const char* key) {
  const Json& value = member(json, key);
  if (!value.is_number_integer()) throw not_ours();
  return value.get<std::int64_t>();
}

bool boolean(const Json& json, const char* key) {
  const Json& value = member(json, key);
  if (!value.is_boolean()) throw not_ours();
  return value.get<bool>();
}

Json to_json(const ServerState& server) {
  return {{"name", server.name},
          {"id", server.id},
          {"address", server.address},
          {"port", server.port},
          {"weight", server.weight},
          {"initial_weight", server.initial_weight},
          {"admin_state", server.admin_state},
          {"op_state", server.op_state},
          {"agent_state", server.agent_state},
          {"backup", server.backup},
          {"status", server.status},
          {"max_connections", server.max_connections},
          {"current_sessions", server.current_sessions},
          {"queued", server.queued},
          {"total_sessions", server.total_sessions},
          {"balanced", server.balanced},
          {"connect_errors", server.connect_errors},
          {"response_errors", server.response_errors}};
}

ServerState server_from_json(const Json& json, const std::string& backend) {
  ServerState server;
  server.backend = backend;
  server.name = text(json, "name");
  server.id = integer(json, "id");
  server.address = text(json, "address");
  server.port = integer(json, "port");
  server.weight = integer(json, "weight");
  server.initial_weight = integer(json, "initial_weight");
  server.admin_state = static_cast<int>(integer(json, "admin_state"));
  server.op_state = static_cast<int>(integer(json, "op_state"));
  server.agent_state = static_cast<int>(integer(json, "agent_state"));
  server.backup = boolean(json, "backup");
  server.status = text(json, "status");
  server.max_connections = integer(json, "max_connections");
  server.current_sessions = integer(json, "current_sessions");
  server.queued = integer(json, "queued");
  server.total_sessions = integer(json, "total_sessions");
  server.balanced = integer(json, "balanced");
  server.connect_errors = integer(json, "connect_errors");
  server.response_errors = integer(json, "response_errors");
  return server;
}

}  // namespace

Json to_json(const HaproxyProcess& process) { return {{"pid", process.pid}, {"start", process.start}, {"version", process.version}}; }

HaproxyProcess haproxy_process_from_json(const Json& json) {
  HaproxyProcess process;
  process.pid = integer(json, "pid");
  process.start = integer(json, "start");
  process.version = json.value("version", "");
  return process;
}

Json to_json(const BackendState& backend) {
  Json servers = Json::array();
  for (const ServerState& server : backend.servers) servers.push_back(to_json(server));
  return {{"process", to_json(backend.process)},
          {"backend", backend.name},
          {"algorithm", backend.algorithm},
          {"status", backend.status},
          {"current_sessions", backend.current_sessions},
          {"queued", backend.queued},
          {"total_sessions", backend.total_sessions},
          {"servers", std::move(servers)}};
}

BackendState backend_from_json(const Json& json) {
  BackendState backend;
  backend.process = haproxy_process_from_json(member(json, "process"));
  backend.name = text(json, "backend");
  backend.algorithm = text(json, "algorithm");
  backend.status = text(json, "status");
  backend.current_sessions = integer(json, "current_sessions");
  backend.queued = integer(json, "queued");
  backend.total_sessions = integer(json, "total_sessions");
  const Json& servers = member(json, "servers");
  if (!servers.is_array()) throw not_ours();
  for (const Json& server : servers) backend.servers.push_back(server_from_json(server, backend.name));
  return backend;
}

}  // namespace capsize
