#include "experiments/aftermath.h"

#include "experiments/verdict.h"
#include "tests/experiments/made_evidence.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kLoginsOnly = {{"probes", {{"shares", nullptr}, {"base", nullptr}, {"one", nullptr}}}, {"targets", {{"balancer", nullptr}}}};

// 10 s of baseline, 10 s of fault, 30 s of recovery with these chances.
Evidence after_fault(const Playbook& playbook, const std::function<double(double after)>& success, double rate_after = 100, double rate_before = 100) {
  Evidence evidence(playbook);
  Rng rng(5);
  phase(evidence, 0, "baseline");
  add_load(evidence, "login", 0, 10, rate_before, [](double) { return Truth{}; }, rng);
  phase(evidence, 10, "fault");
  add_load(evidence, "login", 10, 20, rate_before, [](double) { return Truth{0.2}; }, rng);
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

TEST_CASE("a drift of half a point where fifty are missing is not on its way", "[aftermath]") {
  const Playbook playbook = made_playbook(kLoginsOnly);
  int login = 0;
  const Unrecovered why = why_unrecovered(after_fault(playbook, [&](double after) { return ++login % 1000 < 500 + static_cast<int>(after / 5) ? 1 : 0; }, 1000, 1000));
  INFO(why.because);
  CHECK(why.kind == "metastable");
}

TEST_CASE("a login more or less at the end of a stretch is no other load", "[aftermath]") {
  const Playbook playbook = made_playbook(kLoginsOnly);
  CHECK(why_unrecovered(after_fault(playbook, [](double) { return 0; }, 1.78, 2)).kind == "metastable");
  CHECK(why_unrecovered(after_fault(playbook, [](double) { return 0; }, 1.2, 2)).kind.empty());
}

TEST_CASE("too few logins after the fault are neither late nor metastable", "[aftermath]") {
  const Playbook playbook = made_playbook(kLoginsOnly);
  const Unrecovered why = why_unrecovered(after_fault(playbook, [](double) { return 0.9; }, 1, 1));
  CHECK(why.kind.empty());
  CHECK(why.because.find("too few samples") != std::string::npos);
}

TEST_CASE("a balancer that deals at random has not moved its shares", "[aftermath]") {
  const Playbook playbook = made_playbook();
  int moved = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Evidence evidence(playbook);
    Rng rng(seed);
    const auto at_random = [&](double) {  // 6/s
      std::vector<int> out(3);
      for (int i = 0; i < 3; ++i) ++out[rng.below(3)];
      return out;
    };
    phase(evidence, 0, "baseline");
    add_shares(evidence, 0, 10, at_random);
    phase(evidence, 10, "fault");
    add_shares(evidence, 10, 20, at_random);
    phase(evidence, 20, "revert");
    evidence.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
    phase(evidence, 20, "recovery");
    add_shares(evidence, 20, 50, at_random);
    moved += rebalance(evidence) ? 1 : 0;
  }
  CHECK(moved <= 1);
}

TEST_CASE("of too few sessions no half-life is told", "[aftermath]") {
  const Playbook playbook = made_playbook();
  Evidence evidence(playbook);
  phase(evidence, 0, "baseline");
  add_shares(evidence, 0, 10, [](double) { return std::vector<int>{2, 2, 2}; });
  phase(evidence, 10, "fault");
  add_shares(evidence, 10, 20, [](double) { return std::vector<int>{6, 0, 0}; });
  phase(evidence, 20, "revert");
  evidence.add({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
  phase(evidence, 20, "recovery");
  add_shares(evidence, 20, 50, [](double t) { return t == std::floor(t) && static_cast<int>(t) % 5 == 0 ? std::vector<int>{1, 1, 1} : std::vector<int>{0, 0, 0}; });
  const auto found = rebalance(evidence);
  REQUIRE(found);
  CHECK_FALSE(found->half_life.has_value());
  CHECK(found->because.find("too few sessions") != std::string::npos);
}
