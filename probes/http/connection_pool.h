// Gives out connections to one origin. Keep-alive: a bounded pool with late binding: who comes when all are busy waits, first come first
// served, for the first connection that gets ready, be it given back or new. (Binding each late request to a connection of its own is how
// load generators collapse: every stall opens connections, which cost more than the requests.) Without keep-alive: a new one each time.
#pragma once
#include <deque>
#include <list>
#include <memory>

#include "probes/http/connection.h"
#include "probes/load/wake.h"

namespace capsize {

struct PoolOptions {
  bool keep_alive = true;
  std::size_t max_connections = 64;  // with keep_alive: open and opening
  std::size_t warm = 1;              // opened before the first request
  Duration connect_timeout = std::chrono::seconds(1);
};

class ConnectionPool;

// A connection on loan; closed when dropped, unless given back.
class Lease {
 public:
  Lease() = default;
  Lease(std::shared_ptr<ConnectionPool> pool, std::unique_ptr<Connection> connection);
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&& other) noexcept;
  ~Lease() { drop(); }

  explicit operator bool() const { return connection_ != nullptr; }
  Connection* operator->() const { return connection_.get(); }
  void give_back();  // its last reply said that it stays open
  void drop();

 private:
  std::shared_ptr<ConnectionPool> pool_;
  std::unique_ptr<Connection> connection_;
};

struct Acquired {
  ConnectResult result;
  Lease lease;  // empty when the result is an error
};

// Thread: its executor's.
class ConnectionPool : public std::enable_shared_from_this<ConnectionPool> {
 public:
  ConnectionPool(Clock& clock, asio::any_io_executor executor, std::shared_ptr<const Origin> origin, PoolOptions options);

  // Opens the warm connections; a service that is down is no error. Throws Error when the server's certificate cannot be verified.
  Task<> warm();
  // Cancellable at any time.
  Task<Acquired> acquire();
  // One that waits to be used again, where there is one and nobody waits for it: what acquire() begins with, without its price.
  Lease idle();
  // Closes the idle connections and waits for those being opened (at most the connect timeout).
  Task<> close();

  std::size_t connections() const { return connections_; }  // open and opening
  std::uint64_t opened() const { return opened_; }          // ever

 private:
  friend class Lease;
  struct Waiter;

  Task<> open_one();
  void open_as_needed();
  void ready(std::unique_ptr<Connection> connection);
  void failed(const ConnectResult& result);
  void gone();  // one connection less

  Clock& clock_;
  const asio::any_io_executor executor_;
  const std::shared_ptr<const Origin> origin_;
  const PoolOptions options_;
  struct Idle {
    std::unique_ptr<Connection> connection;
    TimePoint since;
  };
  std::deque<Idle> idle_;  // the most recently used last
  std::list<Waiter*> waiters_;                    // first come first
  std::size_t connections_ = 0;
  std::size_t opening_ = 0;
  std::uint64_t opened_ = 0;
  bool closed_ = false;
  ConnectResult last_failure_;
  Wake changed_;
};

}  // namespace capsize
