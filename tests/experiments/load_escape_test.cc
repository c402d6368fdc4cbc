#include "experiments/load_escape.h"

#include "experiments/aftermath.h"
#include "experiments/recovery.h"
#include "experiments/verdict.h"
#include "tests/experiments/made_evidence.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kStuck = {{"probes", {{"shares", nullptr}, {"base", nullptr}, {"one", nullptr}}}, {"targets", {{"balancer", nullptr}}}, {"escape", {{"steps", {"60%", "30%", "10%"}}, {"hold", "10s"}}}};

// Well until 10 s, stuck from then on; from 50 s on steps of 10 s with these chances of success. Its recovery was watched until 48 s.
Evidence stuck(const Playbook& playbook, const std::vector<double>& steps, double last_step = 10, double sent_late = 50e-6) {
  Evidence evidence(playbook);
  Rng rng(5);
  phase(evidence, 0, "baseline");
  add_load(evidence, "login", 0, 10, 100, [](double) { return Truth{}; }, rng);
  phase(evidence, 10, "fault");
  add_load(evidence, "login", 10, 20, 100, [](double) { return Truth{0.2}; }, rng);
  phase(evidence, 20, "revert");
  evidence.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
  phase(evidence, 20, "recovery");
  add_load(evidence, "login", 20, 48, 100, [](double) { return Truth{0.1}; }, rng);
  evidence.add({{"t", 50.0}, {"event", "phase"}, {"phase", "escape"}, {"watched_until", 48.0}});
  add_load(evidence, "login", 48, 50, 100, [](double) { return Truth{0.1}; }, rng);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const double share = playbook.escape->steps[i].value;
    const double at = 50 + 10 * static_cast<double>(i);
    evidence.add({{"t", at}, {"event", "escape"}, {"share", share}});
    add_load(evidence, "login", at, at + (i + 1 == steps.size() ? last_step : 10), 100 * share, [&](double) { return Truth{steps[i], 0.02, 1, sent_late}; }, rng);
  }
  phase(evidence, 50 + 10 * static_cast<double>(steps.size()), "end");
  return evidence;
}

}  // namespace

TEST_CASE("the escape test finds the load at which logins succeed again, and when", "[escape]") {
  const Playbook playbook = made_playbook(kStuck);
  const auto escape = find_escape(stuck(playbook, {0.1, 1}));
  REQUIRE(escape);
  INFO(escape->because);
  CHECK(escape->escaped == true);
  CHECK(escape->step == 1);
  CHECK(escape->full_load == Approx(100).epsilon(0.01));
  CHECK(escape->steps[0].steady == false);
  CHECK(escape->steps[0].load == Approx(60).epsilon(0.01));
  CHECK(escape->steps[1].load == Approx(30).epsilon(0.02));
  CHECK(escape->seconds == Approx(10).margin(0.3));
  CHECK(escape->because.find("logins succeeded again at 30.0 logins/s (30 %) of the load of the baseline, 10.0 s after it was first lowered; at 60.0 logins/s (60 %) they did not") == 0);
  const Json json = to_json(*escape);
  CHECK(json["escaped"] == true);
  CHECK(json["share"] == 0.3);
  CHECK(json["steps"].size() == 2);
}

TEST_CASE("a system that does not escape is said to, down to which load, what was getting better is named", "[escape]") {
  const Playbook playbook = made_playbook(kStuck);
  const auto escape = find_escape(stuck(playbook, {0.1, 0.1, 0.5}));
  REQUIRE(escape);
  CHECK(escape->escaped == false);
  CHECK(!escape->step);
  CHECK(escape->because == "logins did not succeed again, down to 10.0 logins/s (10 %) of the load of the baseline, held for 10.00 s");
  CHECK(to_json(*escape)["load"].is_null());
}

TEST_CASE("what was not held to its end, or by a tester that could not keep up, is not told", "[escape]") {
  const Playbook playbook = made_playbook(kStuck);
  const auto cut = find_escape(stuck(playbook, {0.1, 0.1}, 4), "by the operator");
  REQUIRE(cut);
  CHECK(!cut->escaped);
  CHECK(cut->steps[1].steady == std::nullopt);
  CHECK(cut->because == "it was stopped at 30.0 logins/s (30 %): by the operator");
  const auto late = find_escape(stuck(playbook, {0.1, 0.1, 0.1}, 10, 0.05));
  REQUIRE(late);
  CHECK(!late->escaped);
  CHECK(late->because.find("it cannot be told: the load generator of \"login\" could not keep up") != std::string::npos);
}

TEST_CASE("the escape test is no part of what the verdict rests on", "[escape]") {
  const Playbook playbook = made_playbook(kStuck);
  const Evidence evidence = stuck(playbook, {1, 1, 1});
  CHECK(find_recovery(evidence)->recovered == false);
  CHECK(why_unrecovered(evidence).kind == "metastable");
  CHECK(evidence.span(Span::recovery)->to == 48);
  CHECK(evidence.span(Span::run)->to == 48);
  CHECK(evidence.windows("login").back()->at("to") == 48);
  CHECK(evidence.complete_until() == 80);
  CHECK(evidence.windows("login", {50, 60}).size() == 40);
}

TEST_CASE("only logins that are nobody's suspect are lowered, and only what a smaller load can meet is asked for", "[escape]") {
  const Playbook playbook = made_playbook({{"steady_state", {{{"measure", "login.success_ratio"}, {"at_least", "99%"}}, {{"measure", "login.rate"}, {"at_least", "90/s"}}, {{"measure", "login.denied"}, {"at_most", 3}}}}});
  std::vector<std::string> kept;
  for (const Expectation& expectation : steady_at_any_load(playbook)) kept.push_back(expectation.name());
  CHECK(kept == std::vector<std::string>{"login.success_ratio", "login.denied"});
  CHECK(is_login_load(playbook.probes.at("login")));
  CHECK(!is_login_load(playbook.probes.at("base")));
  ProbeUse suspect = playbook.probes.at("login");
  suspect.suspect = "auth1, past the balancer";
  CHECK(!is_login_load(suspect));
}
