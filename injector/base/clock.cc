#include "injector/base/clock.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/timerfd.h>

#include <boost/asio/redirect_error.hpp>
#include <cerrno>
#include <cmath>
#include <ctime>

#include "injector/base/cpu_time.h"
#include "injector/base/error.h"

namespace capsize {

Task<> Clock::sleep(Duration how_long) {
  const TimePoint when = now() + how_long;
  co_await sleep_until(when);
}

TimePoint SystemClock::now() const { return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now()); }

WallTime SystemClock::wall() const { return std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now()); }

Task<> SystemClock::sleep_until(TimePoint when) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  timer.expires_at(std::chrono::time_point_cast<std::chrono::steady_clock::duration>(when));
  co_await timer.async_wait(asio::use_awaitable);
}

struct SimClock::Sleeper {
  explicit Sleeper(const asio::any_io_executor& executor) : timer(executor) { timer.expires_at(asio::steady_timer::time_point::max()); }
  asio::steady_timer timer;
  bool woken = false;
};

// Any fixed start will do; a recognisable one helps when reading a timeline.
SimClock::SimClock() : start_(std::chrono::hours(1)), now_(start_) {}

WallTime SimClock::wall() const {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(now_ - start_);
  return WallTime(std::chrono::seconds(1'700'000'000)) + since;
}

Task<> SimClock::sleep_until(TimePoint when) {
  if (when <= now_) when = now_;
  const auto executor = co_await asio::this_coro::executor;
  const auto sleeper = std::make_shared<Sleeper>(executor);
  const auto place = sleepers_.emplace(when, sleeper);
  boost::system::error_code error;
  co_await sleeper->timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  if (!sleeper->woken) {
    sleepers_.erase(place);
    throw boost::system::system_error(asio::error::operation_aborted);
  }
}

bool SimClock::run(asio::io_context& io, Duration limit) {
  const TimePoint end = now_ + limit;
  for (;;) {
    io.restart();
    while (io.poll() > 0) {
    }
    if (sleepers_.empty()) return true;
    const auto first = sleepers_.begin();
    if (first->first > end) return false;
    now_ = first->first;
    const auto sleeper = first->second;
    sleepers_.erase(first);
    sleeper->woken = true;
    sleeper->timer.cancel();
  }
}

// steady_clock is CLOCK_MONOTONIC here.
Alarm::Alarm() : fd_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  if (!fd_) throw system_error(errno, "a timer could not be made");
}

void Alarm::set(TimePoint when) {
  const Duration since = std::max(when.time_since_epoch(), Duration(1));  // 0 would clear it
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(since);
  itimerspec spec{};
  spec.it_value = {static_cast<time_t>(whole.count()), static_cast<long>((since - whole).count())};
  CAPSIZE_CHECK(::timerfd_settime(fd_.get(), TFD_TIMER_ABSTIME, &spec, nullptr) == 0);
}

void Alarm::clear() {
  const itimerspec spec{};
  CAPSIZE_CHECK(::timerfd_settime(fd_.get(), 0, &spec, nullptr) == 0);
}

Duration thread_cpu_time() {
  timespec used{};
  CAPSIZE_CHECK(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Duration from_seconds(double value) { return Duration(std::llround(value * 1e9)); }

std::string iso8601(WallTime time) {
  const auto since = time.time_since_epoch();
  const auto whole = std::chrono::floor<std::chrono::seconds>(since);
  const auto rest = since - whole;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(whole.count())), rest.count());
}

}  // namespace capsize
