// Lets a coroutine sleep until another one, on the same executor, has something for it. A wake-up nobody waits for is lost: look first.
#pragma once
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>

#include "injector/base/within.h"

namespace capsize {

class Wake {
 public:
  explicit Wake(const asio::any_io_executor& executor) : timer_(executor) { timer_.expires_at(asio::steady_timer::time_point::max()); }

  void notify() { timer_.cancel(); }  // everyone who waits
  asio::any_io_executor executor() { return timer_.get_executor(); }

  Task<> wait() {
    boost::system::error_code woken;
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }

  // Returns at `when` or when notified, whichever is first.
  Task<> wait_until(Clock& clock, TimePoint when) {
    const Duration limit = when - clock.now();
    if (limit <= Duration::zero()) co_return;
    auto waiting = wait();
    co_await within(clock, limit, std::move(waiting));
  }

 private:
  asio::steady_timer timer_;
};

}  // namespace capsize
