// cgroup.limit and cgroup.restore: a limit on processes through their own cgroup, or through one of ours that they are moved to and back from.
//
// Whatever is in ours when it is undone is moved back: threads and child processes that were made meanwhile are in it from their birth.
// That a process is in ours is the proof that it is meant; what has the number of one that ended is not in it.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/cgroup/limit_step.h"
#include "injector/ops/cgroup_ops.h"
#include "injector/ops/process_ops.h"

namespace capsize {
namespace {

constexpr Duration kEmptyingLimit = std::chrono::seconds(5);
constexpr Duration kEmptyingPoll = std::chrono::milliseconds(5);

CgroupFolder opened(const CgroupRef& ref) {
  auto folder = CgroupFolder::open(ref);
  if (!folder) throw Error(ErrorKind::changed, fmt::format("cgroup {} is not the one that was planned with any more", ref.folder), "plan again: nothing was done to it");
  return std::move(*folder);
}

// Throws Error::changed when it is not where it was planned to be; below its own cgroup is well.
void require_place(const LimitStep& step, const TargetProcess& process) {
  const CgroupRef& planned = step.move ? step.move->from : step.cgroup;
  const auto answer = find_place(step.controller, process.pid);
  const std::string now = answer.place ? answer.place->folder : "?";
  if (now == planned.folder || (!step.move && now.starts_with(planned.folder + "/"))) return;
  throw Error(ErrorKind::changed, fmt::format("{} is in cgroup {} now, not in {}: someone has moved it since it was planned", describe(process), now, planned.folder), "plan again: nothing was done to it");
}

// Those that are still there, each proven to be the same. A worker that has ended meanwhile is no reason not to limit the others.
std::vector<TargetProcess> prove_any(const LimitStep& step) {
  const ProcFs proc;
  std::vector<TargetProcess> out;
  std::exception_ptr problem;
  for (const TargetProcess& process : step.processes) {
    try {
      prove_running({{"identity", to_json(process)}});
    } catch (const Error& error) {
      problem = std::current_exception();
      if (error.kind() == ErrorKind::changed && (proc.same_process(process).answer == Proof::no || has_ended(proc.threads(process.pid)))) continue;
      throw;
    }
    require_place(step, process);
    out.push_back(process);
  }
  if (out.empty()) std::rethrow_exception(problem);
  return out;
}

void refuse_strangers(const LimitStep& step, const CgroupFolder& cgroup) {
  const ProcFs proc;
  const auto members = cgroup.processes_below();
  for (const int pid : members) {
    const std::string forbidden = pid > 0 ? never_a_target(pid, proc) : "";
    if (!forbidden.empty()) throw Error(ErrorKind::changed, fmt::format("{} has come to be in cgroup {}", forbidden, cgroup.ref().folder), "nothing was done to it");
  }
  const auto strangers = step.whole ? std::vector<int>() : strangers_among(members, step.processes, proc);
  if (strangers.empty()) return;
  throw Error(ErrorKind::changed, fmt::format("cgroup {} does not belong to {} alone any more: process {} is in it too", cgroup.ref().folder, describe(step.processes), strangers.front()), "plan again: nothing was done to it");
}

void enable_controllers(const LimitStep& step) {
  for (const CgroupRef& ref : step.enable) {
    const CgroupFolder folder = opened(ref);
    folder.write("cgroup.subtree_control", fmt::format("+{}", to_string(step.controller)));
  }
}

void set_limit(const CgroupFolder& cgroup, const LimitChange& change, bool compare) {
  const auto now = read_limit(cgroup, change);
  if (!now) throw Error(ErrorKind::unavailable, fmt::format("cgroup {} has no {}", cgroup.ref().folder, change.file), "the kernel lacks that limit");
  if (compare && *now != change.was) {
    throw Error(ErrorKind::changed, fmt::format("{}/{} is \"{}\", and was \"{}\" when it was planned", cgroup.ref().folder, change.file, *now, change.was), "plan again: nothing was done to it");
  }
  write_limit(cgroup, change, change.set);
  const auto then = read_limit(cgroup, change);
  if (then == change.set) return;
  write_limit(cgroup, change, *now);
  throw Error(ErrorKind::unavailable, fmt::format("{}/{} was set to \"{}\" and reads \"{}\"", cgroup.ref().folder, change.file, change.set, then.value_or("")), "it was set back: choose a value that the kernel takes as it is");
}

void limit_own(const LimitStep& step) {
  const CgroupFolder cgroup = opened(step.cgroup);
  refuse_strangers(step, cgroup);
  enable_controllers(step);
  for (const LimitChange& change : step.changes) set_limit(cgroup, change, true);
}

void limit_in_ours(const LimitStep& step, const std::vector<TargetProcess>& processes) {
  opened(step.move->from);
  opened(step.move->parent).make_child(step.move->name);  // first: it is the mark by which the undo knows that there is something to undo
  enable_controllers(step);
  const CgroupFolder ours = opened(step.move->ours());
  for (const LimitChange& change : step.changes) set_limit(ours, change, false);
  for (const TargetProcess& process : processes) {
    try {
      require_place(step, process);
      ours.write("cgroup.procs", std::to_string(process.pid));
    } catch (const Error&) {  // one that has ended meanwhile is no reason not to limit the others
      if (!has_ended(ProcFs().threads(process.pid))) throw;
    }
  }
}

Task<Applied> apply_limit(Json args, OpContext&) {
  const LimitStep step = limit_step_from_json(args);
  const auto processes = prove_any(step);
  if (step.move) limit_in_ours(step, processes);
  else limit_own(step);
  for (const TargetProcess& process : processes) {  // its number may have come to mean another while we wrote it
    if (!step.move) break;  // nothing was written by number
    const Sameness still = ProcFs().same_process(process);
    if (still.answer == Proof::no && has_ended(ProcFs().threads(process.pid))) continue;  // and nobody else has its number
    if (still.answer != Proof::yes) throw Error(ErrorKind::changed, fmt::format("{} while it was being limited", still.because), "plan again");
  }
  Applied applied;
  applied.detail = {{"cgroup", step.limited().folder}, {"moved", static_cast<bool>(step.move)}, {"processes", processes.size()}};
  co_return applied;
}

UndoResult answer(UndoState state, std::string because, std::string remedy = {}) { return {state, std::move(because), std::move(remedy), Json::object()}; }

struct Controllers {
  bool switched_off = false;
  std::string words;  // what became of them, as the end of a sentence
};

// Bottom up, and only where nobody has come to need it. Our own cgroup goes, and needs nothing; the target's own may, when its limit is set back.
Controllers disable_controllers(const LimitStep& step) {
  Controllers out;
  for (auto ref = step.enable.rbegin(); ref != step.enable.rend(); ++ref) {
    const auto folder = CgroupFolder::open(*ref);
    const auto on = folder ? words_of(folder->read("cgroup.subtree_control").value_or("")) : std::vector<std::string>();
    if (std::find(on.begin(), on.end(), to_string(step.controller)) == on.end()) continue;
    const std::string needs = who_needs(step.controller, *folder, step.move && ref == step.enable.rbegin() ? step.move->name : "");
    out.words = fmt::format("; the {} controller stays on below {}", to_string(step.controller), ref->folder);
    if (!needs.empty()) {
      out.words += fmt::format(", since {} uses it", needs);
      return out;
    }
    try {
      folder->write("cgroup.subtree_control", fmt::format("-{}", to_string(step.controller)));
    } catch (const Error& problem) {
      out.words += fmt::format(": {}", problem.what());
      return out;
    }
    out.switched_off = true;
    out.words = fmt::format("; the {} controller is off again below {}", to_string(step.controller), ref->folder);
  }
  return out;
}

struct Restored {
  std::size_t undone = 0;
  std::string stranger;  // what is neither as it was nor as we left it
};

Restored restore_changes(const CgroupFolder& cgroup, const std::vector<LimitChange>& changes) {
  Restored out;
  for (auto change = changes.rbegin(); change != changes.rend(); ++change) {
    const auto now = read_limit(cgroup, *change);
    if (!now || *now == change->was) continue;
    if (*now != change->set) {
      out.stranger = fmt::format("{}/{} is \"{}\" (capsize set \"{}\", it was \"{}\")", cgroup.ref().folder, change->file, *now, change->set, change->was);
      continue;
    }
    write_limit(cgroup, *change, change->was);
    const auto then = read_limit(cgroup, *change);
    if (then && *then != change->was) throw Error(ErrorKind::unavailable, fmt::format("{}/{} reads \"{}\" after it was set back to \"{}\"", cgroup.ref().folder, change->file, *then, change->was));
    ++out.undone;
  }
  return out;
}

std::string by_hand(const CgroupRef& cgroup, const LimitChange& change) {
  return fmt::format("echo '{}{}' > {}/{}", change.key.empty() ? "" : change.key + " ", change.was, cgroup.folder, change.file);
}

UndoResult restore_own(const LimitStep& step) {
  const auto cgroup = CgroupFolder::open(step.cgroup);
  const std::string where = step.cgroup.folder;
  const Restored restored = cgroup ? restore_changes(*cgroup, step.changes) : Restored();
  if (!restored.stranger.empty()) {
    return answer(UndoState::refused, fmt::format("someone else has changed a limit meanwhile, and it was left alone: {}", restored.stranger), fmt::format("if it should be as before: {}", by_hand(step.cgroup, step.changes.front())));
  }
  const Controllers controllers = disable_controllers(step);  // also when no limit was: an apply may have come no further
  const UndoState state = restored.undone > 0 || controllers.switched_off ? UndoState::undone : UndoState::nothing_to_undo;
  if (!cgroup) return answer(state, fmt::format("cgroup {} is gone, and its limits with it{}", where, controllers.words));
  if (restored.undone == 0) return answer(state, fmt::format("the limits of cgroup {} are as they were{}", where, controllers.words));
  return answer(state, fmt::format("the limits of cgroup {} are set back to what they were{}", where, controllers.words));
}

// A process that ends meanwhile is no problem; what the kernel refuses is.
std::string move_back(const CgroupFolder& ours, const CgroupFolder& from) {
  for (const int pid : ours.processes()) {
    if (pid <= 0) return "a process of another pid namespace is in it";
    try {
      from.write("cgroup.procs", std::to_string(pid));
    } catch (const Error& problem) {
      if (ProcFs().stat(pid)) return problem.what();
    }
  }
  return "";
}

Task<std::string> empty_ours(CgroupRef ours_ref, CgroupRef from_ref, OpContext& context) {
  const TimePoint end = context.clock.now() + kEmptyingLimit;
  std::string problem;
  for (;;) {
    const auto ours = CgroupFolder::open(ours_ref);
    const auto from = CgroupFolder::open(from_ref);
    if (!ours || ours->processes().empty()) co_return "";
    if (!from) co_return fmt::format("cgroup {}, which it came from, is gone", from_ref.folder);
    problem = move_back(*ours, *from);
    if (!problem.empty() && context.clock.now() >= end) co_return problem;
    if (problem.empty() && context.clock.now() >= end) co_return std::string("new processes appear in it faster than they can be moved");
    co_await context.clock.sleep(kEmptyingPoll);
  }
}

// Before all else: what stays in ours, or is charged to it when it is gone (sockets, writes on their way to a disk), is free of our limits.
std::string lift(const CgroupFolder& ours, const LimitStep& step) {
  std::string kept;
  for (auto change = step.changes.rbegin(); change != step.changes.rend(); ++change) {  // each by itself: one that fails does not hold up the others
    try {
      const Restored restored = restore_changes(ours, {*change});
      if (!restored.stranger.empty()) kept = fmt::format("a limit that someone else has changed was left: {}", restored.stranger);
    } catch (const Error& failure) {
      kept = fmt::format("a limit of it could not be lifted either: {}", failure.what());
    }
  }
  return kept.empty() ? "its limits are lifted" : kept;
}

UndoResult lift_in_ours(const CgroupFolder& ours, const std::string& problem, const std::string& lifted) {
  return answer(UndoState::failed, fmt::format("what is in {} could not be moved back: {}; {}", ours.ref().folder, problem, lifted),
                fmt::format("move the processes of {}/cgroup.procs to where they belong, then: rmdir {}", ours.ref().folder, ours.ref().folder));
}

UndoResult judge_moved(const LimitStep& step, const std::string& rest) {
  const std::string gone = fmt::format("the cgroup {} is removed{}", step.move->ours().folder, rest);
  std::vector<TargetProcess> back;
  std::string ended;
  for (const TargetProcess& process : step.processes) {
    const Sameness same = ProcFs().same_process(process);
    if (same.answer == Proof::no) ended = same.because;
    if (same.answer == Proof::no) continue;  // what cannot be told is only reported, and that is well enough
    const auto now = find_place(step.controller, process.pid);
    if (now.place && now.place->folder != step.move->from.folder) {
      return answer(UndoState::refused, fmt::format("{}, but someone has moved {} to {} meanwhile, and there it was left", gone, describe(process), now.place->folder),
                    fmt::format("if it belongs there, accept it; else: echo {} > {}/cgroup.procs", process.pid, step.move->from.folder));
    }
    back.push_back(process);
  }
  if (back.empty()) return answer(UndoState::undone, fmt::format("{}; {}", gone, ended.empty() ? "nobody was in it" : ended));
  return answer(UndoState::undone, fmt::format("{} {} back in cgroup {}, and {}", describe(back), back.size() == 1 ? "is" : "are", step.move->from.folder, gone));
}

Task<UndoResult> restore_moved(LimitStep step, OpContext& context) {
  const CgroupRef ours_ref = step.move->ours();
  const auto parent = CgroupFolder::open(step.move->parent);
  const auto found = parent ? CgroupFolder::open(ours_ref) : std::nullopt;
  if (!found) co_return answer(UndoState::nothing_to_undo, fmt::format("there is no cgroup {}", ours_ref.folder));
  const std::string lifted = lift(*found, step);
  const auto problem = co_await empty_ours(ours_ref, step.move->from, context);
  if (!problem.empty()) {
    const auto ours = CgroupFolder::open(ours_ref);
    if (ours) co_return lift_in_ours(*ours, problem, lifted);
  }
  const std::string rest = disable_controllers(step).words;
  const TimePoint end = context.clock.now() + kEmptyingLimit;
  int error = parent->remove_child(step.move->name);
  while (error == EBUSY && context.clock.now() < end) {  // what ended in it a moment ago is not quite gone
    co_await context.clock.sleep(kEmptyingPoll);
    error = parent->remove_child(step.move->name);
  }
  if (error != 0 && error != ENOENT) {
    co_return answer(UndoState::failed, fmt::format("{} could not be removed: {}; {}", ours_ref.folder, std::strerror(error), lifted), "look for cgroups that someone made below it, then: rmdir " + ours_ref.folder);
  }
  co_return judge_moved(step, rest);
}

Task<UndoResult> undo_limit(Json args, OpContext& context) {
  const LimitStep step = limit_step_from_json(args);
  std::string problem;
  try {
    if (!step.move) co_return restore_own(step);
    auto restored = co_await restore_moved(step, context);
    co_return restored;
  } catch (const Error& error) {
    problem = error.what();
  }
  co_return answer(UndoState::failed, problem, fmt::format("look at {}, then revert again", step.limited().folder));
}

}  // namespace

OpType cgroup_limit() {
  OpType type{"cgroup.limit", Lasts::until_reboot, "limits what processes get, by their own cgroup or by one of ours that they are moved to"};
  type.apply = apply_limit;
  return type;
}

OpType cgroup_restore() {
  OpType type{"cgroup.restore", Lasts::until_reboot, "sets the limits of a cgroup back, or moves everything in a cgroup of ours back and removes it"};
  type.undo = undo_limit;
  return type;
}

}  // namespace capsize
