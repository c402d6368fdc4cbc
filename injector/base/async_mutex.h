// One coroutine at a time, first come first served. One thread; for work that is not cancelled (see settle.h).
#pragma once
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>

#include "injector/base/task.h"

namespace capsize {

class AsyncMutex {
 public:
  // Waits its turn. Pair with AsyncUnlock.
  Task<> lock() {
    if (!locked_) {
      locked_ = true;
      co_return;
    }
    const auto executor = co_await asio::this_coro::executor;
    const auto turn = std::make_shared<asio::steady_timer>(executor, asio::steady_timer::time_point::max());
    waiting_.push_back(turn);
    while (turn->expiry() == asio::steady_timer::time_point::max()) {
      boost::system::error_code ignored;
      co_await turn->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }
  void unlock() {
    if (waiting_.empty()) {
      locked_ = false;
      return;
    }
    const auto next = waiting_.front();
    waiting_.pop_front();
    next->expires_at(asio::steady_timer::time_point::min());  // wakes its waiter, and says that the turn has come
  }
  bool locked() const { return locked_; }

 private:
  bool locked_ = false;
  std::deque<std::shared_ptr<asio::steady_timer>> waiting_;
};

class AsyncUnlock {
 public:
  explicit AsyncUnlock(AsyncMutex& mutex) : mutex_(mutex) {}
  AsyncUnlock(const AsyncUnlock&) = delete;
  AsyncUnlock& operator=(const AsyncUnlock&) = delete;
  ~AsyncUnlock() { mutex_.unlock(); }

 private:
  AsyncMutex& mutex_;
};

}  // namespace capsize
