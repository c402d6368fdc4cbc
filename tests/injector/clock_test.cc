#include "injector/base/clock.h"

#include <poll.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>

using namespace capsize;
using namespace std::chrono_literals;

namespace {

Task<> note_after(SimClock& clock, Duration wait, std::string name, std::vector<std::string>& log) {
  co_await clock.sleep(wait);
  log.push_back(name);
}

Task<> note_twice(SimClock& clock, Duration wait, std::string name, std::vector<std::string>& log) {
  co_await note_after(clock, wait, name + "1", log);
  co_await note_after(clock, wait, name + "2", log);
}

}  // namespace

TEST_CASE("virtual time wakes sleepers in the order of their time, and takes none of ours", "[clock]") {
  asio::io_context io;
  SimClock clock;
  const TimePoint start = clock.now();
  std::vector<std::string> log;
  asio::co_spawn(io, note_after(clock, 3h, "late", log), asio::detached);
  asio::co_spawn(io, note_twice(clock, 1h, "b", log), asio::detached);
  asio::co_spawn(io, note_after(clock, 30min, "early", log), asio::detached);
  asio::co_spawn(io, note_after(clock, 0s, "now", log), asio::detached);
  CHECK(clock.run(io));
  CHECK(log == std::vector<std::string>{"now", "early", "b1", "b2", "late"});
  CHECK(clock.now() - start == 3h);
}

TEST_CASE("sleepers of one time wake in the order in which they lay down", "[clock]") {
  asio::io_context io;
  SimClock clock;
  std::vector<std::string> log;
  for (const char* name : {"1", "2", "3", "4"}) asio::co_spawn(io, note_after(clock, 1s, name, log), asio::detached);
  CHECK(clock.run(io));
  CHECK(log == std::vector<std::string>{"1", "2", "3", "4"});
}

TEST_CASE("virtual time stops at its limit, and goes on from there", "[clock]") {
  asio::io_context io;
  SimClock clock;
  std::vector<std::string> log;
  asio::co_spawn(io, note_twice(clock, 10s, "a", log), asio::detached);
  CHECK(!clock.run(io, 15s));
  CHECK(log == std::vector<std::string>{"a1"});
  CHECK(clock.run(io));
  CHECK(log == std::vector<std::string>{"a1", "a2"});
}

TEST_CASE("a cancelled sleeper says so, and time does not wait for it", "[clock]") {
  asio::io_context io;
  SimClock clock;
  asio::cancellation_signal stop;
  std::exception_ptr problem;
  asio::co_spawn(io, clock.sleep(1h), asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr error) { problem = error; }));
  io.poll();
  stop.emit(asio::cancellation_type::terminal);
  const TimePoint before = clock.now();
  CHECK(clock.run(io));
  CHECK(clock.now() == before);
  REQUIRE(problem);
  try {
    std::rethrow_exception(problem);
  } catch (const boost::system::system_error& error) {
    CHECK(error.code() == asio::error::operation_aborted);
  }
}

TEST_CASE("the wall clock of virtual time moves with it, and is printed for people", "[clock]") {
  asio::io_context io;
  SimClock clock;
  CHECK(iso8601(clock.wall()) == "2023-11-14T22:13:20.000Z");
  std::vector<std::string> log;
  asio::co_spawn(io, note_after(clock, 1250ms, "x", log), asio::detached);
  clock.run(io);
  CHECK(iso8601(clock.wall()) == "2023-11-14T22:13:21.250Z");
  CHECK(seconds(1500ms) == 1.5);
  CHECK(from_seconds(0.25) == 250ms);
}

TEST_CASE("an alarm for a time that has passed is there at once, and a later or cleared one is not", "[clock]") {
  SystemClock clock;
  Alarm alarm;
  const auto rings = [&] {
    pollfd source{alarm.fd(), POLLIN, 0};
    return ::poll(&source, 1, 0) == 1;
  };
  CHECK_FALSE(rings());
  alarm.set(clock.now() - 1s);
  CHECK(rings());
  alarm.set(clock.now() + 1h);
  CHECK_FALSE(rings());
  alarm.set(TimePoint{});
  CHECK(rings());
  alarm.clear();
  CHECK_FALSE(rings());
}
