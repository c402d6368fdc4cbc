// Whose fault it was: the tester's, and what it lacked, or the system's.
#include "probes/health.h"

#include "injector/base/error.h"
#include "tests/probes/simulated_load.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

// Wakes when it is let.
class LatePace final : public Clock {
 public:
  LatePace(Clock& clock, std::function<TimePoint(TimePoint)> woken) : clock_(clock), woken_(std::move(woken)) {}
  TimePoint now() const override { return clock_.now(); }
  WallTime wall() const override { return clock_.wall(); }
  Task<> sleep_until(TimePoint when) override {
    co_await clock_.sleep_until(woken_(when));
  }

 private:
  Clock& clock_;
  std::function<TimePoint(TimePoint)> woken_;
};

// A thread that uses so much of a core all the time.
std::function<Duration()> using_of_a_core(const Clock& clock, double share) {
  return [&clock, share] { return std::chrono::duration_cast<Duration>(share * clock.now().time_since_epoch()); };
}

// The tester stands still from 2 s to 3 s of 10.
Seen held_up(double cpu) {
  SimClock clock;
  const TimePoint start = clock.now();
  LatePace pace(clock, [start](TimePoint when) { return when > start + 2s && when < start + 3s ? start + 3s : when; });
  Load load;
  load.pace = &pace;
  load.cpu_used = using_of_a_core(clock, cpu);
  return run_load(clock, load, [](const LoginAttempt&, TimePoint) { return Reply{}; });
}

}  // namespace

TEST_CASE("a tester that was late says for want of what: of its core, or of its turn", "[health][generator]") {
  const auto busy = generator_problem(held_up(0.98).all());
  REQUIRE(busy);
  CHECK(*busy == "98 of 1000 scheduled were sent more than 10ms late, or not at all: the load's thread used 98 % of a core then; give it more \"workers\" where there are cores, lower the rate, or let another machine send a part of it");
  const auto held = generator_problem(held_up(0.05).all());
  REQUIRE(held);
  CHECK(held->ends_with(": the load's thread used 5 % of a core then, and was not let run in time; end what else keeps this machine busy"));
}

TEST_CASE("windows that are closed at once, after the tester was held up, have the CPU of all that time", "[health][generator]") {
  const auto seen = held_up(0.05);
  REQUIRE(seen.windows.size() == 40);
  for (const Json& window : seen.windows) CHECK(window.at("tester").at("cpu").get<double>() == Approx(0.05));
  CHECK(generator_health(seen.all()).cpu.value() == Approx(0.05));
}

TEST_CASE("a slow system is not blamed on a busy tester that sent in time, and the busy tester is told", "[health][generator]") {
  SimClock clock;
  Load load;
  load.timeout = 500ms;
  load.cpu_used = using_of_a_core(clock, 0.95);
  const auto seen = run_load(clock, load, [](const LoginAttempt&, TimePoint) { return Reply{Answer::ok, 10s}; });
  CHECK(seen.value("timed_out") == 1000);
  CHECK(generator_problem(seen.all()) == std::nullopt);
  CHECK(generator_warning(seen.all()).value() == "for 10.0 s the load's thread used over 90 % of a core, and sent in time nevertheless; much more it cannot send");
}

TEST_CASE("a system that refuses, denies or breaks is no lack of the tester, and a calm tester is worth no word", "[health][generator]") {
  for (const Answer answer : {Answer::refused, Answer::denied, Answer::broken, Answer::timed_out}) {
    SimClock clock;
    Load load;
    load.cpu_used = using_of_a_core(clock, 0.5);
    const auto seen = run_load(clock, load, [answer](const LoginAttempt&, TimePoint) { return Reply{answer, 1ms}; });
    const GeneratorHealth health = generator_health(seen.all());
    CHECK(health.lacked + health.waited + health.late + health.not_sent == 0);
    CHECK(generator_problem(seen.all()) == std::nullopt);
    CHECK(generator_warning(seen.all()) == std::nullopt);
  }
}

TEST_CASE("what ran out is named, even where the thread was busy too, and it is not the system's failure", "[health][generator]") {
  SimClock clock;
  Load load;
  load.cpu_used = using_of_a_core(clock, 0.99);
  Rng rng(1);
  const auto seen = run_load(clock, load, [&rng](const LoginAttempt&, TimePoint) {
    if (rng.chance(0.05)) throw Error(ErrorKind::unavailable, "a socket could not be opened: Too many open files", "");
    return Reply{};
  });
  const auto problem = generator_problem(seen.all());
  REQUIRE(problem);
  CHECK(problem->find("were not sent in time: this machine lacked something: a socket could not be opened: Too many open files") != std::string::npos);
  CHECK(seen.value("success_ratio") == 1);
  CHECK(generator_warning(seen.all()) == std::nullopt);  // the problem says it
}

TEST_CASE("logins that waited for max_in_flight are not blamed on the machine", "[health][generator]") {
  SimClock clock;
  Load load;
  load.max_in_flight = 10;
  load.timeout = 1s;
  load.cpu_used = using_of_a_core(clock, 0.99);
  const auto seen = run_load(clock, load, [](const LoginAttempt&, TimePoint) { return Reply{Answer::ok, 990ms}; });
  CHECK(generator_health(seen.all()).waited > 800);
  CHECK(generator_problem(seen.all()).value().ends_with(": as many as max_in_flight were under way, and the rest waited for them; raise it"));
}

TEST_CASE("a few seconds at the limit are what most of a calm run does not hide", "[health]") {
  const auto window = [](double from, double cpu, Duration late) {
    LatencyHistogram send_late;
    for (int i = 0; i < 100; ++i) send_late.record(late);
    return Json({{"from", from}, {"to", from + 1}, {"scheduled", 100}, {"counts", {{"ok", 100}}}, {"send_late", send_late.to_json()}, {"tester", {{"cpu", cpu}}}});
  };
  std::vector<Json> windows;
  for (int i = 0; i < 10; ++i) windows.push_back(window(i, i < 9 ? 0.1 : 0.97, i < 9 ? 1ms : 30ms));
  std::vector<const Json*> all;
  for (const Json& one : windows) all.push_back(&one);
  CHECK(generator_health(all).cpu.value() == Approx(0.187));
  CHECK(generator_problem(all).value().find("used 97 % of a core then") != std::string::npos);
  all.pop_back();
  CHECK(generator_problem(all) == std::nullopt);
}

TEST_CASE("from send, a login takes what the system took of it, from its due time, the tester's lateness as well", "[health][generator]") {
  SimClock clock;
  LatePace pace(clock, [](TimePoint when) { return when + 30ms; });
  Load load;
  load.rate = Rate{10};
  load.timeout = 1s;
  load.pace = &pace;
  int login = 0;
  const auto seen = run_load(clock, load, [&login](const LoginAttempt&, TimePoint) { return Reply{Answer::ok, ++login == 50 ? 5s : Duration(4ms)}; });
  CHECK(seen.value("latency.p50") == Approx(0.034).epsilon(0.01));
  CHECK(seen.value("latency_from_send.p50") == Approx(0.004).epsilon(0.01));
  CHECK(measure_load("latency_from_send.p50", seen.all())->samples == measure_load("latency.p50", seen.all())->samples);
  CHECK(seen.value("latency.max") == Approx(1).epsilon(0.01));
  CHECK(seen.value("latency_from_send.max") == Approx(0.97).epsilon(0.01));
  CHECK(seen.value("send_late.p99") == Approx(0.03).epsilon(0.01));
}
