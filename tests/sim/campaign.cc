#include "tests/sim/campaign.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/power.h"
#include "tests/sim/login_world.h"

namespace capsize {
namespace {

constexpr double kWell = 0.995;
constexpr double kMedian = 0.05;     // seconds: of the latency when well
constexpr double kSpread = 0.6;      // of its logarithm: log-normal
constexpr double kTimeout = 1.0;
constexpr double kRecovery = 40;     // seconds that are watched
constexpr double kSettle = 5;
constexpr double kNearRecovery = 3;  // seconds: recovery is dated no better than this
const CampaignLimits kLimits;

double normal(Rng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
  return radius * std::cos(2 * M_PI * rng.uniform());
}

double between_of(Rng& rng, double low, double high) { return low + (high - low) * rng.uniform(); }

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2)); }

// What the transport saw of the truth: the chances that were really dealt out, over the fault phase.
struct Dealt {
  double success = 0;
  double logins = 0;
};

class Model final : public LoginTransport {
 public:
  Model(const CampaignSystem& system, Clock& clock, TimePoint start, Rng rng, Dealt& dealt) : system_(system), clock_(clock), start_(start), rng_(rng), dealt_(dealt) {}

  Task<Answer> attempt(LoginAttempt attempt) override {
    const double due = seconds(attempt.due - start_);
    const bool in_fault = due >= system_.baseline && due < system_.baseline + system_.fault;
    const double chance = system_.success(due);
    if (in_fault) {
      dealt_.success += chance;
      dealt_.logins += 1;
    }
    const bool succeeds = rng_.chance(chance);
    const double took = kMedian * (in_fault ? system_.slower : 1) * std::exp(kSpread * normal(rng_));
    const auto end = clock_.now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(succeeds ? took : 0.005));
    co_await clock_.sleep_until(std::min(end, attempt.deadline));
    if (end > attempt.deadline) co_return Answer::timed_out;
    co_return succeeds ? Answer::ok : Answer::denied;
  }

 private:
  const CampaignSystem& system_;
  Clock& clock_;
  TimePoint start_;
  Rng rng_;
  Dealt& dealt_;
};

Json playbook_of(const CampaignSystem& system) {
  const auto share = [](double value) { return fmt::format("{:g}%", value * 100); };
  const auto span = [](double value) { return fmt::format("{:g}ms", value * 1000); };
  Json login = {{"probe", "login.http"}, {"url", "http://sim.invalid/login"}, {"rate", fmt::format("{:g}/s", system.rate)}, {"timeout", span(kTimeout)}};
  if (system.max_in_flight > 0) login["max_in_flight"] = system.max_in_flight;
  Json playbook = {{"playbook", 1}, {"title", "a system of the campaign"}, {"variables", {{"auth1_pid", "1"}}}};
  playbook["targets"] = {{"auth1", {{"type", "process"}, {"pid", "${auth1_pid}"}}}};
  playbook["probes"] = {{"login", login}};
  playbook["timing"] = {{"baseline", span(system.baseline)}, {"recovery", span(kRecovery)}, {"settle", span(kSettle)}};
  playbook["steady_state"] = Json::array({{{"measure", "login.success_ratio"}, {"at_least", share(kLimits.steady_success)}}});
  playbook["faults"] = Json::array({{{"fault", "process.pause"}, {"target", "auth1"}, {"for", span(system.fault)}}});
  playbook["hypothesis"] = Json::array({{{"measure", "login.success_ratio"}, {"at_least", share(kLimits.success)}},
                                        {{"measure", "login.latency.p90"}, {"at_most", span(kLimits.latency_p90)}},
                                        {{"measure", "recovery_time"}, {"at_most", span(kLimits.recovery_time)}}});
  return playbook;
}

// Of those that are timed, how many take at most the limit.
double fast_share(const CampaignSystem& system) { return normal_cdf(std::log(kLimits.latency_p90 / (kMedian * system.slower)) / kSpread); }

