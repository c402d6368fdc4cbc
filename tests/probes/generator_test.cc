#include "probes/load/generator.h"

#include "injector/base/error.h"
#include "probes/health.h"
#include "tests/probes/simulated_load.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

std::uint64_t sum_of(const Json& counts) {
  std::uint64_t out = 0;
  for (const auto& [answer, count] : counts.items()) out += count.get<std::uint64_t>();
  return out;
}

std::uint64_t scheduled(const Seen& seen) {
  std::uint64_t out = 0;
  for (const Json& window : seen.windows) out += window.at("scheduled").get<std::uint64_t>();
  return out;
}

}  // namespace

TEST_CASE("a stall cannot hide: p95, p99 and max of a service that stood still for 1 of 10 seconds are the analytic ones", "[generator]") {
  SimClock clock;
  const TimePoint start = clock.now();
  const auto seen = run_load(clock, {}, [start](const LoginAttempt&, TimePoint now) {
    const bool stalled = now >= start + 4s && now < start + 5s;
    return Reply{Answer::ok, stalled ? start + 5s - now + 1ms : 1ms};
  });
  REQUIRE(seen.ended);
  CHECK(scheduled(seen) == 1000);
  CHECK(seen.value("success_ratio") == 1);
  CHECK(seen.value("latency.p50") == Approx(0.001).epsilon(0.01));
  CHECK(seen.value("latency.p90") < 0.02);
  CHECK(seen.value("latency.p99") == Approx(0.901).epsilon(0.012));  // 10 % are delayed by U(0,1) s
  CHECK(seen.value("latency.max") == Approx(1.001).epsilon(0.01));
  CHECK(measure_load("latency.p99", seen.all())->samples == 1000);
}

TEST_CASE("with a deadline, exactly the logins due too early in a stall time out, and count at their timeout", "[generator]") {
  SimClock clock;
  const TimePoint start = clock.now();
  Load load;
  load.timeout = 1s;
  const auto seen = run_load(clock, load, [start](const LoginAttempt&, TimePoint now) {
    const bool stalled = now >= start + 4s && now < start + 6s;
    return Reply{Answer::ok, stalled ? start + 6s - now : 1ms};
  });
  CHECK(seen.value("timed_out") == 100);  // due from 4.00 to 4.99 s; the one due at 5 s is answered at its deadline, just in time
  CHECK(seen.value("success_ratio") == 0.9);
  CHECK(seen.value("latency.max") == Approx(1.0).epsilon(0.01));
}

TEST_CASE("every scheduled login ends in exactly one bucket, whatever the answers", "[generator]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SimClock clock;
    Rng rng(seed);
    Load load;
    load.rate = Rate{1 + static_cast<double>(rng.below(500))};
    load.timeout = 1ms * static_cast<int>(1 + rng.below(3000));
    load.wrong_password_share = Share{rng.uniform()};
    load.max_in_flight = 1 + rng.below(200);
    load.lasts = 1ms * static_cast<int>(rng.below(5000));
    load.seed = seed;
    const auto seen = run_load(clock, load, [&rng](const LoginAttempt&, TimePoint) -> Reply {
      if (rng.chance(0.01)) throw Error(ErrorKind::unavailable, "no file descriptors");
      return {static_cast<Answer>(rng.below(kAnswerNames.size())), 1ms * static_cast<int>(rng.below(2000))};
    });
    INFO("seed " << seed);
    REQUIRE(seen.ended);
    const Schedule schedule(load.rate, load.users, load.wrong_password_share, Rng(load.seed));
    std::uint64_t due = 0;
    while (schedule.due(due) < load.lasts) ++due;
    CHECK(scheduled(seen) == due);
    double to = 0;
    for (const Json& window : seen.windows) {
      REQUIRE(sum_of(window.at("counts")) == window.at("scheduled"));
      REQUIRE(window.at("from") == to);  // in order, disjoint, without a gap
      to = window.at("to");
      REQUIRE(LatencyHistogram::from_json(window.at("send_late")).count() >= window.at("counts").value("not_sent", std::uint64_t{0}));
    }
    CHECK(to == Approx(seconds(load.lasts)));
    CHECK(seen.most_under_way <= load.max_in_flight);
  }
}

