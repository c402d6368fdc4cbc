// The ops on processes, and what they have in common.
#pragma once
#include <string>

#include "injector/op_type.h"
#include "injector/targets/process.h"
#include "injector/targets/process_selector.h"

namespace capsize {

OpType container_identify();
OpType process_identify();
OpType process_state();
OpType process_hold();
OpType process_release();
OpType process_signal();
OpType process_fate();
OpType process_revive();
OpType process_stutter();
OpType process_rhythm();
OpType process_stop();
OpType process_continue();

// What process.identify answers: {"that", "found": [{"identity", "never_a_target", "ended", "stopped", "tracer", "trace", "signal", ...}]}.
Json look_at_processes(const SelectedProcesses& selected, const OpContext& context);

// The process of args["identity"], proven to be the same at this moment and not stopped. Throws Error: changed (ended, replaced, stopped
// or traced since it was planned), unavailable (cannot tell), refused (never a target).
struct ProvenProcess {
  TargetProcess process;
  UniqueFd pidfd;
};
ProvenProcess prove_running(const Json& args);
ProvenProcess prove_same(TargetProcess process);  // it may be stopped

bool is_stopped(const std::vector<ThreadLook>& threads);    // any of them is, or is about to be
bool has_ended(const std::vector<ThreadLook>& threads);     // none, or only what is left of them
Json count_states(const std::vector<ThreadLook>& threads);  // {"S": 3, "R": 1}

// What process.release answers to what it sees: `undone` or `nothing_to_undo`, else what keeps the process from running. Pure.
struct Tracer {
  int pid = 0;  // 0: none
  std::string name;
  bool is_capsize = false;
};
UndoResult judge_release(const TargetProcess& process, const std::vector<ThreadLook>& threads, const Tracer& tracer);

// The mark of a stop of ours (process_mark.h).
std::string stop_mark(const Json& args, const TargetProcess& process);

}  // namespace capsize
