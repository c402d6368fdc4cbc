// The end of a run waits for its probes, and hears how they end.
#include "tests/sim/game_play.h"

using namespace capsize;
using namespace capsize::test;
using namespace std::chrono_literals;

namespace {

Playbook calm(LoginWorld& world, const char* timeout) {
  Json json = Json::parse(R"({
    "playbook": 1, "title": "calm",
    "variables": {"login_url": ""},
    "probes": {"login": {"probe": "login.http", "url": "${login_url}", "rate": "20/s", "users": 500}},
    "timing": {"baseline": "10s"},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "99%"}]
  })");
  json["probes"]["login"]["timeout"] = timeout;
  return world.playbook(json.dump());
}

// Answers after a while; from a moment on it breaks instead.
class Answers final : public LoginTransport {
 public:
  Answers(Clock& clock, Duration takes, TimePoint breaks) : clock_(clock), takes_(takes), breaks_(breaks) {}
  Task<Answer> attempt(LoginAttempt attempt) override {
    const TimePoint end = std::min(attempt.deadline, clock_.now() + takes_);
    co_await clock_.sleep_until(end);
    if (clock_.now() >= breaks_) throw std::logic_error("the answers have run out");
    co_return end == attempt.deadline ? Answer::timed_out : Answer::ok;
  }

 private:
  Clock& clock_;
  Duration takes_;
  TimePoint breaks_;
};

}  // namespace

TEST_CASE("a run waits for what its probes have under way, however long their timeout", "[sim][runner]") {
  LoginWorld world("hardened");
  world.answers = [&](const ProbeContext&) { return std::make_unique<Answers>(world.clock, 1h, TimePoint::max()); };
  const auto result = world.run(calm(world, "3m"));
  CHECK(result.verdict["outcome"] == "inconclusive");
  CHECK(result.events.back()["event"] == "end");
  CHECK(result.events.back()["t"].get<double>() == Approx(190).margin(1));
}

TEST_CASE("a probe that dies while it ends makes the run invalid, a stop that comes as late changes nothing", "[sim][runner]") {
  LoginWorld world("hardened");
  const TimePoint end = world.clock.now() + 10s;
  const bool dies = GENERATE(true, false);
  world.answers = [&](const ProbeContext&) { return std::make_unique<Answers>(world.clock, 200ms, dies ? end + 100ms : TimePoint::max()); };
  world.at(10s + 50ms, [](StopSource& stop) { stop.request("operator", "Ctrl-C"); });
  const auto result = world.run(calm(world, "1s"));
  INFO(result.verdict.dump(1));
  CHECK(result.verdict["outcome"] == (dies ? "invalid" : "held"));
  CHECK(events_of(result, "stop").size() == (dies ? 1u : 0u));
  if (dies) CHECK(result.verdict["because"] == "unexpected: the answers have run out");
}
