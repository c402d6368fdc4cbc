#include "probes/load/deadlines.h"

#include <boost/asio/steady_timer.hpp>
#include <stdexcept>

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

Task<int> fails(Clock& clock) {
  co_await clock.sleep(1ms);
  throw std::runtime_error("broken");
}

struct Outcome {
  std::optional<int> value;
  Duration at{};
  bool cancelled = false;
  bool threw = false;
};

Task<> limited(SimClock& clock, Deadlines& deadlines, Duration start, Duration takes, Duration limit, Outcome& out) {
  const TimePoint begin = clock.now();
  co_await clock.sleep(start);
  auto work = after(clock, takes, 7, out.cancelled);
  out.value = co_await deadlines.limit(begin + limit, std::move(work));
  out.at = clock.now() - begin;
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
  Deadlines deadlines(clock);
  int ended = 0;
  bool begun = false;
  for (int i = 0; i < 3; ++i) {
    const TimePoint when = clock.now() + 5us;
    asio::co_spawn(io, deadlines.limit(when, never_ends(begun)), [&ended](std::exception_ptr error, std::optional<int> value) { ended += !error && !value; });
  }
  io.run_for(20s);
  CHECK(ended == 3);
  CHECK_FALSE(begun);
}

TEST_CASE("work that is done in time has its result, work that is not is cancelled at its deadline", "[deadlines]") {
  SimClock clock;
  asio::io_context io;
  Deadlines deadlines(clock);
  struct Row {
    Duration start, takes, limit;
    std::optional<int> value;
    Duration at;
  };
  // Deadlines in no order, some sooner than the one being slept for, two at the same time.
  const std::vector<Row> rows = {{0ms, 5ms, 100ms, 7, 5ms},        {0ms, 500ms, 200ms, std::nullopt, 200ms}, {1ms, 500ms, 50ms, std::nullopt, 50ms},
                                 {2ms, 500ms, 50ms, std::nullopt, 50ms}, {3ms, 10ms, 13ms, 7, 13ms},       {60ms, 1ms, 300ms, 7, 61ms},
                                 {250ms, 5s, 400ms, std::nullopt, 400ms}};
  std::vector<Outcome> seen(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    asio::co_spawn(io, limited(clock, deadlines, rows[i].start, rows[i].takes, rows[i].limit, seen[i]), [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
  }
  clock.run(io);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    INFO(i);
    if (i != 4) CHECK(seen[i].value == rows[i].value);  // done exactly at its deadline: either is right
    CHECK(seen[i].at == rows[i].at);
    if (i != 4) CHECK(seen[i].cancelled == !rows[i].value.has_value());
  }
}

TEST_CASE("what the work throws comes through", "[deadlines]") {
  SimClock clock;
  asio::io_context io;
  Deadlines deadlines(clock);
  std::string what;
  asio::co_spawn(io, deadlines.limit(clock.now() + 1s, fails(clock)), [&what](std::exception_ptr error, std::optional<int>) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const std::runtime_error& problem) {
      what = problem.what();
    }
  });
  clock.run(io);
  CHECK(what == "broken");
}

TEST_CASE("at rest, nothing waits for a deadline that no longer matters", "[deadlines]") {
  SimClock clock;
  asio::io_context io;
  Deadlines deadlines(clock);
  const TimePoint start = clock.now();
  bool cancelled = false;
  asio::co_spawn(io, deadlines.limit(start + 1h, after(clock, 1s, 7, cancelled)), [&deadlines](std::exception_ptr, std::optional<int>) { deadlines.rest(); });
  CHECK(clock.run(io));
  CHECK(clock.now() - start == 1s);
  CHECK_FALSE(cancelled);
}
