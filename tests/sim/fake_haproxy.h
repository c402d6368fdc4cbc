// HAProxy's runtime API as a model: command line in, text out, and the two things about its roundrobin that starve servers
// (docs/faults/balancer.skew.md). No sockets and no time: fake_haproxy_server.h puts it behind a socket, a simulation sends it sessions.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace capsize {

class FakeHaproxy {
 public:
  struct Server {
    std::string name;
    std::int64_t initial_weight = 10;
    std::int64_t initial_max_connections = 0;  // 0: no limit
    bool up = true;
    bool agent_check = false;
    bool backup = false;
    // What follows is set by the model.
    std::int64_t weight = 10;
    std::int64_t max_connections = 0;
    int admin_state = 0;
    std::int64_t current_sessions = 0;
    std::int64_t total_sessions = 0;
    bool exiled = false;      // to the next cycle of roundrobin
    std::int64_t credit = 0;  // of the round-robin
    bool in_service() const { return up && admin_state == 0 && weight > 0 && !backup; }
    bool full() const { return max_connections > 0 && current_sessions >= max_connections; }
  };

  FakeHaproxy(std::string backend, std::vector<Server> servers);

  // One line of commands joined by ';': what HAProxy would print.
  std::string answer(std::string_view line);

  // A session arrives. The server that takes it (by index), or nothing: it waits in the backend's queue, or is turned away when no
  // server is in service.
  std::optional<std::size_t> arrive();
  // A session of that server ends. True when the server takes the next one from the backend's queue.
  bool finish(std::size_t server);
  // A waiting session was given to a server by something else than finish().
  std::function<void(std::size_t server)> on_dequeue;
  // A waiting session gave up.
  void leave_queue() { queued_ -= queued_ > 0 ? 1 : 0; }

  // A new worker takes over: other pid, settings of the configuration (or those of before, as with a server-state file), counters at 0.
  void reload(bool keep_settings = false);

  Server& server(std::string_view name);
  const std::vector<Server>& servers() const { return servers_; }
  std::int64_t queued() const { return queued_; }
  std::int64_t pid() const { return pid_; }

  std::string algorithm = "roundrobin";
  bool admin_level = true;       // false: changes are denied
  bool ignores_changes = false;  // answers like a success and does nothing
  int other_cli_sessions = 0;    // that `show sess` lists besides the one that asks
  std::vector<std::string> changes;                           // every command that changes something, in order
  std::function<void(const std::string& command)> on_change;  // called after each of them

 private:
  std::string one_command(const std::string& command, bool numbered);
  std::string set_command(const std::vector<std::string>& words, bool numbered);
  std::string set_weight(Server& server, const std::string& value, bool numbered);
  std::string set_state(Server& server, const std::string& value, bool numbered);
  std::string set_max_connections(Server& server, const std::string& value, bool numbered);
  std::string info() const;
  std::string servers_state() const;
  std::string stat() const;
  std::int64_t weights() const;
  std::optional<std::size_t> pick();
  void end_cycle();
  void dequeue_to(std::size_t server);

  std::string backend_;
  std::vector<Server> servers_;
  std::int64_t pid_ = 1000;
  std::int64_t start_ = 1700000000;
  std::int64_t queued_ = 0;
  std::int64_t queued_total_ = 0;
  std::int64_t cycle_weights_ = 0;  // roundrobin: the sum of weights when the present cycle began; it lasts 16 sessions a point
  std::int64_t cycle_position_ = 0;
};

}  // namespace capsize