TEST_CASE("logins beyond the most in flight wait, and those whose time runs out were not sent: the tester's failure", "[generator]") {
  SimClock clock;
  Load load;
  load.max_in_flight = 10;  // of 100/s that take 1 s each: a tenth can be sent
  load.timeout = 1s;
  const auto seen = run_load(clock, load, [](const LoginAttempt&, TimePoint) { return Reply{Answer::ok, 990ms}; });
  CHECK(scheduled(seen) == 1000);
  CHECK(seen.value("not_sent") > 800);
  CHECK(seen.most_under_way == 10);
  // Those that were sent late ran out of time; nothing of it is the system's success or failure beyond what was sent.
  CHECK(measure_load("success_ratio", seen.all())->samples == 1000 - static_cast<std::uint64_t>(seen.value("not_sent")));
  const GeneratorHealth health = generator_health(seen.all());
  CHECK(health.not_sent == static_cast<std::uint64_t>(seen.value("not_sent")));
  CHECK(health.send_late_p99 == Approx(1.0).epsilon(0.01));
  CHECK(generator_problem(seen.all()).value().find("not sent in time") != std::string::npos);
}

TEST_CASE("a generator that keeps up is healthy, one that sends late is not, and no windows are no problem", "[generator]") {
  SimClock clock;
  const auto seen = run_load(clock, {}, [](const LoginAttempt&, TimePoint) { return Reply{}; });
  CHECK(generator_health(seen.all()).late == 0);
  CHECK(generator_problem(seen.all()) == std::nullopt);
  CHECK(generator_problem({}) == std::nullopt);
  LatencyHistogram late;
  for (int i = 0; i < 94; ++i) late.record(1ms);
  for (int i = 0; i < 6; ++i) late.record(20ms);
  Json window = {{"scheduled", 100}, {"counts", {{"ok", 100}}}, {"send_late", late.to_json()}};
  CHECK(generator_health({&window}).late == 6);
  CHECK(generator_problem({&window}).value().find("6 of 100 scheduled were sent more than 10ms late") == 0);
}

TEST_CASE("windows are handed over in order and complete, so a slow login holds back those after it", "[generator]") {
  SimClock clock;
  const TimePoint start = clock.now();
  std::vector<double> handed_over_at;
  asio::io_context io;
  FakeTransport transport(clock, [start](const LoginAttempt& attempt, TimePoint) { return Reply{Answer::ok, attempt.due == start + 100ms ? 800ms : 1ms}; });
  const LoadPlan plan{Schedule(Rate{10}, 5, Share{}, Rng(1)), Credentials{}, 1s, 100};
  Generator generator(clock, plan, transport, start, [&](const LoadWindow&) { handed_over_at.push_back(seconds(clock.now() - start)); });
  asio::co_spawn(io, stop_at(clock, generator, start + 1500ms), asio::detached);
  asio::co_spawn(io, generator.run(), asio::detached);
  clock.run(io);
  CHECK(handed_over_at == std::vector<double>{0.9, 0.9, 0.9, 1.0, 1.25, 1.5});
}

TEST_CASE("a window says who was tried with the right password, and who never got in", "[generator]") {
  SimClock clock;
  Load load;
  load.users = 4;
  load.rate = Rate{200};
  load.wrong_password_share = Share{0.25};
  load.lasts = 2s;
  const auto seen = run_load(clock, load, [](const LoginAttempt& attempt, TimePoint) {
    if (attempt.wrong_password) return Reply{Answer::rejected_rightly, 1ms};
    return Reply{attempt.user == "user3" ? Answer::denied : Answer::ok, 1ms};
  });
  CHECK(seen.windows[0].at("users") == Json({{"ok", {1, 2, 4}}, {"failed", {3}}}));
  CHECK(seen.value("users_affected") == 0.25);
  CHECK(seen.value("rejected_rightly") == 100);
  CHECK(measure_load("success_ratio", seen.all())->samples == 300);
  CHECK(seen.value("success_ratio") == Approx(1 - seen.value("denied") / 300));
  // Fast failures do not look like fast logins.
  CHECK(measure_load("latency.p50", seen.all())->samples == 300 - static_cast<std::uint64_t>(seen.value("denied")));
  CHECK(seen.value("rate") == Approx((300 - seen.value("denied")) / 2));
}

TEST_CASE("user N logs in with password N, a wrong password has nothing of the right one, and one account replaces both prefixes", "[generator]") {
  const Schedule half_wrong(Rate{1}, 1, Share{0.5}, Rng(1));
  LoadPlan plan{half_wrong, Credentials{}, 1s, 1};
  const std::uint64_t right = half_wrong.wrong_password(0) ? 1 : 0;
  const LoginAttempt good = plan.attempt(right, TimePoint(5s));
  CHECK(good.user == "user1");
  CHECK(good.password == "pw1");
  CHECK(good.due == TimePoint(5s) + half_wrong.due(right));
  CHECK(good.deadline == good.due + 1s);
  plan.credentials.user = "ann";
  plan.credentials.password = "hunter2";
  CHECK(plan.attempt(right, TimePoint()).user == "ann");
  CHECK(plan.attempt(right, TimePoint()).password == "hunter2");
  const LoginAttempt bad = plan.attempt(1 - right, TimePoint());
  CHECK(bad.wrong_password);
  CHECK(bad.password.find("hunter2") == std::string::npos);
}

