// The machine this process runs on: the one place where ops are carried out and journalled. Every Host ends in one of these.
#pragma once
#include <memory>
#include <string>

#include "injector/host/host.h"
#include "injector/undo/guard.h"
#include "injector/undo/reverter.h"
#include "injector/undo/state_dir.h"

namespace capsize {

struct LocalHostOptions {
  std::string run;
  std::string boot_id;                 // of now
  FindOp find = find_op;
  StartGuard start_guard;              // called before the first apply; required
  Duration undo_limit = kUndoLimit;    // of one attempt of one undo
  Duration apply_limit = std::chrono::seconds(30);
  Duration residue_patience = kUndoLimit;  // how long a guard that is at work on a dead run is waited for
};

// Throws Error::residue when a dead run left something outstanding in this state folder, with the command that takes it away. A guard that
// is at work is given options.residue_patience. Runs in progress elsewhere do not count. Old finished journals are removed.
Task<> refuse_residue(const StateDir& state, Clock& clock, std::string boot_id, Duration patience);

class LocalHost final : public Host {
 public:
  // `clock` outlives the host. Thread: control. The journal and the guard begin with the first apply.
  LocalHost(Clock& clock, StateDir state, LocalHostOptions options);
  ~LocalHost() override;  // undoes nothing: the guard does, when this process ends

  Task<> claim(std::vector<TargetHere> targets) override;
  Task<Json> inspect(Op query) override;
  Task<Json> apply(StepId id, Step step, Duration lifetime) override;
  Task<UndoReport> undo(StepId id) override;
  Task<std::vector<UndoReport>> undo_all() override;
  // Also lets the guard go, unless an undo failed: then the guard goes on trying when this process has ended.
  Task<> close() override;
  // As close(), where nobody is left to be told: the journal of what was undone stays for who asks for the run's reports, as a guard's does.
  Task<> close_untold();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace capsize
