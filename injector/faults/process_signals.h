// What process.kill and process.restart have in common.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "injector/faults/process_targets.h"
#include "injector/targets/signal.h"

namespace capsize {

using RestartCommand = std::optional<std::vector<std::string>>;
Rule<RestartCommand> a_command();
inline constexpr const char* kRestartDoc = "the command that starts it again, as [\"systemctl\", \"start\", \"nginx\"]: no shell, run by the user that capsize runs as";

// One step for all that were chosen: those of a container go with its first. Throws Error: refused, privilege (CAP_KILL), unavailable.
FaultPlan plan_signal(const ChosenProcesses& chosen, const FaultRequest& request, int signal, const RestartCommand& restart);

// Notes down that `irreversible` was needed; throws Error::refused where the playbook does not say so. `what` would be done: "process 12 (x) would be killed".
void need_irreversible(FaultPlan& plan, const FaultRequest& request, const std::string& what, const std::string& otherwise);

// What process.fate answered, counted.
struct Fates {
  std::size_t all = 0;
  std::size_t ended = 0;      // of ours
  std::size_t delivered = 0;  // got it: ended, or caught it
  std::string exception;      // why one of them has not
  std::vector<std::string> successors;
  std::vector<std::string> listening;
};
Fates fates_of(const Json& answer);

}  // namespace capsize
