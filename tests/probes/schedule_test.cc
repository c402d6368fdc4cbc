#include "probes/load/schedule.h"

#include <map>

using namespace capsize;
using namespace std::chrono_literals;

TEST_CASE("login i is due at i over rate, however many there were before", "[schedule]") {
  const Schedule schedule(Rate{3}, 10, Share{}, Rng(1));
  CHECK(schedule.due(0) == 0s);
  CHECK(schedule.due(1) == 333333333ns);
  CHECK(schedule.due(3) == 1s);
  CHECK(schedule.due(3'000'000'000) == 1'000'000'000s);
}

TEST_CASE("one seed gives one schedule, another seed another", "[schedule]") {
  const Schedule a(Rate{100}, 1000, Share{0.1}, Rng(1));
  const Schedule b(Rate{100}, 1000, Share{0.1}, Rng(1));
  const Schedule c(Rate{100}, 1000, Share{0.1}, Rng(2));
  int differ = 0;
  for (std::uint64_t i = 0; i < 100; ++i) {
    CHECK(a.user(i) == b.user(i));
    CHECK(a.wrong_password(i) == b.wrong_password(i));
    differ += a.user(i) != c.user(i) ? 1 : 0;
  }
  CHECK(differ > 90);
}

TEST_CASE("each user logs in about as often as any other, and none outside 1 to users", "[schedule]") {
  const Schedule schedule(Rate{100}, 10, Share{}, Rng(5));
  std::map<std::uint64_t, int> logins;
  for (std::uint64_t i = 0; i < 10'000; ++i) ++logins[schedule.user(i)];
  REQUIRE(logins.size() == 10);
  CHECK(logins.begin()->first == 1);
  CHECK(logins.rbegin()->first == 10);
  for (const auto& [user, count] : logins) CHECK(std::abs(count - 1000) < 130);  // 4 standard deviations
}

TEST_CASE("no user meets the same server each time round a balancer of three", "[schedule]") {
  const Schedule schedule(Rate{100}, 99, Share{}, Rng(5));
  std::map<std::uint64_t, std::map<std::uint64_t, int>> servers_of;
  for (std::uint64_t i = 0; i < 9'900; ++i) ++servers_of[schedule.user(i)][i % 3];
  for (const auto& [user, servers] : servers_of) CHECK(servers.size() == 3);
}

TEST_CASE("wrong passwords are spread evenly: any run of logins has its share, rounded up or down", "[schedule]") {
  const double share = GENERATE(0.0, 0.01, 0.05, 0.3333, 0.5, 0.9, 1.0);
  const Schedule schedule(Rate{100}, 10, Share{share}, Rng(9));
  for (std::uint64_t from = 0; from < 200; from += 7) {
    double wrong = 0;
    for (std::uint64_t n = 1; n <= 400; ++n) {
      wrong += schedule.wrong_password(from + n - 1) ? 1 : 0;
      REQUIRE(std::abs(wrong - share * static_cast<double>(n)) < 1.0 + 1e-6);
    }
  }
}