CampaignTruth truth_of(const CampaignSystem& system, const Dealt& dealt) {
  CampaignTruth out;
  if (system.kind == SystemKind::saturated_tester) return {Outcome::invalid, false, true};
  out.unknowable = system.kind == SystemKind::tiny;
  const double mean = dealt.logins > 0 ? dealt.success / dealt.logins : 0;
  const auto samples = static_cast<std::uint64_t>(dealt.logins);
  const auto near = [&](double value, double limit) { return std::abs(value - limit) < ratio_resolution(true, limit, samples).value_or(1); };
  const double fast = fast_share(system);
  const bool never = system.after_fault < kLimits.steady_success && system.recovers_after >= kRecovery;
  out.near = near(mean, kLimits.success) || near(fast, 0.9);
  if (system.after_fault < kLimits.steady_success && !never) out.near = out.near || std::abs(system.recovers_after - kLimits.recovery_time) < kNearRecovery || system.recovers_after + kSettle + kNearRecovery > kRecovery;
  const auto settled = static_cast<std::uint64_t>(system.rate * kSettle);
  if (never && kLimits.steady_success - system.after_fault < ratio_resolution(true, kLimits.steady_success, settled).value_or(1)) out.near = true;
  if (never) out.outcome = Outcome::unrecovered;
  else if (mean < kLimits.success || fast < 0.9) out.outcome = Outcome::refuted;
  else if (system.after_fault < kLimits.steady_success && system.recovers_after > kLimits.recovery_time) out.outcome = Outcome::unrecovered;
  return out;
}

}  // namespace

std::string_view to_string(SystemKind kind) {
  switch (kind) {
    case SystemKind::healthy: return "healthy";
    case SystemKind::degraded: return "degraded";
    case SystemKind::slower: return "slower";
    case SystemKind::slow_to_recover: return "slow to recover";
    case SystemKind::metastable: return "metastable";
    case SystemKind::flapping: return "flapping";
    case SystemKind::saturated_tester: return "saturated tester";
    case SystemKind::tiny: break;
  }
  return "20 logins in 5 s";
}

double CampaignSystem::success(double t) const {
  if (t < baseline) return kWell;
  if (t < baseline + fault) {
    if (flap_period <= 0) return in_fault;
    return std::fmod(t - baseline, flap_period) < flap_period / 2 ? in_fault : in_fault_bad;
  }
  const double after = t - baseline - fault;
  if (after >= recovers_after) return kWell;
  if (!ramps) return after_fault;
  // Up to just below the steady state, and there at once: when it is well again is known exactly.
  const double top = kLimits.steady_success - 0.04;
  return after_fault + (top - after_fault) * after / recovers_after;
}

CampaignSystem draw_system(SystemKind kind, std::uint64_t seed) {
  Rng rng = Rng(seed).stream("system");
  CampaignSystem out;
  out.kind = kind;
  out.seed = seed;
  out.rate = between_of(rng, 40, 160);
  switch (kind) {
    case SystemKind::healthy: out.in_fault = between_of(rng, 0.97, 1); break;
    case SystemKind::degraded: out.in_fault = between_of(rng, 0.6, 0.99); break;
    case SystemKind::slower: out.slower = between_of(rng, 1, 5); break;
    case SystemKind::slow_to_recover:
      out.in_fault = between_of(rng, 0.93, 1);
      out.after_fault = between_of(rng, 0.1, 0.9);
      out.recovers_after = between_of(rng, 1, 30);
      out.ramps = rng.chance(0.5);
      break;
    case SystemKind::metastable:
      // Half of them are well in the fault: there only the recovery is left to give them away.
      out.in_fault = rng.chance(0.5) ? between_of(rng, 0, 0.9) : between_of(rng, 0.96, 1);
      out.after_fault = between_of(rng, 0, 0.95);
      out.recovers_after = 1e9;
      break;
    case SystemKind::flapping:
      out.in_fault = 1;
      out.in_fault_bad = between_of(rng, 0, 1);
      out.flap_period = between_of(rng, 0.5, 6);
      break;
    case SystemKind::saturated_tester: out.max_in_flight = 1 + rng.below(2); break;
    case SystemKind::tiny:
      out.rate = 4;
      out.fault = 5;
      break;
  }
  return out;
}

CampaignSystem draw_system(std::uint64_t seed) {
  static constexpr std::array<SystemKind, 20> kMix = {
      SystemKind::healthy,  SystemKind::healthy,  SystemKind::healthy,         SystemKind::healthy,         SystemKind::degraded,   SystemKind::degraded,   SystemKind::degraded,
      SystemKind::degraded, SystemKind::degraded, SystemKind::slower,          SystemKind::slower,          SystemKind::slower,     SystemKind::slow_to_recover, SystemKind::slow_to_recover,
      SystemKind::slow_to_recover, SystemKind::metastable, SystemKind::metastable, SystemKind::flapping,    SystemKind::flapping,   SystemKind::saturated_tester};
  // A twenty-first now and then: too few logins for any answer.
  return draw_system(seed % 21 == 20 ? SystemKind::tiny : kMix.at(seed % 21), seed);
}

