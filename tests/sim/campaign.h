// Measures the verdict itself: seeded systems whose truth is known are put through whole runs in virtual time (the real load generator,
// runner, fault, undo and judge; only what answers a login is a model), and each verdict is compared with the truth.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiments/verdict.h"
#include "injector/base/rng.h"

namespace capsize {

enum class SystemKind { healthy, degraded, slower, slow_to_recover, metastable, flapping, saturated_tester, tiny };
std::string_view to_string(SystemKind kind);

// How the system answers. Times in seconds: `at` since the start of the fault phase, `after` since its end.
struct CampaignSystem {
  SystemKind kind = SystemKind::healthy;
  std::uint64_t seed = 0;
  double rate = 100;          // logins per second
  double baseline = 6;        // length of the phases
  double fault = 20;
  double in_fault = 0.995;    // share of logins that succeed; while flapping, of the good half
  double in_fault_bad = 0.995;
  double flap_period = 0;     // 0: does not flap
  double recovers_after = 0;  // until then as bad as `after_fault`
  double after_fault = 0.995;
  bool ramps = false;         // climbs to well by `recovers_after` instead of all at once
  double slower = 1;          // factor of the latency in the fault
  std::uint64_t max_in_flight = 0;  // 0: enough

  double success(double t) const;  // t since the start of the run
};
CampaignSystem draw_system(std::uint64_t seed);
CampaignSystem draw_system(SystemKind kind, std::uint64_t seed);

struct CampaignLimits {
  double success = 0.90;           // in the fault, at least
  double latency_p90 = 0.3;        // seconds, at most
  double recovery_time = 10;       // seconds, at most
  double steady_success = 0.97;
};

// What a judge who knows everything would say; of a tester that cannot keep up, or of 20 logins, that is nothing. Near a limit, closer than
// the documented effect size, nothing is promised.
struct CampaignTruth {
  Outcome outcome = Outcome::held;
  bool near = false;
  bool unknowable = false;
};

struct CampaignRun {
  CampaignSystem system;
  CampaignTruth truth;
  Outcome outcome = Outcome::invalid;
  std::string kind;  // of unrecovered
  std::string because;
};
CampaignRun run_campaign_system(const CampaignSystem& system);

struct CampaignScore {
  std::uint64_t systems = 0;
  std::uint64_t not_held = 0, not_refuted = 0, not_unrecovered = 0;  // at the effect size or beyond it: those a wrong one could be said of
  std::uint64_t wrong_held = 0, wrong_refuted = 0, wrong_unrecovered = 0, wrong_invalid = 0;  // at the effect size or beyond it
  std::uint64_t near = 0, near_wrong_held = 0, near_wrong_refuted = 0;                        // closer to a limit
  std::uint64_t right = 0, inconclusive = 0;
  std::uint64_t metastable = 0, metastable_named = 0, late = 0, late_named = 0;
  std::map<std::string, std::map<std::string, std::uint64_t>> outcomes;  // kind -> outcome -> how often
  std::vector<std::string> wrong;  // seeds and what happened
};
void add(CampaignScore& score, const CampaignRun& run);
std::string table(const CampaignScore& score);

}  // namespace capsize
