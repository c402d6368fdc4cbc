// A running HAProxy, spoken to through its runtime API (the "stats socket", unix or TCP). The API has no status codes, so nothing it
// answers is trusted: a change is checked for what looks like a refusal and then read back.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/error.h"
#include "injector/base/json.h"
#include "injector/base/spec.h"
#include "injector/base/task.h"

namespace capsize {

// A target of type "haproxy" in a playbook: one backend of one HAProxy.
struct HaproxyTarget {
  std::string socket;  // "/run/haproxy/admin.sock" or "host:port"
  Name backend;
};
const Spec<HaproxyTarget>& haproxy_target_spec();

// Which process answered. A reload or restart is another process, and what was set at runtime is gone with the old one.
struct HaproxyProcess {
  std::int64_t pid = 0;    // in HAProxy's own pid namespace
  std::int64_t start = 0;  // seconds since the epoch; 0 when HAProxy does not tell
  std::string version;
  bool same_as(const HaproxyProcess& other) const { return pid == other.pid && start == other.start; }
};

// srv_admin_state, as HAProxy prints it. Only the two forced bits can be set and cleared through the runtime API.
inline constexpr int kAdminForcedMaint = 1;
inline constexpr int kAdminForcedDrain = 8;
inline constexpr int kAdminForced = kAdminForcedMaint | kAdminForcedDrain;
// srv_agent_state: configured and enabled.
inline constexpr int kAgentOn = 2 | 4;
inline constexpr int kMaxWeight = 256;

struct ServerState {
  std::string backend;
  std::string name;
  std::int64_t id = 0;
  std::string address;
  std::int64_t port = 0;
  std::int64_t weight = 0;          // now (uweight)
  std::int64_t initial_weight = 0;  // of the configuration (iweight)
  int admin_state = 0;              // bits
  int op_state = 0;                 // 0 stopped, 1 starting, 2 running, 3 stopping
  int agent_state = 0;              // bits
  bool backup = false;
  std::string status;               // "UP", "DOWN", "DRAIN", "MAINT", "no check", ...
  std::int64_t max_connections = 0; // slim; 0: no limit
  std::int64_t current_sessions = 0;
  std::int64_t queued = 0;
  std::int64_t total_sessions = 0;  // stot: also counts what came out of the backend's queue, which lbtot does not
  std::int64_t balanced = 0;        // lbtot
  std::int64_t connect_errors = 0;
  std::int64_t response_errors = 0;

  bool ready() const { return admin_state == 0; }
  // Gets new sessions as its weight says.
  bool in_service() const { return ready() && op_state == 2 && weight > 0 && !backup; }
};

struct BackendState {
  HaproxyProcess process;
  std::string name;
  std::string algorithm;  // empty: not shown at this access level
  std::string status;
  std::int64_t current_sessions = 0;
  std::int64_t queued = 0;
  std::int64_t total_sessions = 0;
  std::vector<ServerState> servers;  // in the order of the configuration

  const ServerState* find(std::string_view server) const;  // null: no such server
};
Json to_json(const HaproxyProcess& process);
Json to_json(const BackendState& backend);
HaproxyProcess haproxy_process_from_json(const Json& json);  // total: throws Error::bug
BackendState backend_from_json(const Json& json);            // total: throws Error::bug

// Parsers of what HAProxy says (haproxy_parse.cc). Total: any bytes give a value or an Error::unavailable.
HaproxyProcess parse_haproxy_info(std::string_view text);
// `reply`: the answer to "show info;show servers state B;show stat B 6 -1".
BackendState parse_backend_reply(std::string_view reply, std::string_view backend);
// The line by which HAProxy refuses a change sent with severity numbers on; empty when there is none.
std::string rejection(std::string_view reply);
// Throws Error::refused unless HAProxy could have such a name: a ';' in one would begin a second command.
void check_haproxy_name(std::string_view what, std::string_view name);

// Nobody listens at the address: no such socket, or the connection is refused.
class NobodyListens : public Error {
 public:
  using Error::Error;
};

// Called with a connection before a command that changes something is written to it.
using ShareConnection = std::function<Task<>(int fd)>;

// One command line per connection, so that an answer never comes from the worker of before a reload. Thread: the coroutine's own.
// All methods throw Error: `unavailable` (unreachable, silent, not understood), `privilege`.
class HaproxyClient {
 public:
  static constexpr std::size_t kMaxReply = 4u << 20;           // bytes
  static constexpr std::size_t kMaxSessionsReply = 256u << 20; // bytes of "show sess", read but not kept
  static constexpr std::size_t kMaxLine = 8u << 10;            // bytes; HAProxy's buffer is 16 KiB by default
  static constexpr Duration kTimeLimit = std::chrono::seconds(2);

  HaproxyClient(Clock& clock, std::string address, Duration limit = kTimeLimit);

  // The whole answer to one line of commands that only look.
  Task<std::string> ask(std::string line);
  // Process, servers and counters, from one connection. `backend` is checked as a name; one that is not there is Error::unavailable.
  Task<BackendState> backend(std::string backend);
  // Connections to the runtime API other than the one that asks.
  Task<std::int64_t> other_cli_sessions();
  // Sends commands, in order, several a line; throws Error::unavailable with HAProxy's words when one is refused. Not an Error: done.
  // A command may hold several joined by ';' that must not be parted.
  Task<> change(std::vector<std::string> commands, ShareConnection share = {});

  const std::string& address() const { return address_; }

 private:
  Task<> exchange(std::string line, std::function<void(std::string_view)> sink, std::size_t limit, ShareConnection share);

  Clock& clock_;
  std::string address_;
  Duration limit_;
};

// Joins commands to lines of at most `limit` bytes each (a longer command stays alone).
std::vector<std::string> command_lines(const std::vector<std::string>& commands, std::size_t limit);

}  // namespace capsize
