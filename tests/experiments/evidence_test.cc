#include "experiments/evidence.h"

#include "tests/experiments/made_evidence.h"

using namespace capsize;
using namespace capsize::test;

namespace {

// 10 s of baseline and 20 s of fault with these chances.
Finding finding_of(const Playbook& playbook, double rate, Truth before, Truth during) {
  Evidence evidence(playbook);
  Rng rng(3);
  phase(evidence, 0, "baseline");
  add_load(evidence, "login", 0, 10, rate, [&](double) { return before; }, rng);
  phase(evidence, 10, "fault");
  add_load(evidence, "login", 10, 30, rate, [&](double) { return during; }, rng);
  phase(evidence, 30, "revert");
  return evidence.hold(playbook.hypothesis[0], *evidence.span(playbook.hypothesis[0]), true);
}

}  // namespace

TEST_CASE("an interval that straddles the bound is unknown, and the finding says what could have been told", "[evidence]") {
  const Playbook playbook = made_playbook();
  CHECK(finding_of(playbook, 100, {}, {0.995}).holds == Holds::yes);
  CHECK(finding_of(playbook, 100, {}, {0.90}).holds == Holds::no);
  const Finding between = finding_of(playbook, 100, {}, {0.95});
  CHECK(between.holds == Holds::unknown);
  CHECK(between.because.find("with 2000 samples a drop below 2.4 % cannot be told from none") != std::string::npos);
}

TEST_CASE("nothing is claimed from 20 logins, though all of them succeed and the bound is low", "[evidence]") {
  const Playbook playbook = made_playbook({{"hypothesis", Json::array({{{"measure", "login.success_ratio"}, {"at_least", "50%"}}})}});
  const Finding finding = finding_of(playbook, 1, {}, {1});
  CHECK(finding.evidence["samples"] == 20);
  CHECK(finding.holds == Holds::unknown);
  CHECK(finding_of(playbook, 1, {}, {0}).holds == Holds::no);  // that 20 of 20 fail is no accident
  CHECK(finding_of(playbook, 2, {}, {1}).holds == Holds::yes);
}

TEST_CASE("a bound relative to the baseline counts what is in doubt about the baseline too", "[evidence]") {
  const Playbook playbook = made_playbook({{"hypothesis", Json::array({{{"measure", "login.latency.p90"}, {"at_most", "2x baseline"}}})}});
  CHECK(finding_of(playbook, 100, {1, 0.1}, {1, 0.1}).holds == Holds::yes);
  CHECK(finding_of(playbook, 100, {1, 0.1}, {1, 0.3}).holds == Holds::no);
  const Finding same = finding_of(playbook, 100, {1, 0.1}, {1, 0.2});
  CHECK(same.holds == Holds::unknown);
  CHECK(same.evidence["limit_low"].get<double>() < same.evidence["limit"].get<double>());
  CHECK(same.evidence["limit_high"].get<double>() > same.evidence["limit"].get<double>());
}

TEST_CASE("an expectation during a named fault looks only at the time it was in place", "[evidence]") {
  const Playbook playbook = made_playbook({{"hypothesis", Json::array({{{"measure", "login.success_ratio"}, {"during", "first"}, {"at_least", "95%"}},
                                                                      {{"measure", "login.success_ratio"}, {"during", "second"}, {"at_least", "95%"}}})}});
  Evidence evidence(playbook);
  Rng rng(3);
  phase(evidence, 10, "fault");
  evidence.add({{"t", 10.0}, {"event", "injected"}, {"fault", 0}});
  add_load(evidence, "login", 10, 30, 100, [](double t) { return Truth{t < 16 ? 1.0 : 0.5}; }, rng);
  evidence.add({{"t", 16.0}, {"event", "undo"}, {"fault", 0}, {"step", "f0.s0"}, {"state", "undone"}});
  evidence.add({{"t", 18.0}, {"event", "injected"}, {"fault", 1}});
  phase(evidence, 30, "revert");
  const auto of = [&](std::size_t i) { return evidence.hold(playbook.hypothesis[i], evidence.span(playbook.hypothesis[i]).value(), true); };
  CHECK(of(0).holds == Holds::yes);
  CHECK(of(0).expectation == "login.success_ratio at least 95% during fault first");
  CHECK(of(1).holds == Holds::no);
  CHECK(of(1).evidence["from"] == 18.0);
  CHECK(of(1).evidence["to"] == 30.0);
}

