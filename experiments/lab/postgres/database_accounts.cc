#include "experiments/lab/postgres/database_accounts.h"

#include <libpq-fe.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <cstdio>

#include "injector/base/error.h"
#include "injector/base/within.h"

namespace capsize {
namespace {

constexpr Duration kConnectLimit = std::chrono::seconds(5);
constexpr Duration kStagger = std::chrono::milliseconds(50);  // each costs both sides some milliseconds of hashing: the first is ready soon
constexpr Duration kRetry = std::chrono::milliseconds(100);
constexpr int kBinary = 1;
constexpr const char* kQuestion = "SELECT salt, hash FROM account WHERE name = $1";

struct PgDeleter {
  void operator()(PGconn* connection) const { PQfinish(connection); }
  void operator()(PGresult* result) const { PQclear(result); }
};
using PgResult = std::unique_ptr<PGresult, PgDeleter>;

enum class Row { found, none, broken };

Row read_row(const PGresult* result, StoredPassword& password) {
  if (result == nullptr || PQresultStatus(result) != PGRES_TUPLES_OK) return Row::broken;
  if (PQntuples(result) == 0) return Row::none;
  const auto copy = [result](int column, auto& bytes) {
    if (PQgetlength(result, 0, column) != static_cast<int>(bytes.size())) return false;
    const auto* from = reinterpret_cast<const std::uint8_t*>(PQgetvalue(result, 0, column));
    std::copy(from, from + bytes.size(), bytes.begin());
    return true;
  };
  return copy(0, password.salt) && copy(1, password.hash) ? Row::found : Row::broken;
}

}  // namespace

// One connection to the database, or the want of one.
class DatabaseAccounts::Connection {
 public:
  explicit Connection(asio::io_context& io) : broken(io, asio::steady_timer::time_point::max()), socket_(io) {}
  ~Connection() { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // True when it is open.
  Task<bool> open(const DatabaseOptions* options) {
    const std::string host = options->where.address().to_string();
    const std::string port = std::to_string(options->where.port());
    const char* names[] = {"hostaddr", "port", "user", "password", "dbname", "sslmode", "gssencmode", "application_name", nullptr};
    const char* values[] = {host.c_str(), port.c_str(), options->user.c_str(), options->password.c_str(), options->database.c_str(), "disable", "disable", "capsize-auth", nullptr};
    pg_.reset(PQconnectStartParams(names, values, 0));
    if (!pg_ || PQstatus(pg_.get()) == CONNECTION_BAD || !watch_socket()) co_return false;
    for (auto next = PGRES_POLLING_WRITING; next != PGRES_POLLING_OK; next = PQconnectPoll(pg_.get())) {
      if (next == PGRES_POLLING_FAILED) co_return false;
      const auto what = next == PGRES_POLLING_READING ? Wait::wait_read : Wait::wait_write;
      boost::system::error_code error;
      co_await socket_.async_wait(what, asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return false;
    }
    co_return PQsetnonblocking(pg_.get(), 1) == 0;
  }

  Task<Row> ask(std::string user, StoredPassword* password) {
    const char* values[] = {user.c_str()};
    if (PQsendQueryParams(pg_.get(), kQuestion, 1, nullptr, values, nullptr, nullptr, kBinary) != 1) co_return Row::broken;
    boost::system::error_code error;
    for (int unsent = PQflush(pg_.get()); unsent != 0; unsent = PQflush(pg_.get())) {
      if (unsent < 0) co_return Row::broken;
      co_await socket_.async_wait(Wait::wait_write, asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return Row::broken;
    }
    Row row = Row::broken;
    for (;;) {
      while (PQisBusy(pg_.get()) != 0) {
        co_await socket_.async_wait(Wait::wait_read, asio::redirect_error(asio::use_awaitable, error));
        if (error || PQconsumeInput(pg_.get()) != 1) co_return Row::broken;
      }
      const PgResult result(PQgetResult(pg_.get()));
      if (!result) co_return row;
      row = read_row(result.get(), *password);
    }
  }

  void close() {
    // The descriptor is libpq's: Asio only watched it.
    if (socket_.is_open()) socket_.release();
    pg_.reset();
  }

  std::string problem() const { return pg_ ? PQerrorMessage(pg_.get()) : "out of memory"; }

  asio::steady_timer broken;  // cancelled when it is

 private:
  using Wait = asio::posix::stream_descriptor;

  bool watch_socket() {
    const int fd = PQsocket(pg_.get());
    boost::system::error_code error;
    if (fd >= 0) socket_.assign(fd, error);
    return fd >= 0 && !error;
  }

  std::unique_ptr<PGconn, PgDeleter> pg_;
  asio::posix::stream_descriptor socket_;
};

DatabaseAccounts::DatabaseAccounts(asio::io_context& io, Clock& clock, DatabaseOptions options)
    : io_(io), clock_(clock), options_(std::move(options)), decoy_(stored_password("nobody's")) {
  for (int i = 0; i < options_.connections; ++i) connections_.push_back(std::make_unique<Connection>(io));
}

DatabaseAccounts::~DatabaseAccounts() = default;

void DatabaseAccounts::start() {
  Duration wait{};
  for (const auto& connection : connections_) {
    asio::co_spawn(io_, keep_open(connection.get(), wait), [](const std::exception_ptr& failed) {
      if (failed) std::rethrow_exception(failed);
    });
    wait += kStagger;
  }
}

Task<> DatabaseAccounts::keep_open(Connection* connection, Duration wait) {
  co_await clock_.sleep(wait);
  bool complained = false;
  for (;;) {
    auto opening = connection->open(&options_);
    const auto opened = co_await within(clock_, kConnectLimit, std::move(opening));
    if (opened.value_or(false)) {
      complained = false;
      ready_ = true;
      give_back(connection);
      boost::system::error_code cancelled_means_broken;
      co_await connection->broken.async_wait(asio::redirect_error(asio::use_awaitable, cancelled_means_broken));
    } else if (ready_ && !complained) {
      complained = true;
      std::fprintf(stderr, "the database cannot be reached: %s\n", connection->problem().c_str());
    }
    connection->close();
    co_await clock_.sleep(kRetry);
  }
}

void DatabaseAccounts::give_back(Connection* connection) {
  idle_.push_back(connection);
  if (waiting_.empty()) return;
  const auto next = waiting_.front();
  waiting_.pop_front();
  next->expires_at(asio::steady_timer::time_point::min());  // not cancel(): its wait may not have begun
}

Task<DatabaseAccounts::Connection*> DatabaseAccounts::idle_connection(TimePoint deadline) {
  while (idle_.empty()) {
    const Duration left = deadline - clock_.now();
    if (left <= Duration::zero()) co_return nullptr;
    const auto turn = std::make_shared<asio::steady_timer>(io_, asio::steady_timer::time_point::max());
    waiting_.push_back(turn);
    boost::system::error_code ignored;
    co_await within(clock_, left, turn->async_wait(asio::redirect_error(asio::use_awaitable, ignored)));
    std::erase(waiting_, turn);
  }
  Connection* const connection = idle_.front();
  idle_.pop_front();
  co_return connection;
}

Task<AccountLookup> DatabaseAccounts::find(std::string user) {
  const TimePoint deadline = clock_.now() + options_.timeout;
  AccountLookup found;
  found.state = AccountLookup::State::no_answer;
  // A NUL would end the name for libpq and not for us: there is no such user.
  const bool sayable = user.find('\0') == std::string::npos;
  Connection* const connection = co_await idle_connection(deadline);
  if (connection == nullptr) co_return found;
  found.password = decoy_;
  auto asking = connection->ask(sayable ? user : std::string(), &found.password);
  const auto row = co_await within(clock_, deadline - clock_.now(), std::move(asking));
  if (row.value_or(Row::broken) == Row::broken) {
    // Whatever still comes on this connection would be the answer to another question.
    connection->broken.cancel();
    co_return found;
  }
  give_back(connection);
  found.state = *row == Row::found ? AccountLookup::State::known : AccountLookup::State::unknown;
  co_return found;
}

}  // namespace capsize
