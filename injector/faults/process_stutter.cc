// process.stutter: a process stands still for a part of every period, as with a collector that pauses it, or a busy host.
#include <fmt/format.h>

#include <cmath>

#include "injector/faults/process_targets.h"

namespace capsize {
namespace {

constexpr Duration kShortestPeriod = std::chrono::milliseconds(100);  // a stop takes a millisecond a thread on a busy machine
constexpr Duration kLongestPeriod = std::chrono::seconds(2);          // the effect is measured over two of them

struct StutterParams {
  Share share{0.5};
  Duration period = std::chrono::seconds(1);
};

Rule<Share> a_part() {
  return {[](const Share& share) -> std::optional<Mistake> {
            if (share.value >= 0.01 && share.value <= 0.95) return std::nullopt;
            return Mistake{"\"" + show(share) + "\" of each period is not a stutter", "write from \"1%\" to \"95%\"; process.pause stops it altogether"};
          },
          nullptr};
}

Rule<Duration> a_period() {
  return {[](const Duration& period) -> std::optional<Mistake> {
            if (period >= kShortestPeriod && period <= kLongestPeriod) return std::nullopt;
            return Mistake{"a period of " + show(period) + " is out of range", "write from \"100ms\" to \"2s\"; for one long stop use process.pause"};
          },
          nullptr};
}

const Spec<StutterParams>& stutter_params() {
  static const auto spec = Spec<StutterParams>()
                               .optional("share", &StutterParams::share, "how much of each period it stands still, from 1% to 95%", a_part())
                               .optional("period", &StutterParams::period, "how long a period is, from 100ms to 2s", a_period());
  return spec;
}

const AnySpec& stutter_spec() { return stutter_params(); }

Task<FaultPlan> plan_stutter(FaultRequest request, HostView& host) {
  const StutterParams params = stutter_params().parse_or_throw(request.params);
  const ChosenProcesses chosen = co_await choose_processes(request, host);
  FaultPlan plan;
  Json identities = Json::array();
  for (std::size_t i = 0; i < chosen.processes.size(); ++i) {
    require_traceable(chosen.looks[i], chosen.processes[i]);
    const Json identity = to_json(chosen.processes[i]);
    Step step;
    step.apply = {"process.stutter", {{"identity", identity}, {"share", show(params.share)}, {"period", show(params.period)}}};
    step.undo = {"process.release", {{"identity", identity}}};
    plan.steps.push_back(std::move(step));
    identities.push_back(identity);
  }
  plan.intended = {{"stopped_share", params.share.value}, {"period_ms", seconds(params.period) * 1e3}};
  if (request.target.contains("match")) plan.intended["target"] = chosen.how;
  plan.observe = {"process.rhythm", {{"identities", std::move(identities)}, {"share", show(params.share)}, {"period", show(params.period)}}};
  plan.summary = fmt::format("{} {} for {} of every {}, by tracing: the kernel lets go should capsize die", named(chosen), chosen.processes.size() == 1 ? "stands still" : "stand still",
                             show(params.share), show(params.period));
  co_return plan;
}

// Of a busy machine the clock is not exact: a tenth of the time either way, and never less than half of what was meant.
bool as_intended(double share, double intended) { return share >= intended / 2 && std::abs(share - intended) <= 0.1; }

Effect stutter_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"during", Json::array()}, {"before", Json::array()}};
  const double intended = plan.intended.value("stopped_share", 0.0);
  for (const Json& one : states_of(before)) effect.measured["before"].push_back(one.value("stopped_share", 0.0));
  std::size_t right = 0;
  double sum = 0;
  std::string exception;
  const std::vector<Json> seen = states_of(after);
  for (const Json& one : seen) {
    const double share = one.value("stopped_share", 0.0);
    effect.measured["during"].push_back(share);
    sum += share;
    if (one.value("same", "") != "yes") exception = one.value("because", "it cannot be told whether it is the same process");
    else if (as_intended(share, intended)) ++right;
  }
  effect.bites = !seen.empty() && right == seen.size() && exception.empty();
  if (seen.empty()) effect.because = "its rhythm could not be measured";
  else effect.because = fmt::format("stopped for {:.0f} % of the time, intended {:.0f} %", 100 * sum / static_cast<double>(seen.size()), 100 * intended);
  if (seen.size() > 1) effect.because = fmt::format("{} of {} processes as intended: {}", right, seen.size(), effect.because);
  if (!exception.empty()) effect.because = exception;
  return effect;
}

}  // namespace

FaultType process_stutter_fault() {
  FaultType type;
  type.name = "process.stutter";
  type.doc = "a process stands still for a part of every period, and runs in between";
  type.target_types = {"process", "container"};
  type.spec = stutter_spec;
  type.example = {{"fault", "process.stutter"}, {"target", "auth2"}, {"share", "40%"}, {"period", "500ms"}, {"at", "0s"}, {"for", "20s"}};
  type.plan = plan_stutter;
  type.effect = stutter_effect;
  type.undo_doc = "lets the process run again; by itself the kernel does so as soon as the agent is gone";
  return type;
}

}  // namespace capsize