TEST_CASE("a fault is named by its type where there is one of it, two need names", "[evidence]") {
  const Json during = {{"hypothesis", Json::array({{{"measure", "login.success_ratio"}, {"during", "process.pause"}, {"at_least", "95%"}}})}};
  const auto read_with = [&](const char* faults) {
    Json json = Json::parse(R"({"playbook": 1, "title": "t", "targets": {"one": {"type": "process", "pid": "1"}},
      "probes": {"login": {"probe": "login.http", "url": "http://127.0.0.1:1/login", "rate": "100/s"}},
      "steady_state": [{"measure": "login.success_ratio", "at_least": "99%"}]})");
    json["faults"] = Json::parse(faults);
    json.update(during);
    return read_playbook(json.dump(), PlaybookOptions{});
  };
  const auto one = read_with(R"([{"fault": "process.pause", "target": "one", "for": "20s"}])");
  REQUIRE(one.playbook);
  CHECK(one.playbook->hypothesis[0].during_fault == std::size_t{0});
  const auto two = read_with(R"([{"fault": "process.pause", "target": "one", "for": "9s"}, {"fault": "process.pause", "target": "one", "at": "10s", "for": "9s"}])");
  CHECK_FALSE(two.playbook);
  CHECK(two.diagnostics.text("p").find("\"process.pause\" is more than one of the faults") != std::string::npos);
}

TEST_CASE("the longest of five logins is no promise", "[evidence]") {
  const Playbook playbook = made_playbook({{"hypothesis", Json::array({{{"measure", "login.latency.max"}, {"at_most", "1s"}}})}});
  CHECK(finding_of(playbook, 0.25, {}, {}).evidence["samples"] == 5);
  CHECK(finding_of(playbook, 0.25, {}, {}).holds == Holds::unknown);
  CHECK(finding_of(playbook, 0.25, {}, {1, 3}).holds == Holds::no);  // that one took longer was seen
  CHECK(finding_of(playbook, 2, {}, {}).holds == Holds::yes);
}

TEST_CASE("where nothing was sent there is no rate, not one of zero", "[evidence]") {
  const Playbook playbook = made_playbook();
  Evidence evidence(playbook);
  LoadWindow window;
  window.to = 0.25;
  window.scheduled = window.ended = 40;
  window.counts[kNotSent] = 40;
  evidence.add({{"t", 0.25}, {"event", "window"}, {"probe", "login"}, {"window", to_json(window)}});
  CHECK_FALSE(evidence.measure("login", "rate", {0, 1}).has_value());
  CHECK(evidence.measure("login", "not_sent", {0, 1})->value == 40);
}

TEST_CASE("a fault may not be named as a phase is, which \"during\" would mean", "[evidence]") {
  for (const char* name : {"run", "fault", "baseline", "recovery"}) {
    const auto result = read_playbook(Json{{"playbook", 1}, {"title", "t"}, {"targets", {{"one", {{"type", "process"}, {"pid", "1"}}}}},
                                           {"faults", Json::array({{{"fault", "process.pause"}, {"target", "one"}, {"for", "9s"}, {"name", name}}})}}.dump(), PlaybookOptions{});
    CHECK_FALSE(result.playbook);
    CHECK(result.diagnostics.text("p").find(std::string("\"") + name + "\" is a phase of every run; give the fault another name") != std::string::npos);
  }
}
