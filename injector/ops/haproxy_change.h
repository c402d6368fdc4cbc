// What every op that changes HAProxy's servers shares: how commands are ordered so that the balancer does not starve a server afterwards,
// comparison before restoring, the barrier against late writes, and proof by traffic.
//
// Two traps of HAProxy 2.6 (docs/faults/balancer.skew.md has the figures):
//   A. roundrobin: a weight lowered while the sum of weights is smaller than in the current cycle exiles its server to the next cycle, up to
//      16 requests a weight point later. Cure: raise first, lower last, then each server once through weight 0.
//   B. a server with a maxconn that comes back from weight 0 or drain while the backend has a queue gets nothing until it ends a session of
//      its own, which it never does. Cure: set its maxconn again, to the same value.
#pragma once
#include <string>
#include <vector>

#include "injector/op_type.h"
#include "injector/targets/haproxy.h"

namespace capsize {

struct HaproxyPlace {
  std::string socket;
  std::string backend;
  HaproxyProcess process;  // as the plan saw it
};
HaproxyPlace haproxy_place_from(const Json& args);  // throws Error::bug, Error::refused

// One server's value, of what a kind of op changes: its weight (0..256) or its admin state ("ready", "drain", "maint").
struct ServerValue {
  std::string server;
  Json value;
};

struct ServerChange {
  std::string server;
  Json mine;    // what the fault sets
  Json before;  // what was there
};

// What is changed.
struct ServerProperty {
  std::string_view noun;                                                                           // "weight"
  Json (*read)(const ServerState& server);
  std::string (*command)(const std::string& backend, const std::string& server, const Json& value);
  void (*write)(ServerState& server, const Json& value);                                           // to a copy, to see what a change leads to
  bool (*raises)(const Json& from, const Json& to);
};
extern const ServerProperty kServerWeight;
extern const ServerProperty kServerAdminState;

// Pure: the commands that set `wanted`, in an order and with the extras that avoid both traps.
std::vector<std::string> change_commands(const ServerProperty& property, const BackendState& now, const std::vector<ServerValue>& wanted);
// Pure: the commands that free servers from both traps without changing a setting.
std::vector<std::string> requeue_commands(const BackendState& now, const std::vector<std::string>& servers);

// Pure: what an undo does about each server.
struct ServerComparison {
  std::vector<ServerValue> to_restore;  // as we left it
  std::vector<std::string> as_before;
  std::vector<ServerValue> foreign;     // neither ours nor the value of before: the value found
  std::vector<std::string> gone;        // no such server any more
};
ServerComparison compare_servers(const ServerProperty& property, const BackendState& now, const std::vector<ServerChange>& changes);

// Pure: does every server get its part of the sessions that arrived between two looks?
struct TrafficProof {
  enum class State { proved, too_little, starved } state = State::too_little;
  std::int64_t sessions = 0;
  std::vector<std::string> starved;
};
inline constexpr std::int64_t kEnoughSessions = 30;          // over the backend
inline constexpr std::int64_t kEnoughExpectedOfServer = 10;  // before none at all means something
TrafficProof prove_by_traffic(const BackendState& before, const BackendState& after);

Task<Applied> change_servers(const ServerProperty& property, HaproxyPlace place, std::vector<ServerChange> changes, OpContext& context);
Task<UndoResult> restore_servers(const ServerProperty& property, HaproxyPlace place, std::vector<ServerChange> changes, OpContext& context);

// The "servers" member of an op's arguments, as {name: {first: value, second: value}}. Throws Error::bug, Error::refused for names.
std::vector<ServerChange> server_changes_from(const Json& args, const char* mine, const char* before, bool (*good)(const Json& value));

}  // namespace capsize
