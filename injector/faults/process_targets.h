// Which processes a fault is aimed at: a selector of the playbook, resolved once when the fault is planned. From then on there are only
// identities, each proven again right before anything is done to it.
#pragma once
#include <string>
#include <vector>

#include "injector/fault.h"
#include "injector/targets/process.h"

namespace capsize {

struct ChosenProcesses {
  std::vector<TargetProcess> processes;  // at least one; never capsize, its ancestors, pid 1, kernel threads, nor what has ended
  std::string words;                     // "process 123 (haproxy)", "2 of 7 processes that run /usr/sbin/nginx"
  Json how;                              // what the plan prints: the selector and what it resolved to
  std::vector<TargetProcess> others;     // match too, and were not chosen
  std::vector<Json> looks;               // of each process: what process.identify says ("stopped", "tracer", "trace", "signal", ...)
};

// For targets of type "process" and "container". Where several match, the target's "match" says how many are meant, and request.seed which.
// Throws Error: refused (never a target; several), unavailable (none, ended), and what the look throws.
Task<ChosenProcesses> choose_processes(FaultRequest request, HostView& host);

// Pure: `answer` is that of the look.
ChosenProcesses choose_among(const FaultRequest& request, const Json& answer);

// The containers that the target means, of what container.identify answered; at least one. Pure; throws as above.
std::vector<Json> choose_containers(const FaultRequest& request, const Json& answer);

// Throws Error for one that is traced already, is stopped, or may not be traced; `look` is what process.identify says of it.
void require_traceable(const Json& look, const TargetProcess& process);

// The look at the state of all of them, for FaultPlan::observe: "process.state".
Op state_query(const std::vector<TargetProcess>& processes);
// What it answered, one for each process; empty: it is not such an answer.
std::vector<Json> states_of(const Json& answer);

// "process 12 (nginx)" or "3 processes that run /usr/sbin/nginx: 12, 13, 14".
std::string named(const ChosenProcesses& chosen);

}  // namespace capsize
