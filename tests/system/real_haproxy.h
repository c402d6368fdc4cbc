// A real HAProxy for system tests, on free loopback ports in a folder of its own, ended by its pid; and traffic for it.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/unique_fd.h"

namespace capsize {

// Waits until `condition` holds; throws after a generous while. Looks every millisecond.
void wait_until(const std::string& what, const std::function<bool()>& condition);

// Servers that answer `GET` after a while, on ports of their choosing; several requests at once.
class SlowServers {
 public:
  SlowServers(int count, Duration service_time);
  ~SlowServers();
  const std::vector<std::uint16_t>& ports() const { return ports_; }

 private:
  struct Shared;
  std::vector<std::uint16_t> ports_;
  std::unique_ptr<Shared> shared_;
  std::thread thread_;
};

class RealHaproxy {
 public:
  struct Options {
    std::vector<std::string> servers;     // what follows "server NAME ADDRESS" for each
    std::vector<std::uint16_t> ports;     // of the servers; empty: HAProxy answers itself, at once
    std::string balance = "roundrobin";
    int threads = 1;
    bool master_worker = false;
    bool keeps_state = false;             // a server-state file, written by reload()
  };
  explicit RealHaproxy(Options options);
  ~RealHaproxy();

  const std::string& socket() const { return socket_; }
  std::uint16_t port() const { return port_; }  // of the frontend; the backend is "auth", its servers auth1, auth2, ...
  pid_t pid() const { return pid_; }            // of the process we started (the master with master_worker)
  std::string ask(const std::string& commands) const;
  // What can be set of the servers: state without its time columns, and maxconn.
  std::string settings() const;
  std::int64_t weight(const std::string& server) const;
  void reload();  // master_worker only; returns when the new worker answers
  void stop();    // SIGSTOP
  void resume();  // SIGCONT
  void end();

 private:
  void write_config() const;
  void start();

  Options options_;
  std::string folder_;
  std::string socket_;
  std::uint16_t port_ = 0;
  std::vector<std::uint16_t> own_ports_;
  pid_t pid_ = -1;
};

// One connection over which requests go one by one; answers which server took each ("auth2" -> 1).
class Requests {
 public:
  explicit Requests(std::uint16_t port);
  std::size_t next();
  std::vector<std::size_t> next(int count);

 private:
  UniqueFd socket_;
};

// The longest time, in requests, that each of `servers` servers had to wait for one.
std::int64_t longest_wait(const std::vector<std::size_t>& taken, std::size_t servers);

// Clients that send one request a connection, one after the other, until the object goes.
class Clients {
 public:
  Clients(std::uint16_t port, int count);
  ~Clients();

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace capsize
