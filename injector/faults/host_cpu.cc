// host.cpu: the processors of a machine have less time for everybody else.
#include <fmt/format.h>

#include "injector/base/error.h"
#include "injector/faults/host_faults.h"

namespace capsize {
namespace {

constexpr double kMostOfIntended = 0.8;   // what must be got of it
constexpr double kContended = 0.3;        // and on a machine without idle time, where all wait for processors
constexpr double kNoIdleTime = 0.97;

struct CpuParams {
  Share share{1.0};
  std::optional<Count> cores;
};

const Spec<CpuParams>& cpu_params() {
  static const auto spec = Spec<CpuParams>()
                               .optional("share", &CpuParams::share, "how much of the time of each of these processors capsize takes",
                                         Rule<Share>{[](const Share& share) -> std::optional<Mistake> {
                                                       if (share.value >= 0.01) return std::nullopt;
                                                       return Mistake{"less than 1%", "write from \"1%\" to \"100%\""};
                                                     },
                                                     nullptr})
                               .optional("cores", &CpuParams::cores, "of how many processors, from the first; without it, of all that capsize may use", if_given(between(1, 16384)));
  return spec;
}

const AnySpec& cpu_spec() { return cpu_params(); }

FaultPlan decide(const CpuParams& params, const Json& look) {
  auto cpus = look.at("allowed").get<std::vector<int>>();
  const int processors = look.at("processors").get<int>();
  if (params.cores && *params.cores > cpus.size()) {
    throw Error(ErrorKind::refused, fmt::format("{} processors are wanted, and capsize may use {} of the {} of this host", *params.cores, cpus.size(), processors),
                fmt::format("write \"cores\": {} or less, or see the CPUs that the agent is bound to: taskset -p", cpus.size()));
  }
  if (params.cores) cpus.resize(*params.cores);
  const double of_machine = params.share.value * static_cast<double>(cpus.size()) / std::max(processors, 1);
  const auto id = look.at("new_id").get<std::string>();
  FaultPlan plan;
  plan.steps.push_back(burden_step(id, {{"burden", "cpu"}, {"cpus", cpus}, {"share", params.share.value}}));
  plan.summary = fmt::format("{} of the time of {} of {} processors goes to capsize, {} of the machine: it ends with the agent", show(params.share), cpus.size(), processors, in_percent(of_machine));
  plan.intended = {{"share", of_machine}, {"processors", cpus.size()}, {"share_of_each", params.share.value}};
  plan.observe = {"host.cpu_use", {{"id", id}}};
  return plan;
}

Task<FaultPlan> plan_cpu(FaultRequest request, HostView& host) {
  const CpuParams params = cpu_params().parse_or_throw(request.params);
  Op query;
  query.type = "host.cpu_use";
  const Json look = co_await host.inspect(query);
  co_return decide(params, look);
}

Effect cpu_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  Effect effect;
  effect.intended = plan.intended;
  const double intended = plan.intended.at("share").get<double>();
  const double ours = after.value("ours", 0.0);
  const double busy = after.value("busy", 0.0);
  effect.measured = {{"share", ours}, {"busy", busy}, {"busy_before", before.value("busy", Json())}, {"window", after.value("window", "")}};
  effect.because = no_bearer(after);
  if (!effect.because.empty()) return effect;
  const bool crowded = busy >= kNoIdleTime;
  effect.bites = ours >= intended * (crowded ? kContended : kMostOfIntended);
  effect.because = fmt::format("capsize takes {} of the machine's processor time, {} was intended; the machine is {} busy (before: {})", in_percent(ours), in_percent(intended), in_percent(busy),
                               before.contains("busy") ? in_percent(before.value("busy", 0.0)) : "unknown");
  if (crowded && ours < intended * kMostOfIntended) effect.because += ": others want the same processors, and nobody there finds one idle";
  return effect;
}

}  // namespace

FaultType host_cpu() {
  FaultType type;
  type.name = "host.cpu";
  type.doc = "The processors of a machine have less time for everybody else.";
  type.target_types = {"host"};
  type.spec = cpu_spec;
  type.example = {{"fault", "host.cpu"}, {"target", "machine"}, {"share", "80%"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan_cpu;
  type.effect = cpu_effect;
  type.undo_doc = "ends the process that takes the time; by itself the kernel does so as soon as the agent is gone, however it dies";
  type.stacks = true;
  return type;
}

}  // namespace capsize
