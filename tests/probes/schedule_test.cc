#include "probes/load/schedule.h"

#include <algorithm>
#include <cmath>
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

namespace {

LoadRate steps_up() { return LoadRate({{0s, 20, 0s}, {30s, 200, 10s}, {60s, 0, 0s}, {70s, 50, 5s}}); }

}  // namespace

TEST_CASE("a constant rate does not drift: after a milliard logins it is where it should be, to the nanosecond", "[schedule][arrivals]") {
  for (const double rate : {7.0, 333.0, 40'000.0}) {
    const Schedule schedule(Rate{rate}, 1, Share{}, Rng(1));
    for (const std::uint64_t login : {999'999'999ULL, 1'000'000'000ULL, 1'000'000'007ULL}) {
      const auto exactly = static_cast<std::int64_t>((static_cast<__int128>(login) * 1'000'000'000 + static_cast<__int128>(rate) / 2) / static_cast<__int128>(rate));
      CHECK(std::abs(schedule.due(login).count() - exactly) <= 1);
    }
  }
}

TEST_CASE("login i of a profile is due when its rate comes to i", "[schedule][arrivals]") {
  const Schedule schedule(steps_up(), 1, Share{}, Rng(1));
  CHECK(schedule.most_per_second() == 200);
  CHECK(schedule.due(0) == 0s);
  CHECK(schedule.due(599) == 29950ms);
  CHECK(schedule.due(600) == 30s);
  CHECK(schedule.due(1700) == 40s);        // the ramp has 1100
  CHECK(schedule.due(5699) == 59995ms);
  CHECK(schedule.due(5700) == 70s);        // not in the pause
  CHECK(schedule.due(5825) == 75s);
  CHECK(schedule.due(5875) == 76s);
  for (std::uint64_t i = 1; i < 6000; ++i) REQUIRE(schedule.due(i) > schedule.due(i - 1));
}

TEST_CASE("Poisson arrivals have exponential gaps: as many as the rate in the mean, and so many more or fewer as chance has it", "[schedule][arrivals]") {
  constexpr int kLogins = 100'000;
  const Schedule schedule(Rate{200}, 1, Share{}, Rng(11), Arrivals::poisson);
  std::vector<double> gaps;
  std::map<std::int64_t, int> in_second;
  Duration last{};
  for (int i = 0; i < kLogins; ++i) {
    const Duration due = schedule.due(static_cast<std::uint64_t>(i));
    REQUIRE(due >= last);
    gaps.push_back(seconds(due - last));
    ++in_second[due / 1s];
    last = due;
  }
  CHECK(seconds(last) == Approx(kLogins / 200.0).epsilon(4 / std::sqrt(kLogins)));
  // Kolmogorov and Smirnov, at 1 %.
  std::sort(gaps.begin(), gaps.end());
  double distance = 0;
  for (int i = 0; i < kLogins; ++i) {
    const double share = 1 - std::exp(-gaps[static_cast<std::size_t>(i)] * 200);
    distance = std::max({distance, share - i / double{kLogins}, (i + 1) / double{kLogins} - share});
  }
  CHECK(distance < 1.63 / std::sqrt(kLogins));
  // The number in a second: its variance is its mean.
  double sum = 0;
  double squares = 0;
  const int whole = static_cast<int>(last / 1s);
  for (int second = 0; second < whole; ++second) {
    sum += in_second[second];
    squares += double(in_second[second]) * in_second[second];
  }
  const double mean = sum / whole;
  CHECK(mean == Approx(200).epsilon(0.01));
  CHECK((squares / whole - mean * mean) / mean == Approx(1).margin(4 * std::sqrt(2.0 / whole)));
}

TEST_CASE("Poisson arrivals follow a profile, and pause where it does", "[schedule][arrivals]") {
  const LoadRate rate = steps_up();
  std::map<int, double> by_second;
  constexpr int kRuns = 200;
  for (int seed = 0; seed < kRuns; ++seed) {
    const Schedule schedule(rate, 1, Share{}, Rng(static_cast<std::uint64_t>(seed)), Arrivals::poisson);
    for (std::uint64_t i = 0; schedule.due(i) < 80s; ++i) ++by_second[static_cast<int>(schedule.due(i) / 1s)];
  }
  for (int second = 0; second < 80; ++second) {
    const double expected = rate.expected(second, second + 1) * kRuns;
    CHECK(std::abs(by_second[second] - expected) <= 4.5 * std::sqrt(expected));
  }
}

TEST_CASE("when a login is due does not depend on what was asked before, and one seed has one answer", "[schedule][arrivals]") {
  const Schedule rising(steps_up(), 10, Share{}, Rng(3), Arrivals::poisson);
  const Schedule same(steps_up(), 10, Share{}, Rng(3), Arrivals::poisson);
  const Schedule other(steps_up(), 10, Share{}, Rng(4), Arrivals::poisson);
  std::vector<Duration> due;
  for (std::uint64_t i = 0; i < 20'000; ++i) due.push_back(rising.due(i));
  CHECK(same.due(19'999) == due[19'999]);
  Rng rng(1);
  for (int n = 0; n < 2'000; ++n) {
    const std::uint64_t login = rng.below(20'000);
    REQUIRE(same.due(login) == due[login]);
  }
  for (std::uint64_t i = 20'000; i-- > 19'000;) CHECK(same.due(i) == due[i]);
  const Schedule copy = same;
  CHECK(copy.due(4711) == due[4711]);
  CHECK(other.due(4711) != due[4711]);
  CHECK(rising.user(5) == same.user(5));
}
