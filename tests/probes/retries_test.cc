#include "probes/load/retries.h"

#include "injector/base/error.h"
#include "tests/probes/simulated_load.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

Retries retries(RetryPolicy policy) {
  Retries out;
  out.policy = policy;
  out.most = 3;
  out.pause = 100ms;
  out.longest_pause = 300ms;
  return out;
}

std::uint64_t attempts(const Seen& seen, const char* answer) {
  std::uint64_t out = 0;
  for (const Json& window : seen.windows) {
    if (window.contains("attempts")) out += window.at("attempts").value(answer, std::uint64_t{0});
  }
  return out;
}

}  // namespace

TEST_CASE("what failed is tried again, what succeeded or was rightly refused is not", "[retries]") {
  const Retries fixed = retries(RetryPolicy::fixed);
  for (const Answer answer : {Answer::denied, Answer::refused, Answer::timed_out, Answer::broken}) {
    INFO(to_string(answer));
    CHECK(fixed.again(answer, 1));
    CHECK(fixed.again(answer, 3));
    CHECK_FALSE(fixed.again(answer, 4));  // one attempt and three retries
    CHECK_FALSE(Retries{}.again(answer, 1));
  }
  for (const Answer answer : {Answer::ok, Answer::wrongly_accepted, Answer::rejected_rightly}) CHECK_FALSE(fixed.again(answer, 1));
}

TEST_CASE("fixed pauses are all the same, exponential ones double up to the longest", "[retries]") {
  const Retries fixed = retries(RetryPolicy::fixed);
  const Retries exponential = retries(RetryPolicy::exponential);
  CHECK(fixed.pause_after(1, 7) == 100ms);
  CHECK(fixed.pause_after(3, 8) == 100ms);
  CHECK(exponential.pause_after(1, 7) == 100ms);
  CHECK(exponential.pause_after(2, 7) == 200ms);
  CHECK(exponential.pause_after(3, 7) == 300ms);
  CHECK(exponential.pause_after(1000, 7) == 300ms);
}

TEST_CASE("jitter cuts a pause by up to its share, differently for each login and attempt, and the same again for the same key", "[retries]") {
  Retries jittered = retries(RetryPolicy::fixed);
  jittered.jitter = Share{0.5};
  jittered.key = 5;
  Duration sum = Duration::zero();
  int same_as_before = 0;
  for (std::uint64_t login = 0; login < 1000; ++login) {
    const Duration pause = jittered.pause_after(1, login);
    REQUIRE(pause > 50ms);
    REQUIRE(pause <= 100ms);
    CHECK(jittered.pause_after(1, login) == pause);
    same_as_before += jittered.pause_after(2, login) == pause ? 1 : 0;
    sum += pause;
  }
  CHECK(same_as_before == 0);
  CHECK(seconds(sum) / 1000 == Approx(0.075).epsilon(0.03));
}

TEST_CASE("an attempt ends by its own limit, or by the login's if that is sooner", "[retries]") {
  Retries fixed = retries(RetryPolicy::fixed);
  CHECK(fixed.attempt_deadline(TimePoint(1s), TimePoint(9s)) == TimePoint(9s));
  fixed.attempt_timeout = 2s;
  CHECK(fixed.attempt_deadline(TimePoint(1s), TimePoint(9s)) == TimePoint(3s));
  CHECK(fixed.attempt_deadline(TimePoint(8s), TimePoint(9s)) == TimePoint(9s));
  fixed.policy = RetryPolicy::none;
  CHECK(fixed.attempt_deadline(TimePoint(1s), TimePoint(9s)) == TimePoint(9s));
}

TEST_CASE("logins and attempts are counted apart: a service that refuses each first try", "[retries]") {
  SimClock clock;
  Load load;
  load.retries = retries(RetryPolicy::fixed);
  const auto seen = run_load(clock, load, [](const LoginAttempt& attempt, TimePoint now) { return Reply{now == attempt.due ? Answer::refused : Answer::ok, 1ms}; });
  REQUIRE(seen.ended);
  CHECK(seen.value("success_ratio") == 1);
  CHECK(measure_load("success_ratio", seen.all())->samples == 1000);
  CHECK(seen.value("refused") == 0);
  CHECK(attempts(seen, "ok") == 1000);
  CHECK(attempts(seen, "refused") == 1000);
  CHECK(seen.value("attempts") == 2000);
  CHECK(seen.value("retry_amplification") == 2);
  CHECK(seen.value("latency.p50") == Approx(0.102).epsilon(0.01));  // with the pause: what a person waits
}

TEST_CASE("a service that answers nobody gets every attempt that the policy has, and the login ends as its last", "[retries]") {
  SimClock clock;
  Load load;
  load.retries = retries(RetryPolicy::fixed);
  load.retries.most = 2;
  load.retries.pause = 200ms;
  load.retries.attempt_timeout = 1s;
  load.timeout = 4s;
  const auto seen = run_load(clock, load, [](const LoginAttempt&, TimePoint) { return Reply{Answer::ok, 1h}; });
  CHECK(seen.value("timed_out") == 1000);
  CHECK(seen.value("attempts") == 3000);
  CHECK(seen.value("retry_amplification") == 3);
  // One second later the third attempt would not be made: the person is gone.
  load.timeout = 2300ms;
  const auto sooner = run_load(clock, load, [](const LoginAttempt&, TimePoint) { return Reply{Answer::ok, 1h}; });
  CHECK(sooner.value("attempts") == 2000);
}

TEST_CASE("attempts of a login that the tester could not finish sending are not the clients' storm", "[retries]") {
  SimClock clock;
  Load load;
  load.retries = retries(RetryPolicy::fixed);
  const auto seen = run_load(clock, load, [](const LoginAttempt& attempt, TimePoint now) {
    if (attempt.user == "user1" && now != attempt.due) throw Error(ErrorKind::unavailable, "no descriptor is left", "allow more");
    return Reply{attempt.user == "user1" ? Answer::refused : Answer::ok, 1ms};
  });
  REQUIRE(seen.ended);
  CHECK(attempts(seen, "refused") == 0);
  CHECK(seen.value("retry_amplification") == 1);
}

TEST_CASE("an attempt has its own deadline, and each of a login's attempts is due when the login was", "[retries]") {
  SimClock clock;
  Load load;
  load.rate = Rate{1};
  load.lasts = 500ms;
  load.retries = retries(RetryPolicy::exponential);
  load.retries.attempt_timeout = 50ms;
  std::vector<Duration> started, until;
  const TimePoint start = clock.now();
  run_load(clock, load, [&](const LoginAttempt& attempt, TimePoint now) {
    CHECK(attempt.due == start);
    started.push_back(now - start);
    until.push_back(attempt.deadline - start);
    return Reply{Answer::ok, 1h};
  });
  CHECK(started == std::vector<Duration>{0ms, 150ms, 400ms, 750ms});
  CHECK(until == std::vector<Duration>{50ms, 200ms, 450ms, 800ms});
}

TEST_CASE("without retries a window says nothing of attempts, and each login was one", "[retries]") {
  SimClock clock;
  const auto seen = run_load(clock, {}, [](const LoginAttempt&, TimePoint) { return Reply{Answer::refused, 1ms}; });
  for (const Json& window : seen.windows) CHECK_FALSE(window.contains("attempts"));
  CHECK(seen.value("attempts") == 1000);
  CHECK(seen.value("retry_amplification") == 1);
  CHECK(measure_load("retry_amplification", {}) == std::nullopt);
}
