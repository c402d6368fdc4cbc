// Accounts in a PostgreSQL: each login asks it for one row. A bounded pool of connections, opened ahead and kept; nothing here blocks the
// thread. Its own library: only capsize-auth needs libpq, capsize itself must run where no PostgreSQL client is installed.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "experiments/lab/accounts.h"
#include "injector/base/clock.h"

namespace capsize {

struct DatabaseOptions {
  asio::ip::tcp::endpoint where;
  std::string user = "auth";
  std::string password;
  std::string database = "postgres";
  int connections = 10;                                // a login in its slot needs one at most
  Duration timeout = std::chrono::milliseconds(1000);  // of a look-up, waiting for a connection included
};

class DatabaseAccounts final : public Accounts {
 public:
  DatabaseAccounts(asio::io_context& io, Clock& clock, DatabaseOptions options);
  ~DatabaseAccounts() override;

  // Opens the connections, and from then on opens again what is lost.
  void start();

  Task<AccountLookup> find(std::string user) override;
  bool ready() const override { return ready_; }

 private:
  class Connection;

  Task<> keep_open(Connection* connection, Duration wait);
  Task<Connection*> idle_connection(TimePoint deadline);  // null: none in time
  void give_back(Connection* connection);

  asio::io_context& io_;
  Clock& clock_;
  DatabaseOptions options_;
  StoredPassword decoy_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::deque<Connection*> idle_;
  std::deque<std::shared_ptr<asio::steady_timer>> waiting_;  // due, in order, when a connection is idle
  bool ready_ = false;
};

}  // namespace capsize
