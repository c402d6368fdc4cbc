// process.cpu: a process gets only so much of a processor core, as on a crowded machine or beside a greedy neighbour.
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "injector/faults/cgroup_faults.h"

namespace capsize {
namespace {

// Measured with quotas of 10, 20, 50 and 100 ms and 1 and 4 threads: from 50 ms on the share of each second is within 5 % of what is meant.
constexpr std::int64_t kPeriodUs = 100'000;
constexpr std::int64_t kShortestPeriodUs = 50'000;
constexpr std::int64_t kLeastQuotaUs = 1000;  // the kernel's
// In so many periods the last one, begun or not when we look, makes a difference of a twentieth.
constexpr auto kWindow = std::chrono::milliseconds(2000);
constexpr double kTolerance = 0.1;       // of the share, and
constexpr double kTolerancePoints = 0.01; // of a core: two clock ticks of 10 ms

struct CpuParams {
  Share share;
};

Rule<Share> at_least_one_percent() {
  return {[](const Share& share) -> std::optional<Mistake> {
            if (share.value >= 0.01) return std::nullopt;
            return Mistake{"less than a hundredth of a core", "write at least \"1%\"; to stop it altogether there is process.pause"};
          },
          {{"anyOf", Json::array({{{"pattern", "^0*[1-9]"}}, {{"pattern", "\\$\\{"}}})}}};
}

const Spec<CpuParams>& cpu_params() {
  static const auto spec = Spec<CpuParams>().required("share", &CpuParams::share, "how much of one processor core it gets, all of its threads and processes together", at_least_one_percent());
  return spec;
}

const AnySpec& cpu_spec() { return cpu_params(); }

struct Quota {
  std::int64_t quota = -1;  // microseconds of processor time in each period; below zero: as much as there is
  std::int64_t period = kPeriodUs;
  double share() const { return quota < 0 ? 1e9 : static_cast<double>(quota) / static_cast<double>(period); }
};

std::int64_t number(const std::string& text, std::int64_t otherwise) {
  std::int64_t out = 0;
  return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc() ? out : otherwise;
}

Quota quota_of(int version, const std::string& first, const std::string& second) {
  if (version == 1) return {number(first, -1), number(second, kPeriodUs)};
  const auto parts = words_of(first);
  return parts.size() == 2 ? Quota{number(parts[0], -1), number(parts[1], kPeriodUs)} : Quota();
}

Quota wanted(double share, const Quota& there) {
  Quota out;
  const auto quota_in = [&](std::int64_t period) { return std::llround(share * static_cast<double>(period)); };
  if (there.period >= kShortestPeriodUs && there.period <= kPeriodUs && quota_in(there.period) >= kLeastQuotaUs) out.period = there.period;
  out.quota = quota_in(out.period);
  return out;
}

std::vector<LimitChange> changes_of(const Placement& placement, double share) {
  if (placement.version == 2) {
    const std::string was = limit_there(placement, "cpu.max", "max 100000");
    const Quota quota = wanted(share, quota_of(2, was, ""));
    return {{"cpu.max", "", was, fmt::format("{} {}", quota.quota, quota.period)}};
  }
  const std::string quota_was = limit_there(placement, "cpu.cfs_quota_us", "-1");
  const std::string period_was = limit_there(placement, "cpu.cfs_period_us", "100000");
  const Quota there = quota_of(1, quota_was, period_was);
  const Quota quota = wanted(share, there);
  LimitChange quota_change{"cpu.cfs_quota_us", "", quota_was, std::to_string(quota.quota)};
  LimitChange period_change{"cpu.cfs_period_us", "", period_was, std::to_string(quota.period)};
  if (quota.period == there.period) return {std::move(quota_change)};
  if (quota.period > there.period) return {std::move(period_change), std::move(quota_change)};  // at no moment more than before
  return {std::move(quota_change), std::move(period_change)};
}

std::string percent(double share) { return fmt::format("{:.3g} %", share * 100); }

void refuse_tighter_limit(const Placement& placement, double share) {
  const bool v2 = placement.version == 2;
  const Quota now = quota_of(placement.version, limit_now(placement, v2 ? "cpu.max" : "cpu.cfs_quota_us", v2 ? "max 100000" : "-1"), limit_now(placement, "cpu.cfs_period_us", "100000"));
  if (now.share() > share) return;
  throw Error(ErrorKind::refused, fmt::format("{} is limited to {} of a core already: {} would be no less", describe(placement.step.processes), percent(now.share()), percent(share)), "write a smaller share");
}

Task<FaultPlan> plan_cpu(FaultRequest request, HostView& host) {
  const CpuParams params = cpu_params().parse_or_throw(request.params);
  const CgroupAim aim = co_await aim_at_cgroups(std::move(request), Controller::cpu, host);
  FaultPlan plan;
  for (const Placement& placement : aim.placements) {
    refuse_tighter_limit(placement, params.share.value);
    plan.steps.push_back(limit_step(placement, changes_of(placement, params.share.value)));
  }
  const bool alone = aim.chosen.processes.size() == 1;
  plan.summary = fmt::format("{} {} {} of a processor core, {}", named(aim.chosen), alone ? "gets" : "get together", percent(params.share.value), aim.words());
  plan.intended = {{"share", params.share.value}};
  if (!alone) plan.intended["target"] = aim.chosen.how;
  plan.observe = usage_query(plan.steps, Controller::cpu, kWindow);
  co_return plan;
}

StepEffect outcome(const Step& step, double intended, const Json& before, const Json& after) {
  StepEffect out;
  for (const char* key : {"share", "throttled", "periods"}) out.measured[key] = after.value(key, Json());
  out.measured["share_before"] = before.value("share", Json());
  out.because = after.value("same", "") == "yes" ? why_not_limited(step, after) : after.value("because", "");
  if (!out.because.empty()) return out;
  const double got = after.at("share").get<double>();
  const auto throttled = after.at("throttled").get<std::uint64_t>();
  const bool within = got <= intended * (1 + kTolerance) + kTolerancePoints;
  out.bites = within && throttled > 0;
  out.because = fmt::format("got {} of a core (intended {}, before {}), held back in {} of {} periods", percent(got), percent(intended), percent(before.value("share", 0.0)), throttled, after.at("periods").get<std::uint64_t>());
  if (within && throttled == 0) out.because += ": it did not ask for more";
  return out;
}

Effect cpu_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  return effect_of(plan, before, after, [&](std::size_t i, const Json& then, const Json& now) { return outcome(plan.steps[i], plan.intended.at("share").get<double>(), then, now); });
}

}  // namespace

FaultType process_cpu() {
  FaultType type;
  type.name = "process.cpu";
  type.doc = "a process gets only a share of a processor core";
  type.target_types = {"process", "container"};
  type.spec = cpu_spec;
  type.example = {{"fault", "process.cpu"}, {"target", "auth2"}, {"share", "20%"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan_cpu;
  type.effect = cpu_effect;
  type.undo_doc = "sets the limit of its cgroup back, or moves the process back to its cgroup; without it the limit stays until that cgroup goes";
  return type;
}

}  // namespace capsize
