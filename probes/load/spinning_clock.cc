#include "probes/load/spinning_clock.h"

#include <sched.h>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace capsize {
namespace {

constexpr double kMostSpinning = 0.2;  // of a core

}  // namespace

int cores_of_this_process() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return ::sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

Task<> SpinningClock::sleep_until(TimePoint when) {
  const auto executor = co_await asio::this_coro::executor;
  if (when - kSpinFor > clock_.now()) {
    co_await clock_.sleep_until(when - kSpinFor);
  }
  while (clock_.now() < when) {
    co_await asio::post(executor, asio::use_awaitable);
  }
}

bool worth_spinning(double logins_per_second) { return cores_of_this_process() > 1 && logins_per_second * seconds(kSpinFor) <= kMostSpinning; }

}  // namespace capsize
