#include "experiments/verdict.h"

#include "tests/experiments/made_evidence.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kOneFault = {{"probes", {{"shares", nullptr}, {"base", nullptr}, {"one", nullptr}}}, {"targets", {{"balancer", nullptr}}},
                        {"faults", Json::array({{{"fault", "process.pause"}, {"target", "one"}, {"for", "12s"}}})}};

// 20 s of baseline, 12 s of fault, 30 s of recovery.
Json verdict_of(const Playbook& playbook, const std::function<Truth(double t)>& truth, double rate = 20) {
  std::vector<Json> events = {{{"t", 0.0}, {"event", "run"}, {"run", "made"}}};
  Rng rng(1);
  const auto add = [&](const char* name, double from, double to) {
    events.push_back({{"t", from}, {"event", "phase"}, {"phase", name}});
    for (Json& event : load_events("login", from, to, rate, truth, rng)) events.push_back(std::move(event));
  };
  add("baseline", 0, 20);
  add("fault", 20, 32);
  events.push_back({{"t", 32.0}, {"event", "effect"}, {"fault", 0}, {"effect", {{"bites", true}}}});
  events.push_back({{"t", 32.0}, {"event", "phase"}, {"phase", "revert"}});
  events.push_back({{"t", 32.0}, {"event", "undo"}, {"fault", 0}, {"step", "f0.s0"}, {"state", "undone"}});
  events.push_back({{"t", 32.0}, {"event", "undone"}, {"ok", true}});
  add("recovery", 32, 62);
  events.push_back({{"t", 62.0}, {"event", "phase"}, {"phase", "end"}});
  return judge(playbook, events);
}

}  // namespace

TEST_CASE("a tester that stood still for a second of the fault does not refute the system", "[verdict]") {
  const Playbook playbook = made_playbook(kOneFault);
  CHECK(verdict_of(playbook, [](double) { return Truth{}; }).at("outcome") == "held");
  CHECK(verdict_of(playbook, [](double t) { return Truth{t >= 25 && t < 27 ? 0.0 : 1.0}; }).at("outcome") == "refuted");
  // The same failures, and the tester sent late: 3 % of the run, 17 % of the fault.
  const Json verdict = verdict_of(playbook, [](double t) { return t >= 25 && t < 27 ? Truth{0, 0.02, 1, 0.5} : Truth{}; });
  CHECK(verdict.at("outcome") == "invalid");
  CHECK(verdict.at("because") == "during fault the load generator of \"login\" could not keep up: 40 of 240 scheduled were sent more than 10ms late, or not at all");
}

TEST_CASE("of the undos of a step the last one counts: one that failed and was done later is no residue", "[verdict]") {
  const Playbook playbook = made_playbook(kOneFault);
  const auto undone = [](const char* step, const char* state) { return Json{{"t", 32.0}, {"event", "undo"}, {"fault", 0}, {"step", step}, {"state", state}, {"because", step}}; };
  const auto judged = [&](const std::vector<Json>& undos) {
    std::vector<Json> events = {{{"t", 0.0}, {"event", "run"}, {"run", "made"}}};
    events.insert(events.end(), undos.begin(), undos.end());
    return judge(playbook, events);
  };
  const Json mended = judged({undone("f0.s0", "failed"), undone("f0.s1", "undone"), undone("f0.s0", "undone")});
  CHECK(mended["outcome"] != "residue");
  CHECK(mended["residue"].empty());
  CHECK(mended["faults"][0]["undo"] == "undone");
  const Json left = judged({undone("f0.s1", "undone"), undone("f0.s0", "failed"), undone("f0.s0", "refused")});
  CHECK(left["outcome"] == "residue");
  REQUIRE(left["residue"].size() == 1);
  CHECK(left["residue"][0]["step"] == "f0.s0");
  CHECK(left["faults"][0]["undo"] == "refused");
}

TEST_CASE("an unharmed run whose record ends before it did is invalid, not held", "[verdict]") {
  const Playbook playbook = made_playbook(kOneFault);
  std::vector<Json> events = {{{"t", 0.0}, {"event", "run"}, {"run", "made"}, {"without_faults", true}}};
  Rng rng(1);
  for (const auto& [name, from, to] : {std::tuple("baseline", 0.0, 20.0), std::tuple("fault", 20.0, 32.0)}) {
    events.push_back({{"t", from}, {"event", "phase"}, {"phase", name}});
    for (Json& event : load_events("login", from, to, 20, [](double) { return Truth{}; }, rng)) events.push_back(std::move(event));
  }
  const Json killed = judge(playbook, events);
  CHECK(killed["outcome"] == "invalid");
  CHECK(killed["because"] == "the record ends before the run did: it was killed");
  events.push_back({{"t", 32.0}, {"event", "end"}});
  CHECK(judge(playbook, events)["outcome"] == "held");
  events.back() = {{"t", 32.0}, {"event", "stop"}, {"kind", "operator"}, {"because", "Ctrl-C"}};
  CHECK(judge(playbook, events)["outcome"] == "aborted");
}

TEST_CASE("a hiccup of the tester of a few logins decides nothing", "[verdict]") {
  const Playbook playbook = made_playbook({{"faults", Json::array({{{"fault", "process.pause"}, {"target", "one"}, {"for", "12s"}}})}, {"probes", kOneFault["probes"]}, {"targets", kOneFault["targets"]},
                                           {"hypothesis", Json::array({{{"measure", "login.success_ratio"}, {"at_least", "50%"}}})}});
  // 4 of the 60 of the fault: over 5 %, and yet a hiccup. A second more is not.
  CHECK(verdict_of(playbook, [](double t) { return Truth{1, 0.02, 1, t > 24 && t < 25 ? 0.5 : 0}; }, 5).at("outcome") == "held");
  CHECK(verdict_of(playbook, [](double t) { return Truth{1, 0.02, 1, t > 24 && t < 26 ? 0.5 : 0}; }, 5).at("outcome") == "invalid");
}
