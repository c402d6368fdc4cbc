#include "experiments/recovery.h"

#include "tests/experiments/made_evidence.h"

using namespace capsize;
using namespace capsize::test;

namespace {

Json steady(Json expectation) {
  return {{"probes", {{"shares", nullptr}, {"base", nullptr}, {"one", nullptr}}}, {"targets", {{"balancer", nullptr}}}, {"steady_state", Json::array({std::move(expectation)})}};
}

const Json kSuccess = {{"measure", "login.success_ratio"}, {"at_least", "95%"}};

// After 40 s like this. `settle` is 5 s.
Recovery recovery_of(const Playbook& playbook, double rate, const std::function<Truth(double after)>& truth, std::uint64_t seed = 1) {
  Evidence evidence(playbook);
  Rng rng(seed);
  evidence.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
  phase(evidence, 20, "recovery");
  add_load(evidence, "login", 20, 60, rate, [&](double t) { return truth(t - 20); }, rng);
  return find_recovery(evidence).value();
}

}  // namespace

TEST_CASE("a system stuck below its steady state is not called recovered for one lucky stretch of a few logins", "[recovery]") {
  const Playbook playbook = made_playbook(steady(kSuccess));
  for (const double rate : {4.0, 20.0}) {
    int recovered = 0;
    for (std::uint64_t seed = 1; seed <= 2; ++seed) recovered += recovery_of(playbook, rate, [](double) { return Truth{0.85}; }, seed).recovered ? 1 : 0;
    INFO(rate << "/s");
    CHECK(recovered == 0);
  }
}

TEST_CASE("recovered is dated from where the steady state began, however long it takes to be sure", "[recovery]") {
  const Playbook playbook = made_playbook(steady(kSuccess));
  const auto back = [](double after) { return Truth{after < 4 ? 0.2 : 1}; };
  const Recovery fast = recovery_of(playbook, 100, back);
  CHECK(fast.recovered);
  CHECK(fast.seconds == Approx(4).margin(1));
  CHECK(fast.settled_at == Approx(20 + fast.seconds + 5));
  const Recovery slow = recovery_of(playbook, 20, back);
  CHECK(slow.recovered);
  CHECK(slow.seconds == Approx(4).margin(1));
  CHECK(slow.settled_at > 20 + slow.seconds + 7);  // 100 logins in 5 s are too few
}

TEST_CASE("too few logins to tell the steady state from one missed by ten points are neither well nor not", "[recovery]") {
  const Playbook playbook = made_playbook(steady(kSuccess));
  const Recovery few = recovery_of(playbook, 3, [](double) { return Truth{}; });
  CHECK_FALSE(few.recovered);
  CHECK(few.too_few);
  CHECK(few.because.find("too few samples") != std::string::npos);
  const Recovery bad = recovery_of(playbook, 3, [](double) { return Truth{0}; });
  CHECK_FALSE(bad.recovered);
  CHECK_FALSE(bad.too_few);
}

TEST_CASE("a quantile of the steady state wants enough logins too, what is merely counted does not", "[recovery]") {
  const Playbook quantile = made_playbook(steady({{"measure", "login.latency.p90"}, {"at_most", "100ms"}}));
  CHECK(recovery_of(quantile, 3, [](double) { return Truth{}; }).too_few);
  CHECK(recovery_of(quantile, 100, [](double) { return Truth{}; }).recovered);
  const Playbook counted = made_playbook(steady({{"measure", "login.wrongly_accepted"}, {"at_most", 0}}));
  CHECK(recovery_of(counted, 10, [](double) { return Truth{}; }).recovered);
}

TEST_CASE("a probe that looks once a minute, and that recovery is not judged by, keeps nobody from seeing it", "[recovery]") {
  Json changes = steady(kSuccess);
  changes["probes"]["alarm"] = {{"probe", "alert.fired"}, {"prometheus", "http://p:9090"}, {"alert", "Skew"}, {"every", "1m"}};
  const Playbook playbook = made_playbook(changes);
  Evidence evidence(playbook);
  Rng rng(1);
  evidence.add({{"t", 10.0}, {"event", "window"}, {"probe", "alarm"}, {"window", {{"from", 10.0}, {"to", 10.0}, {"state", "silent"}}}});
  evidence.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
  phase(evidence, 20, "recovery");
  add_load(evidence, "login", 20, 60, 100, [](double) { return Truth{}; }, rng);
  CHECK(evidence.complete_until() == 60);
  CHECK(find_recovery(evidence)->recovered);
}

TEST_CASE("where nobody looked for long enough after the undo, that it did not come back is not said", "[recovery]") {
  const Playbook playbook = made_playbook(steady(kSuccess));  // 30 s of recovery, `settle` 5 s
  const auto watched = [&](double until, const std::function<Truth(double t)>& truth) {
    Evidence evidence(playbook);
    Rng rng(1);
    evidence.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
    phase(evidence, 20, "recovery");
    if (until > 20) add_load(evidence, "login", 20, until, 100, truth, rng);
    return find_recovery(evidence).value();
  };
  for (const double until : {20.0, 20.5, 23.0}) {
    const Recovery early = watched(until, [](double) { return Truth{}; });
    INFO(until << ": " << early.because);
    CHECK_FALSE(early.recovered);
    CHECK(early.too_few);
    CHECK(early.because.find("nobody looked after that for long enough") != std::string::npos);
  }
  CHECK(watched(30, [](double) { return Truth{0}; }).too_few);         // there was time left to come back
  CHECK_FALSE(watched(48, [](double) { return Truth{0}; }).too_few);  // there was none
}

TEST_CASE("a backlog that no look saw after the undo is not back: that is not known", "[recovery]") {
  const Playbook playbook = made_playbook({{"probes", {{"base", nullptr}, {"one", nullptr}}}, {"steady_state", Json::array({kSuccess})}});
  // A backlog of 3 in the baseline; after the undo the balancer answers from `seen_from` on.
  const auto recovery = [&](double seen_from, double until = 60, bool in_baseline = true) {
    Evidence evidence(playbook);
    Rng rng(1);
    phase(evidence, 0, "baseline");
    add_load(evidence, "login", 0, 10, 100, [](double) { return Truth{}; }, rng);
    if (in_baseline) add_shares(evidence, 0, 10, [](double) { return std::vector<int>{5, 5, 5}; });
    phase(evidence, 10, "fault");
    phase(evidence, 20, "revert");
    evidence.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
    phase(evidence, 20, "recovery");
    for (double at = 20; at < std::min(seen_from, until) - 1e-9; at += 0.5) {
      evidence.add({{"t", at + 0.5}, {"event", "window"}, {"probe", "shares"}, {"window", {{"from", at}, {"to", at + 0.5}, {"gap", "no answer"}}}});
    }
    add_shares(evidence, std::min(seen_from, until), until, [](double) { return std::vector<int>{5, 5, 5}; });
    add_load(evidence, "login", 20, until, 100, [](double) { return Truth{}; }, rng);
    return find_recovery(evidence).value();
  };
  CHECK(recovery(20).seconds == 0);
  CHECK(recovery(20).recovered);
  const Recovery blind = recovery(60);
  CHECK_FALSE(blind.recovered);
  CHECK(blind.too_few);
  CHECK(blind.because == "whether shares.backlog was back is not known: no look saw it");
  const Recovery late = recovery(32);  // `settle` is 5 s: it takes a stretch with a look in it
  CHECK(late.recovered);
  CHECK(late.settled_at > 32);
  CHECK(recovery(60, 60, false).recovered);  // nothing to compare it with
}
