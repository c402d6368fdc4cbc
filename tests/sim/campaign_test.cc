// The verdict measured: docs/verdict.md has the figures. The whole of it: campaign "[.campaign]"
#include "tests/sim/campaign.h"

#include <cstdlib>
#include <numeric>

using namespace capsize;

namespace {

CampaignScore score_of(const std::vector<std::uint64_t>& seeds) {
  CampaignScore score;
  for (const std::uint64_t seed : seeds) add(score, run_campaign_system(draw_system(seed)));
  return score;
}

// CAPSIZE_CAMPAIGN: another number of them.
std::uint64_t systems_wanted() {
  const char* wanted = std::getenv("CAPSIZE_CAMPAIGN");
  return wanted == nullptr ? 2100 : std::strtoull(wanted, nullptr, 10);
}

}  // namespace

TEST_CASE("a slice of the campaign: no verdict on a system of known truth is wrong at the effect size", "[sim]") {
  const CampaignScore score = score_of({0, 4, 5, 9, 10, 12, 13, 15, 17, 19, 20});  // each kind of the mix
  INFO(table(score));
  CHECK(score.wrong_held == 0);
  CHECK(score.wrong_refuted == 0);
  CHECK(score.wrong_unrecovered == 0);
  CHECK(score.wrong_invalid == 0);
  CHECK(score.outcomes.size() == 8);
  CHECK(score.right >= 7);  // it does not get there by never answering
}

TEST_CASE("20 logins in 5 seconds are inconclusive, never held", "[sim]") {
  for (std::uint64_t seed = 1; seed <= 2; ++seed) CHECK(run_campaign_system(draw_system(SystemKind::tiny, seed)).outcome == Outcome::inconclusive);
}

TEST_CASE("the campaign: at most 1 % of the verdicts wrongly held, and at most 1 % wrongly refuted", "[.campaign]") {
  std::vector<std::uint64_t> seeds(systems_wanted());
  std::iota(seeds.begin(), seeds.end(), std::uint64_t{1'000'000});
  const CampaignScore score = score_of(seeds);
  WARN(table(score));
  CHECK(score.wrong_held * 100 <= score.not_held);
  CHECK(score.wrong_refuted * 100 <= score.not_refuted);
  CHECK(score.wrong_unrecovered * 100 <= score.not_unrecovered);
  CHECK(score.wrong_invalid == 0);
}

TEST_CASE("the share of wrong verdicts is of those systems of which the verdict would be wrong", "[sim]") {
  CampaignScore score;
  const auto seen = [&](Outcome outcome, Outcome truth, bool near = false, bool unknowable = false) {
    CampaignRun run;
    run.outcome = outcome;
    run.truth = {truth, near, unknowable};
    add(score, run);
  };
  seen(Outcome::held, Outcome::held);
  seen(Outcome::held, Outcome::refuted);                 // wrong
  seen(Outcome::held, Outcome::refuted, true);           // nearer than is promised
  seen(Outcome::invalid, Outcome::invalid, false, true);  // silent, as it must be
  seen(Outcome::refuted, Outcome::held, false, true);    // nobody could know
  seen(Outcome::inconclusive, Outcome::unrecovered);
  CHECK(score.not_held == 4);
  CHECK(score.not_refuted == 4);
  CHECK(score.wrong_held == 1);
  CHECK(score.near_wrong_held == 1);
  CHECK(score.wrong_refuted == 1);
  CHECK(score.wrong_invalid == 0);
}

TEST_CASE("a system that is well in the fault and stuck after it is not held", "[sim]") {
  CampaignSystem stuck = draw_system(SystemKind::metastable, 1);
  stuck.rate = 20;
  stuck.in_fault = 1;
  stuck.after_fault = 0.86;
  CHECK(run_campaign_system(stuck).outcome != Outcome::held);
}