CampaignRun run_campaign_system(const CampaignSystem& system) {
  LoginWorld world("as-it-was");
  Dealt dealt;
  world.answers = [&](const ProbeContext& context) { return std::make_unique<Model>(system, world.clock, context.start, Rng(system.seed).stream("answers"), dealt); };
  const auto result = world.run(world.playbook(playbook_of(system).dump()), system.seed);
  CampaignRun out;
  out.system = system;
  out.truth = truth_of(system, dealt);
  out.outcome = static_cast<Outcome>(result.verdict.at("exit_code").get<int>());
  out.because = result.verdict.value("because", "");
  if (const Json& recovery = result.verdict.at("recovery"); recovery.contains("kind") && recovery["kind"].is_string()) out.kind = recovery["kind"];
  return out;
}

void add(CampaignScore& score, const CampaignRun& run) {
  ++score.systems;
  ++score.outcomes[std::string(to_string(run.system.kind))][std::string(to_string(run.outcome))];
  const bool right = run.outcome == run.truth.outcome;
  if (right) ++score.right;
  if (run.outcome == Outcome::inconclusive) ++score.inconclusive;
  const bool unknowable = run.truth.unknowable;  // whatever the truth is
  const bool near = run.truth.near && !unknowable;
  if (near) ++score.near;
  // A share of wrong ones is of those of which it would be wrong.
  const auto could_be = [&](Outcome outcome) { return !near && (unknowable || run.truth.outcome != outcome); };
  if (could_be(Outcome::held)) ++score.not_held;
  if (could_be(Outcome::refuted)) ++score.not_refuted;
  if (could_be(Outcome::unrecovered)) ++score.not_unrecovered;
  const bool silent = run.outcome == Outcome::inconclusive || (unknowable && run.outcome == Outcome::invalid);
  const bool wrong = !silent && (!right || unknowable);
  if (wrong && run.outcome == Outcome::held) ++(near ? score.near_wrong_held : score.wrong_held);
  if (wrong && run.outcome == Outcome::refuted) ++(near ? score.near_wrong_refuted : score.wrong_refuted);
  if (wrong && !near && run.outcome == Outcome::unrecovered) ++score.wrong_unrecovered;
  if (wrong && run.outcome == Outcome::invalid) ++score.wrong_invalid;
  if (wrong && !near) {
    score.wrong.push_back(fmt::format("seed {} ({}): {} where the truth is {}: {}", run.system.seed, to_string(run.system.kind), to_string(run.outcome), to_string(run.truth.outcome), run.because));
  }
  if (run.outcome != Outcome::unrecovered || !right) return;
  const bool stuck = run.system.kind == SystemKind::metastable;
  ++(stuck ? score.metastable : score.late);
  if (run.kind == (stuck ? "metastable" : "late")) ++(stuck ? score.metastable_named : score.late_named);
}

std::string table(const CampaignScore& score) {
  const auto line = [&](const char* what, std::uint64_t count, std::uint64_t of) {
    const Interval interval = clopper_pearson(count, of);
    return fmt::format("| {} | {} of {} | {:.2f} % | {:.2f} % |\n", what, count, of, of == 0 ? 0 : 100.0 * static_cast<double>(count) / static_cast<double>(of), 100 * interval.high);
  };
  std::string out = "| what | how often | share | 95 % at most |\n| --- | --- | --- | --- |\n";
  out += line("wrong `held`, of those at the effect size or beyond that were not to be held", score.wrong_held, score.not_held);
  out += line("wrong `refuted`, of those that were not to be refuted", score.wrong_refuted, score.not_refuted);
  out += line("wrong `unrecovered`, of those that were not to be that", score.wrong_unrecovered, score.not_unrecovered);
  out += line("wrong `invalid`, of all", score.wrong_invalid, score.systems);
  out += line("wrong `held`, nearer to a limit", score.near_wrong_held, score.near) + line("wrong `refuted`, nearer to a limit", score.near_wrong_refuted, score.near);
  out += line("`inconclusive`", score.inconclusive, score.systems) + line("right", score.right, score.systems);
  out += line("stuck ones called metastable", score.metastable_named, score.metastable) + line("late ones called late", score.late_named, score.late);
  for (const auto& [kind, outcomes] : score.outcomes) {
    out += fmt::format("{}:", kind);
    for (const auto& [outcome, count] : outcomes) out += fmt::format(" {} {}", outcome, count);
    out += "\n";
  }
  for (const std::string& wrong : score.wrong) out += "wrong: " + wrong + "\n";
  return out;
}

}  // namespace capsize
