#include "experiments/aftermath.h"

#include "experiments/verdict.h"
#include "tests/experiments/made_evidence.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kLoginsOnly = {{"probes", {{"shares", nullptr}, {"base", nullptr}, {"one", nullptr}}}, {"targets", {{"balancer", nullptr}}}};

// 10 s of baseline, 10 s of fault, 30 s of recovery with these chances.
Evidence after_fault(const Playbook& playbook, const std::function<double(double after)>& success, double rate_after = 100) {
  Evidence evidence(playbook);
  Rng rng(5);
  phase(evidence, 0, "baseline");
  add_load(evidence, "login", 0, 10, 100, [](double) { return Truth{}; }, rng);
  phase(evidence, 10, "fault");
  add_load(evidence, "login", 10, 20, 100, [](double) { return Truth{0.2}; }, rng);
  phase(evidence, 20, "revert");
  evidence.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
  phase(evidence, 20, "recovery");
  add_load(evidence, "login", 20, 50, rate_after, [&](double t) { return Truth{success(t - 20)}; }, rng);
  phase(evidence, 50, "end");
  return evidence;
}

}  // namespace

TEST_CASE("bad, unchanged and under the same load: metastable", "[aftermath]") {
  const Playbook playbook = made_playbook(kLoginsOnly);
  for (const double stuck : {0.0, 0.3, 0.9}) {
    const Unrecovered why = why_unrecovered(after_fault(playbook, [&](double) { return stuck; }));
    INFO(stuck << ": " << why.because);
    CHECK(why.kind == "metastable");
  }
  CHECK(why_unrecovered(after_fault(playbook, [](double after) { return 0.6 - after / 100; })).kind == "metastable");  // it gets worse
}

TEST_CASE("bad, but on its way: late", "[aftermath]") {
  const Playbook playbook = made_playbook(kLoginsOnly);
  CHECK(why_unrecovered(after_fault(playbook, [](double after) { return 0.2 + after / 50; })).kind == "late");
  CHECK(why_unrecovered(after_fault(playbook, [](double after) { return after < 27 ? 0.5 : 1.0; })).kind == "late");
}

TEST_CASE("under another load nothing is said of the kind", "[aftermath]") {
  const Playbook playbook = made_playbook(kLoginsOnly);
  const Unrecovered why = why_unrecovered(after_fault(playbook, [](double) { return 0.3; }, 60));
  CHECK(why.kind.empty());
  CHECK(why.because.find("the load of login was 60.0/s, and 100.0/s in the baseline") == 0);
}

TEST_CASE("Mann and Kendall's test sees a trend, and none in noise", "[aftermath]") {
  CHECK(mann_kendall({1, 2, 3, 4, 5, 6, 7, 8}).p_rising < 0.001);
  CHECK(mann_kendall({1, 2, 3, 4, 5, 6, 7, 8}).p_falling > 0.99);
  CHECK(mann_kendall({5, 5, 5, 5, 5, 5, 5, 5}).p_rising == 1);
  int seen = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    Rng rng(seed);
    std::vector<double> noise;
    for (int i = 0; i < 15; ++i) noise.push_back(rng.uniform());
    seen += mann_kendall(noise).p_rising <= kTrendLevel ? 1 : 0;
  }
  CHECK(seen <= 20);  // 1 % of 1000, and chance
  CHECK(seen >= 2);
}

TEST_CASE("the rebalance half-life is when the shares have come half of the way back", "[aftermath]") {
  const Playbook playbook = made_playbook();
  const auto shares_after = [&](const std::function<double(double after)>& skew) {
    Evidence evidence(playbook);
    phase(evidence, 0, "baseline");
    add_shares(evidence, 0, 10, [](double) { return std::vector<int>{20, 20, 20}; });
    phase(evidence, 10, "fault");
    add_shares(evidence, 10, 20, [](double) { return std::vector<int>{48, 6, 6}; });
    phase(evidence, 20, "revert");
    evidence.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
    phase(evidence, 20, "recovery");
    add_shares(evidence, 20, 50, [&](double t) {
      const int more = static_cast<int>(std::lround(28 * skew(t - 20)));
      return std::vector<int>{20 + more, 20 - more / 2, 20 - more / 2};
    });
    return rebalance(evidence);
  };
  CHECK(shares_after([](double) { return 0; }).value().half_life == 0.0);
  const auto slowly = shares_after([](double after) { return std::exp2(-after / 6); });
  CHECK(slowly.value().half_life.value() == Approx(6).margin(1.5));
  const auto never = shares_after([](double) { return 0.9; });
  CHECK_FALSE(never.value().half_life.has_value());
  CHECK(never->because.find("still 87 % of the way") != std::string::npos);
  Evidence untouched(playbook);
  phase(untouched, 0, "baseline");
  add_shares(untouched, 0, 30, [](double) { return std::vector<int>{20, 20, 20}; });
  phase(untouched, 10, "fault");
  untouched.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
  phase(untouched, 20, "recovery");
  CHECK_FALSE(rebalance(untouched).has_value());
}
