#include <sched.h>

#include "probes/load/spinning_clock.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

// Moves on by a microsecond each time it is looked at, and by all of it when slept on.
class LookedAt final : public Clock {
 public:
  TimePoint now() const override { return TimePoint(now_ += 1us); }
  WallTime wall() const override { return {}; }
  Task<> sleep_until(TimePoint when) override {
    slept_until = when;
    now_ = when.time_since_epoch();
    co_return;
  }
  std::optional<TimePoint> slept_until;

 private:
  mutable Duration now_{};
};

}  // namespace

TEST_CASE("the last stretch is spun, the rest is slept, and what is ready runs meanwhile", "[spinning]") {
  LookedAt clock;
  SpinningClock spinning(clock);
  asio::io_context io;
  bool done = false;
  int others = 0;
  asio::co_spawn(io, spinning.sleep_until(TimePoint(1ms)), [&done](std::exception_ptr error) { done = !error; });
  asio::post(io, [&] {
    CHECK_FALSE(done);
    ++others;
  });
  io.run();
  CHECK(done);
  CHECK(others == 1);
  CHECK(clock.slept_until == TimePoint(1ms - kSpinFor));
  CHECK(clock.now() < TimePoint(1ms + 5us));
}

TEST_CASE("what is due soon is not slept for at all, and what has passed returns at once", "[spinning]") {
  LookedAt clock;
  SpinningClock spinning(clock);
  asio::io_context io;
  asio::co_spawn(io, spinning.sleep_until(TimePoint(kSpinFor)), asio::detached);
  asio::co_spawn(io, spinning.sleep_until(TimePoint()), asio::detached);
  io.run();
  CHECK_FALSE(clock.slept_until.has_value());
}

TEST_CASE("spinning is worth it only as long as it stays a fraction of a core", "[spinning]") {
  CHECK_FALSE(worth_spinning(50'000));
  cpu_set_t cores;
  REQUIRE(::sched_getaffinity(0, sizeof cores, &cores) == 0);
  CHECK(worth_spinning(1000) == (CPU_COUNT(&cores) > 1));
}
