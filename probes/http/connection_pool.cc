#include "probes/http/connection_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ssl/error.hpp>

#include "injector/base/error.h"
#include "injector/base/within.h"

namespace capsize {
namespace {

// A connection that goes from hand to hand is not looked at in between: that is a call of the kernel for each request of a load at full speed,
// and what could be there by now would have come with the reply.
constexpr Duration kNothingComesWithin = std::chrono::microseconds(20);

}  // namespace

Lease::Lease(std::shared_ptr<ConnectionPool> pool, std::unique_ptr<Connection> connection) : pool_(std::move(pool)), connection_(std::move(connection)) {}

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    drop();
    pool_ = std::move(other.pool_);
    connection_ = std::move(other.connection_);
  }
  return *this;
}

void Lease::give_back() {
  if (!connection_) return;
  if (!pool_->options_.keep_alive) return drop();
  connection_->used = true;
  std::exchange(pool_, nullptr)->ready(std::move(connection_));
}

void Lease::drop() {
  if (!connection_) return;
  connection_.reset();
  std::exchange(pool_, nullptr)->gone();
}

// In the coroutine of who waits; takes itself off the list when that ends, however it ends.
struct ConnectionPool::Waiter {
  explicit Waiter(ConnectionPool& owner) : pool(owner), wake(owner.executor_), place(owner.waiters_.insert(owner.waiters_.end(), this)) {}
  ~Waiter() { leave(); }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  void leave() {
    if (!waiting) return;
    waiting = false;
    pool.waiters_.erase(place);
  }
  void answer() {
    leave();
    wake.notify();
  }

  ConnectionPool& pool;
  Wake wake;
  std::list<Waiter*>::iterator place;
  bool waiting = true;
  Acquired result;
};

ConnectionPool::ConnectionPool(Clock& clock, asio::any_io_executor executor, std::shared_ptr<const Origin> origin, PoolOptions options)
    : clock_(clock), executor_(std::move(executor)), origin_(std::move(origin)), options_(options), changed_(executor_) {
  CAPSIZE_CHECK(options_.max_connections > 0);
}

Task<> ConnectionPool::warm() {
  const std::size_t wanted = options_.keep_alive ? std::min(options_.warm, options_.max_connections) : 1;
  while (opening_ < wanted) {
    ++connections_;
    ++opening_;
    asio::co_spawn(executor_, open_one(), [keep = shared_from_this()](std::exception_ptr bug) {
      if (bug) std::rethrow_exception(bug);
    });
  }
  while (opening_ > 0) {
    co_await changed_.wait();
  }
  const bool untrusted = last_failure_.in_tls && last_failure_.error.category() == asio::error::get_ssl_category();
  if (untrusted && idle_.empty()) {
    throw Error(ErrorKind::unavailable, fmt::format("no TLS with {}: {}", show(origin_->url), last_failure_.error.message()),
                "give its CA as \"ca_file\", or \"verify\": false to go without");
  }
  if (!options_.keep_alive) {
    connections_ -= idle_.size();
    idle_.clear();
  }
}

Task<Acquired> ConnectionPool::acquire() {
  Acquired out;
  if (!options_.keep_alive) {
    ++connections_;
    ++opened_;
    out.lease = Lease(shared_from_this(), std::make_unique<Connection>(executor_, origin_));
    out.result = co_await out.lease->connect();
    if (out.result.error) out.lease.drop();
    co_return out;
  }
  out.lease = idle();
  if (out.lease) co_return out;
  Waiter waiter(*this);
  open_as_needed();
  co_await waiter.wake.wait();
  if (waiter.waiting) throw boost::system::system_error(asio::error::operation_aborted);
  co_return std::move(waiter.result);
}

// Bytes that came after the last reply would be taken for the next one, and the other side may have closed.
Lease ConnectionPool::idle() {
  while (waiters_.empty() && !idle_.empty()) {
    auto [connection, since] = std::move(idle_.back());
    idle_.pop_back();
    if (clock_.now() - since < kNothingComesWithin || connection->quiet()) return {shared_from_this(), std::move(connection)};
    --connections_;
  }
  return {};
}

Task<> ConnectionPool::close() {
  closed_ = true;
  connections_ -= idle_.size();
  idle_.clear();
  while (opening_ > 0) {
    co_await changed_.wait();
  }
}

Task<> ConnectionPool::open_one() {
  auto connection = std::make_unique<Connection>(executor_, origin_);
  auto connecting = connection->connect();
  const auto result = co_await within(clock_, options_.connect_timeout, std::move(connecting));
  --opening_;
  ++opened_;
  if (result && !result->error && !closed_) {
    ready(std::move(connection));
  } else {
    if (result && result->error) failed(*result);
    gone();
  }
  changed_.notify();
}

// One connection on its way for each who waits, within the bound.
void ConnectionPool::open_as_needed() {
  while (!closed_ && opening_ < waiters_.size() && connections_ < options_.max_connections) {
    ++connections_;
    ++opening_;
    asio::co_spawn(executor_, open_one(), [keep = shared_from_this()](std::exception_ptr bug) {
      if (bug) std::rethrow_exception(bug);
    });
  }
}

void ConnectionPool::ready(std::unique_ptr<Connection> connection) {
  if (closed_) {
    connection.reset();
    return gone();
  }
  if (waiters_.empty()) {
    connection->used = true;
    idle_.push_back({std::move(connection), clock_.now()});
    return;
  }
  Waiter& first = *waiters_.front();
  first.result.lease = Lease(shared_from_this(), std::move(connection));
  first.answer();
}

// Each attempt to connect was for someone who waited: its failure is the answer of the one who has waited longest.
void ConnectionPool::failed(const ConnectResult& result) {
  last_failure_ = result;
  if (waiters_.empty()) return;
  Waiter& first = *waiters_.front();
  first.result.result = result;
  first.answer();
}

void ConnectionPool::gone() {
  --connections_;
  open_as_needed();
}

}  // namespace capsize
