#include "experiments/lab/login_desk.h"

#include <boost/asio/co_spawn.hpp>
#include <catch2/catch.hpp>

using namespace capsize;
using namespace std::chrono_literals;

namespace {

// Logins at a desk in virtual time; each is told when it came and whether its client leaves.
class Day {
 public:
  explicit Day(LoginDeskOptions options) : desk(clock, accounts, options) {}

  struct Login {
    Duration done{};  // since the start
    DeskAnswer answer{};
  };

  std::size_t come(Duration at, std::string user, std::string password, std::optional<Duration> leaves = {}) {
    const std::size_t index = logins.size();
    logins.emplace_back();
    asio::co_spawn(io, visit(index, at, std::move(user), std::move(password), leaves), [](const std::exception_ptr& failed) {
      if (failed) std::rethrow_exception(failed);
    });
    return index;
  }

  void run() { REQUIRE(clock.run(io)); }

  SimClock clock;
  asio::io_context io;
  TimePoint start = clock.now();
  NumberedAccounts accounts{"user", 100};
  LoginDesk desk;
  std::vector<Login> logins;

 private:
  Task<> visit(std::size_t index, Duration at, std::string user, std::string password, std::optional<Duration> leaves) {
    co_await clock.sleep_until(start + at);
    const std::function<bool()> gone = [this, leaves] { return leaves && clock.now() >= start + *leaves; };
    const auto answer = co_await desk.login(user, password, gone);
    logins[index] = {clock.now() - start, answer};
  }
};

LoginDeskOptions ten_slots() { return {10, 100ms, false}; }

std::string user(int number) { return "user" + std::to_string(number); }
std::string password(int number) { return "pw" + std::to_string(number); }

}  // namespace

TEST_CASE("thirty logins at ten slots of 100 ms are done in three rounds, and all are let in") {
  Day day(ten_slots());
  for (int i = 1; i <= 30; ++i) day.come(0ms, user(i), password(i));
  day.run();
  for (std::size_t i = 0; i < 30; ++i) {
    CHECK(day.logins[i].done == 100ms * (1 + i / 10));
    CHECK(day.logins[i].answer == DeskAnswer::ok);
  }
  CHECK(day.desk.stats() == Json{{"busy", 0}, {"queued", 0}, {"max_queue", 20}, {"ok", 30}, {"denied", 0}, {"abandoned", 0}, {"unavailable", 0}});
}

TEST_CASE("logins are taken in the order in which they came") {
  Day day({1, 100ms, false});
  const std::size_t third = day.come(2ms, user(3), password(3));
  const std::size_t first = day.come(0ms, user(1), password(1));
  const std::size_t second = day.come(1ms, user(2), password(2));
  const std::size_t newcomer = day.come(100ms, user(4), password(4));  // as the slot changes hands
  day.run();
  CHECK(day.logins[first].done == 100ms);
  CHECK(day.logins[second].done == 200ms);
  CHECK(day.logins[third].done == 300ms);
  CHECK(day.logins[newcomer].done == 400ms);
}

TEST_CASE("a wrong password and an unknown user are denied after the same time as a good login") {
  Day day(ten_slots());
  day.come(0ms, user(1), password(2));
  day.come(0ms, "nobody", password(1));
  day.come(0ms, user(101), password(101));  // there are user1 to user100
  day.come(0ms, user(0), password(0));
  day.come(0ms, "user01", password(1));
  day.come(0ms, user(1), password(1));
  day.run();
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(day.logins[i].answer == DeskAnswer::denied);
    CHECK(day.logins[i].done == 100ms);
  }
  CHECK(day.logins[5].answer == DeskAnswer::ok);
  CHECK(day.desk.stats()["denied"] == 5);
}

TEST_CASE("a login whose client has gone is worked off all the same, and delays those behind it") {
  Day day({1, 100ms, false});
  day.come(0ms, user(1), password(1));
  const std::size_t gone = day.come(0ms, user(2), password(2), 50ms);
  const std::size_t behind = day.come(0ms, user(3), password(3));
  day.run();
  CHECK(day.logins[gone].answer == DeskAnswer::abandoned);
  CHECK(day.logins[behind].done == 300ms);
  CHECK(day.desk.stats()["abandoned"] == 1);
  CHECK(day.desk.stats()["ok"] == 2);
}

TEST_CASE("a desk that skips those who have gone takes the next at once") {
  Day day({1, 100ms, true});
  day.come(0ms, user(1), password(1));
  const std::size_t gone = day.come(0ms, user(2), password(2), 50ms);
  const std::size_t behind = day.come(0ms, user(3), password(3));
  day.run();
  CHECK(day.logins[gone].answer == DeskAnswer::abandoned);
  CHECK(day.logins[behind].done == 200ms);
}
