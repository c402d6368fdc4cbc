// Runs a playbook: check, connect, plan, baseline, fault, revert, recovery. Whatever happens, what was injected is undone.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "experiments/evidence.h"
#include "experiments/game/room.h"
#include "experiments/game/sealed.h"
#include "experiments/playbook.h"
#include "experiments/stop.h"
#include "experiments/timeline.h"
#include "injector/base/rng.h"
#include "injector/fault.h"
#include "injector/host/host.h"
#include "probes/probe.h"

namespace capsize {

// What a run stands on: the real machine, or virtual time and models in tests.
struct World {
  Clock* clock = nullptr;
  // Reaches the host of that name by its command (empty: this machine). Throws Error: nothing has been touched then.
  std::function<Task<std::unique_ptr<Host>>(std::string name, std::vector<std::string> via)> connect;
  // See ProbeContext::transport; empty on the real machine.
  std::function<std::unique_ptr<LoginTransport>(const ProbeContext&)> transport;
  std::function<std::unique_ptr<DocumentSource>(const ProbeContext&)> documents;  // the same
};

struct RunOptions {
  std::string run;             // its id
  std::uint64_t seed = 1;
  bool without_faults = false;
  std::optional<Seal> seal;            // the playbook is opened (open_sealed) with this choice; it is recorded at the start, and told at the end
  std::vector<ScriptedAnswer> answers;
  Room* room = nullptr;                // people who can answer; outlives the run
};

enum class Purpose {
  run,   // holds every target the playbook names: no other run meets one of them meanwhile
  look,  // nothing will be injected: others may
};

// The hosts of a playbook, connected, and the plan of each of its faults.
class PreparedRun {
 public:
  const std::vector<FaultPlan>& plans() const { return plans_; }
  // Of each fault of each sealed cause, whichever is chosen: so a plan that is refused tells nothing.
  const std::vector<std::vector<FaultPlan>>& sealed_plans() const { return sealed_plans_; }
  Host& host_of(const std::string& target);
  // Undoes what the run still owes on every host and closes them. Never throws for what the world says.
  Task<std::vector<UndoReport>> undo_all();
  Task<> close();

 private:
  friend Task<std::unique_ptr<PreparedRun>> prepare(const Playbook& playbook, World& world, std::uint64_t seed, Purpose purpose);
  const Playbook* playbook_ = nullptr;
  std::map<std::string, std::unique_ptr<Host>> hosts_;
  std::vector<FaultPlan> plans_;
  std::vector<std::vector<FaultPlan>> sealed_plans_;
};

// Connects, holds the targets and plans; only looks. `seed`: of the run; what a target chooses by chance is chosen again with it. Throws Error (refused, unavailable, privilege, residue) when it cannot be run as written, or another
// run holds one of its targets.
Task<std::unique_ptr<PreparedRun>> prepare(const Playbook& playbook, World& world, std::uint64_t seed = 1, Purpose purpose = Purpose::run);

Json plan_json(const Playbook& playbook, const PreparedRun& prepared);

// Runs what was prepared and records it. When it returns, every fault has been undone or is recorded as residue. Thread: control.
Task<> run_playbook(const Playbook& playbook, PreparedRun& prepared, const RunOptions& options, World& world, Timeline& timeline, StopSource& stop);

}  // namespace capsize
