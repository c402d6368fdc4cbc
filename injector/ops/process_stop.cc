// process.stop and process.continue: SIGSTOP and SIGCONT, for a process that cannot be traced. Nobody but us takes this back, so it is
// the second choice.
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "injector/ops/process_mark.h"
#include "injector/ops/process_ops.h"

namespace capsize {
namespace {

constexpr Duration kStopLimit = std::chrono::seconds(2);
constexpr Duration kStopPoll = std::chrono::milliseconds(2);

int send(const UniqueFd& pidfd, int signal) { return ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0 ? 0 : errno; }

// Stopped, or asleep in the kernel and stopping when they wake.
bool all_stopped(const std::vector<ThreadLook>& threads) {
  return !has_ended(threads) && std::all_of(threads.begin(), threads.end(), [](const ThreadLook& thread) { return std::string_view("TtDZX").find(thread.state) != std::string_view::npos; });
}

UndoResult answer(UndoState state, std::string because, std::string remedy = {}) { return {state, std::move(because), std::move(remedy), Json::object()}; }

Task<Applied> apply_stop(Json args, OpContext& context) {
  const ProvenProcess proven = prove_running(args);
  const std::string who = describe(proven.process);
  const std::string mark = stop_mark(args, proven.process);
  write_mark(mark);
  const TimePoint begun = context.clock.now();
  const int error = send(proven.pidfd, SIGSTOP);
  if (error != 0) {
    ::unlink(mark.c_str());
    throw system_error(error, fmt::format("{} could not be sent SIGSTOP", who), "run capsize there with CAP_KILL (as root), or as the same user");
  }
  const ProcFs proc;
  auto threads = proc.threads(proven.process.pid);
  while (!all_stopped(threads) && !has_ended(threads) && context.clock.now() - begun < kStopLimit) {
    co_await context.clock.sleep(kStopPoll);
    threads = proc.threads(proven.process.pid);
  }
  if (!all_stopped(threads)) {
    if (send(proven.pidfd, SIGCONT) != EPERM) ::unlink(mark.c_str());
    throw Error(ErrorKind::unavailable, fmt::format("{} ended or did not stop within {} of a SIGSTOP", who, show(kStopLimit)), "it was sent SIGCONT; look whether a debugger holds signals back");
  }
  Applied applied;
  applied.detail = {{"threads", threads.size()}, {"took_ms", seconds(context.clock.now() - begun) * 1e3}};
  co_return applied;
}

Task<UndoResult> undo_stop(Json args, OpContext& context) {
  const TargetProcess process = target_process_from_json(args.value("identity", Json()));
  const std::string who = describe(process);
  const std::string mark = stop_mark(args, process);
  const ProcFs proc;
  const Sameness same = proc.same_process(process);
  const MarkLook marked = look_for_mark(mark);
  if (marked.there == Proof::no) co_return answer(UndoState::nothing_to_undo, fmt::format("capsize has not stopped {}", who));
  if (marked.there == Proof::cannot_tell) co_return answer(UndoState::failed, marked.because, fmt::format("if process {} is stopped: kill -CONT {}", process.pid, process.pid));
  if (same.answer == Proof::no) co_return without_mark(answer(UndoState::nothing_to_undo, same.because), mark);
  if (same.answer == Proof::cannot_tell) {
    co_return answer(UndoState::failed, same.because, fmt::format("if process {} is still {}: kill -CONT {}", process.pid, process.comm, process.pid));
  }
  const bool was_stopped = is_stopped(proc.threads(process.pid));
  // Sent to a running process too: a stop that is still on its way to it is dropped by the kernel with this, and else nothing happens.
  const int error = send(same.pidfd, SIGCONT);
  if (error == ESRCH) co_return without_mark(answer(UndoState::nothing_to_undo, who + " has ended"), mark);
  if (error != 0) co_return answer(UndoState::failed, fmt::format("{} could not be sent SIGCONT: {}", who, std::strerror(error)), fmt::format("as its user or root: kill -CONT {}", process.pid));
  const TimePoint begun = context.clock.now();
  bool stopped = is_stopped(proc.threads(process.pid));
  while (stopped && context.clock.now() - begun < kStopLimit) {
    co_await context.clock.sleep(kStopPoll);
    stopped = is_stopped(proc.threads(process.pid));
  }
  if (stopped) {
    co_return without_mark(answer(UndoState::refused, fmt::format("{} was sent SIGCONT, but someone has stopped it again, or a debugger keeps it stopped", who),
                                  fmt::format("continue it in that debugger, or: kill -CONT {}", process.pid)), mark);
  }
  if (!was_stopped) co_return without_mark(answer(UndoState::nothing_to_undo, who + " was not stopped any more"), mark);
  co_return without_mark(answer(UndoState::undone, who + " was stopped and runs again"), mark);
}

}  // namespace

std::string stop_mark(const Json& args, const TargetProcess& process) { return process_mark("stopped", args, process); }

OpType process_stop() {
  OpType type{"process.stop", Lasts::until_restart, "stops a process with SIGSTOP"};
  type.apply = apply_stop;
  return type;
}

OpType process_continue() {
  OpType type{"process.continue", Lasts::until_restart, "continues with SIGCONT the process that process.stop has stopped, and no other"};
  type.undo = undo_stop;
  return type;
}

}  // namespace capsize
