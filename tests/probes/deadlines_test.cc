#include "probes/load/deadlines.h"

#include <array>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>

using namespace capsize;
using namespace std::chrono_literals;

namespace {

Task<int> after(Clock& clock, Duration how_long, int value, bool& cancelled) {
  try {
    co_await clock.sleep(how_long);
  } catch (const boost::system::system_error&) {
    cancelled = true;
    throw;
  }
  co_return value;
}

struct Outcome {
  std::optional<int> value;
  Duration at{};
  bool cancelled = false;
  asio::cancellation_signal stop;  // of the coroutine that works
};

Task<> limited(Clock& clock, Deadlines& deadlines, TimePoint when, Task<int> work, Outcome& out) {
  const TimePoint begin = clock.now();
  Deadlines::Watch watch(deadlines, when, out.stop);
  try {
    const int value = co_await std::move(work);
    out.value = value;
  } catch (const boost::system::system_error&) {
    if (!watch.passed()) throw;
  }
  co_await asio::this_coro::reset_cancellation_state();
  out.at = clock.now() - begin;
}

Task<> limited_from(SimClock& clock, Deadlines& deadlines, Duration start, Duration takes, Duration limit, Outcome& out) {
  const TimePoint begin = clock.now();
  co_await clock.sleep(start);
  auto work = after(clock, takes, 7, out.cancelled);
  co_await limited(clock, deadlines, begin + limit, std::move(work), out);
  out.at += start;
}

template <class Done>
void spawn(asio::io_context& io, Outcome& out, Task<> work, Done done) {
  asio::co_spawn(io, std::move(work), asio::bind_cancellation_slot(out.stop.slot(), [done](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
    done();
  }));
}

// Moves on by 10 us each time it is looked at.
class MovesOn final : public Clock {
 public:
  TimePoint now() const override { return TimePoint(now_ += 10us); }
  WallTime wall() const override { return {}; }
  Task<> sleep_until(TimePoint when) override {
    now_ = std::max(now_, when.time_since_epoch());
    co_return;
  }

 private:
  mutable Duration now_{};
};

Task<int> never_ends(bool& begun) {
  begun = true;
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, asio::steady_timer::time_point::max());
  co_await timer.async_wait(asio::use_awaitable);
  co_return 1;
}

}  // namespace

TEST_CASE("a deadline that passes while it is being entered ends the work before it begins, and the next one is watched", "[deadlines]") {
  MovesOn clock;
  asio::io_context io;
  Deadlines deadlines(clock, io.get_executor());
  int ended = 0;
  bool begun = false;
  std::array<Outcome, 3> seen;
  for (Outcome& out : seen) spawn(io, out, limited(clock, deadlines, clock.now() + 5us, never_ends(begun), out), [&ended] { ++ended; });
  io.run_for(20s);
  CHECK(ended == 3);
  CHECK_FALSE(begun);
  for (const Outcome& out : seen) CHECK_FALSE(out.value);
}

TEST_CASE("work that is done in time has its result, work that is not is cancelled at its deadline", "[deadlines]") {
  SimClock clock;
  asio::io_context io;
  Deadlines deadlines(clock, io.get_executor());
  struct Row {
    Duration start, takes, limit;
    std::optional<int> value;
    Duration at;
  };
  // Deadlines in no order, some sooner than the one being slept for, two at the same time.
  const std::vector<Row> rows = {{0ms, 5ms, 100ms, 7, 5ms},        {0ms, 500ms, 200ms, std::nullopt, 200ms}, {1ms, 500ms, 50ms, std::nullopt, 50ms},
                                 {2ms, 500ms, 50ms, std::nullopt, 50ms}, {3ms, 10ms, 13ms, 7, 13ms},       {60ms, 1ms, 300ms, 7, 61ms},
                                 {250ms, 5s, 400ms, std::nullopt, 400ms}};
  std::deque<Outcome> seen(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) spawn(io, seen[i], limited_from(clock, deadlines, rows[i].start, rows[i].takes, rows[i].limit, seen[i]), [] {});
  clock.run(io);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    INFO(i);
    if (i != 4) CHECK(seen[i].value == rows[i].value);  // done exactly at its deadline: either is right
    CHECK(seen[i].at == rows[i].at);
    if (i != 4) CHECK(seen[i].cancelled == !rows[i].value.has_value());
  }
}

TEST_CASE("at rest, nothing waits for a deadline that no longer matters", "[deadlines]") {
  SimClock clock;
  asio::io_context io;
  Deadlines deadlines(clock, io.get_executor());
  const TimePoint start = clock.now();
  Outcome out;
  spawn(io, out, limited_from(clock, deadlines, 0s, 1s, 1h, out), [&deadlines] { deadlines.rest(); });
  CHECK(clock.run(io));
  CHECK(clock.now() - start == 1s);
  CHECK_FALSE(out.cancelled);
}
