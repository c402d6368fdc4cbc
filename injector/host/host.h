// A machine that can be harmed and is always set right again: in this process (LocalHost), or an agent at the far end of stdin and
// stdout of any command (RemoteHost). There is one undo journal implementation, and it is the local one.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/op_type.h"
#include "injector/targets/host_view.h"

namespace capsize {

struct UndoReport {
  StepId step;
  UndoResult result;
};
Json to_json(const UndoReport& report);
UndoReport undo_report_from_json(const Json& json);

struct TargetHere {  // a target of a playbook, on this host
  std::string name;  // in the playbook
  std::string type;
  Json params = Json::object();
};

class Host : public HostView {
 public:
  // Holds these until close(): no other run meets them here meanwhile. All or none; once a run. Throws Error::unavailable, naming the run
  // that holds one of them, Error::residue as the first apply() does. Thread: control.
  virtual Task<> claim(std::vector<TargetHere> targets) = 0;
  // Journals `step.undo`, syncs file and folder, then performs `step.apply`. The host undoes it by itself after `lifetime`.
  // When it throws, the step is undone or was never applied, or is still in the journal and part of undo_all().
  // Thread: control. Returns the detail of the apply.
  virtual Task<Json> apply(StepId id, Step step, Duration lifetime) = 0;
  // Undoes one step. Never throws for what the world says: that is the report's state.
  virtual Task<UndoReport> undo(StepId id) = 0;
  // Undoes all that the run still owes here, newest first. Never cancellable, never throws for what the world says.
  virtual Task<std::vector<UndoReport>> undo_all() = 0;
  // The run is over here: with nothing outstanding the journal goes; else it stays, and `capsize status` shows it.
  virtual Task<> close() = 0;
  // Told of what the host did or lost by itself: {"what": "lifetime_undo" | "guard_lost" | "agent_lost" | "lease_undo", "step"?, "report"?, "because"}.
  std::function<void(Json notice)> on_notice;
};

}  // namespace capsize
