// What the faults that limit processes through cgroups have in common. Processes that are in one cgroup are limited together.
#pragma once
#include <functional>
#include <vector>

#include "injector/cgroup/placement.h"
#include "injector/faults/process_targets.h"

namespace capsize {

struct CgroupAim {
  ChosenProcesses chosen;
  std::vector<Json> looks;           // of each cgroup that they are in: what cgroup.look says
  std::vector<Placement> placements; // of each of them, in the same order
  std::string words() const;         // where the limits go, for the summary
};

// Chooses the processes, looks at their cgroups, and decides where their limits go. Throws Error as choose_processes and place_limits do.
Task<CgroupAim> aim_at_cgroups(FaultRequest request, Controller controller, HostView& host);

Step limit_step(const Placement& placement, std::vector<LimitChange> changes);  // pure
Op usage_query(const Plan& steps, Controller controller, std::chrono::milliseconds window);  // of limit_step()s; pure

// The present value of a limit where it will be put, and of the cgroup that the processes are in now; `unlimited` where there is none yet.
std::string limit_there(const Placement& placement, const std::string& file, const std::string& unlimited);
std::string limit_now(const Placement& placement, const std::string& file, const std::string& unlimited);

// Of an answer of cgroup.usage: one for each step; empty: it is no such answer.
std::vector<Json> uses_of(const Json& answer);

// Why the limits of a step are not in place, as a sentence; empty: they are. `use`: of that step, of an answer of cgroup.usage.
std::string why_not_limited(const Step& step, const Json& use);

struct StepEffect {  // of one step
  bool bites = false;
  std::string because;
  Json measured;
};
// Of the looks before and during the fault; bites when each step does. `judge` gets the number of a step and its uses.
using Judge = std::function<StepEffect(std::size_t step, const Json& before, const Json& during)>;
Effect effect_of(const FaultPlan& plan, const Json& before, const Json& after, const Judge& judge);

}  // namespace capsize