TEST_CASE("an answer seen only after the deadline came too late", "[generator]") {
  SimClock clock;
  Load load;
  load.timeout = 100ms;
  load.lasts = 1s;
  class Overdue final : public LoginTransport {
   public:
    explicit Overdue(Clock& of) : clock(of) {}
    Task<Answer> attempt(LoginAttempt attempt) override {
      co_await clock.sleep_until(attempt.deadline + 1ms);
      co_return Answer::ok;
    }
    Clock& clock;
  } transport(clock);
  asio::io_context io;
  std::vector<Json> windows;
  Generator generator(clock, {Schedule(Rate{10}, 1, Share{}, Rng(1)), Credentials{}, 100ms, 10}, transport, clock.now(),
                      [&](const LoadWindow& window) { windows.push_back(to_json(window)); });
  asio::co_spawn(io, stop_at(clock, generator, clock.now() + 250ms), asio::detached);
  asio::co_spawn(io, generator.run(), asio::detached);
  clock.run(io);
  REQUIRE(windows.size() == 1);
  CHECK(windows[0].at("counts") == Json({{"timed_out", 3}}));
}

TEST_CASE("what the tester lacks is named in the window, and is not the system's failure", "[generator]") {
  SimClock clock;
  Load load;
  load.lasts = 250ms;
  const auto seen = run_load(clock, load, [](const LoginAttempt&, TimePoint) -> Reply { throw Error(ErrorKind::unavailable, "too many open files"); });
  REQUIRE(seen.windows.size() == 1);
  CHECK(seen.windows[0].at("counts") == Json({{"not_sent", 25}}));
  CHECK(seen.windows[0].at("problem") == "too many open files");
  CHECK(seen.windows[0].at("tester") == Json({{"lacked", 25}}));
  CHECK(measure_load("success_ratio", seen.all()) == std::nullopt);
  CHECK(generator_problem(seen.all()).value() == "25 of 25 scheduled were not sent in time: this machine lacked something: too many open files");
}

TEST_CASE("the same seed gives the same windows, byte for byte", "[generator]") {
  const auto once = [] {
    SimClock clock;
    Rng rng(3);
    Load load;
    load.lasts = 2s;
    return run_load(clock, load, [&rng](const LoginAttempt&, TimePoint) { return Reply{rng.chance(0.1) ? Answer::broken : Answer::ok, 1ms * static_cast<int>(rng.below(300))}; });
  };
  CHECK(Json(once().windows).dump() == Json(once().windows).dump());
}

TEST_CASE("a lowered load is a part of the same schedule, spread evenly, and its every login is accounted for", "[generator]") {
  for (const double share : {0.8, 0.5, 0.2, 0.05}) {
    SimClock clock;
    Load load;
    load.rate = Rate{200};
    load.lasts = 30s;
    load.wrong_password_share = Share{0.05};
    load.shares = {{10s, share}, {20s, 1}};
    const TimePoint start = clock.now();
    std::vector<Duration> due;
    const auto seen = run_load(clock, load, [&](const LoginAttempt& attempt, TimePoint) {
      if (attempt.due >= start + 10s && attempt.due < start + 20s) due.push_back(attempt.due - start);
      return Reply{};
    });
    INFO(share);
    REQUIRE(seen.ended);
    const auto between = [&](double from, double to) {
      std::uint64_t out = 0;
      for (const Json& window : seen.windows) out += window["from"].get<double>() >= from && window["from"].get<double>() < to ? window["scheduled"].get<std::uint64_t>() : 0;
      return out;
    };
    CHECK(between(0, 10) == 2000);
    CHECK(std::abs(static_cast<double>(between(10, 20)) - share * 2000) <= 3);
    CHECK(between(20, 30) == 2000);
    double to = 0;
    std::uint64_t wrong = 0;
    for (const Json& window : seen.windows) {
      REQUIRE(sum_of(window.at("counts")) == window.at("scheduled"));
      REQUIRE(window.at("from") == to);
      to = window.at("to");
      if (window["from"] >= 10 && window["from"] < 20) wrong += sum_of(window.at("wrong_password"));
    }
    CHECK(std::abs(static_cast<double>(wrong) - 0.05 * share * 2000) <= 5);  // no more, and no fewer, than of all
    REQUIRE(due.size() > 2);
    Duration longest{};
    for (std::size_t i = 1; i < due.size(); ++i) {
      CHECK(due[i].count() % Duration(5ms).count() == 0);  // where the schedule has it
      longest = std::max(longest, due[i] - due[i - 1]);
    }
    CHECK(seconds(longest) <= 3 * 0.005 / share);
  }
}
