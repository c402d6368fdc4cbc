#include "injector/base/within.h"

#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>

using namespace capsize;
using namespace std::chrono_literals;

namespace {

struct Seen {
  std::optional<int> value;
  bool timed_out = false;
  bool cancelled = false;
  bool work_cancelled = false;
  std::string thrown;
  TimePoint ended{};
};

Task<int> answer_after(SimClock& clock, Duration wait, Seen& seen) {
  std::exception_ptr problem;
  try {
    co_await clock.sleep(wait);
  } catch (const boost::system::system_error&) {
    seen.work_cancelled = true;
    problem = std::current_exception();
  }
  if (problem) std::rethrow_exception(problem);
  co_return 42;
}

Task<int> throw_after(SimClock& clock, Duration wait) {
  co_await clock.sleep(wait);
  throw std::runtime_error("no");
}

Task<> nothing_after(SimClock& clock, Duration wait) {
  co_await clock.sleep(wait);
}

Task<> watch(SimClock& clock, Duration limit, Task<int> work, Seen& seen) {
  try {
    const auto value = co_await within(clock, limit, std::move(work));
    seen.value = value;
    seen.timed_out = !value;
  } catch (const boost::system::system_error& error) {
    seen.cancelled = error.code() == asio::error::operation_aborted;
  } catch (const std::exception& error) {
    seen.thrown = error.what();
  }
  seen.ended = clock.now();
}

Task<> watch_nothing(SimClock& clock, Duration limit, Duration wait, bool& in_time) {
  Task<> work = nothing_after(clock, wait);
  const auto done = co_await within(clock, limit, std::move(work));
  in_time = done.has_value();
}

}  // namespace

TEST_CASE("work that ends in time gives its result, and nobody waits for the limit", "[within]") {
  asio::io_context io;
  SimClock clock;
  const TimePoint start = clock.now();
  Seen seen;
  asio::co_spawn(io, watch(clock, 10s, answer_after(clock, 3s, seen), seen), asio::detached);
  CHECK(clock.run(io));
  CHECK(seen.value == 42);
  CHECK(seen.ended - start == 3s);
  CHECK(clock.now() - start == 3s);
}

TEST_CASE("work that does not end in time is cancelled, and there is no result", "[within]") {
  asio::io_context io;
  SimClock clock;
  const TimePoint start = clock.now();
  Seen seen;
  asio::co_spawn(io, watch(clock, 10s, answer_after(clock, 1h, seen), seen), asio::detached);
  CHECK(clock.run(io));
  CHECK(seen.timed_out);
  CHECK(seen.work_cancelled);
  CHECK(clock.now() - start == 10s);
}

TEST_CASE("what the work throws is thrown here", "[within]") {
  asio::io_context io;
  SimClock clock;
  Seen seen;
  asio::co_spawn(io, watch(clock, 10s, throw_after(clock, 1s), seen), asio::detached);
  CHECK(clock.run(io));
  CHECK(seen.thrown == "no");
  CHECK(!seen.timed_out);
}

TEST_CASE("cancelling the caller cancels the work, and waits for its end", "[within]") {
  asio::io_context io;
  SimClock clock;
  const TimePoint start = clock.now();
  Seen seen;
  asio::cancellation_signal stop;
  asio::co_spawn(io, watch(clock, 10s, answer_after(clock, 5s, seen), seen), asio::bind_cancellation_slot(stop.slot(), asio::detached));
  CHECK(!clock.run(io, 2s));
  stop.emit(asio::cancellation_type::terminal);
  CHECK(clock.run(io));
  CHECK(seen.cancelled);
  CHECK(seen.work_cancelled);
  CHECK(!seen.value);
  CHECK(clock.now() - start < 5s);
}

TEST_CASE("work without a result says whether it ended", "[within]") {
  asio::io_context io;
  SimClock clock;
  bool in_time = false;
  asio::co_spawn(io, watch_nothing(clock, 10s, 1s, in_time), asio::detached);
  CHECK(clock.run(io));
  CHECK(in_time);
  asio::co_spawn(io, watch_nothing(clock, 1s, 10s, in_time), asio::detached);
  CHECK(clock.run(io));
  CHECK(!in_time);
}

TEST_CASE("work that is already done needs no time at all", "[within]") {
  asio::io_context io;
  SimClock clock;
  Seen seen;
  asio::co_spawn(io, watch(clock, 0s, answer_after(clock, 0s, seen), seen), asio::detached);
  CHECK(clock.run(io));
  CHECK((seen.value == 42 || seen.timed_out));
}
