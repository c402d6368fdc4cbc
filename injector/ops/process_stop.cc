// process.stop and process.continue: SIGSTOP and SIGCONT, for a process that cannot be traced. Nobody but us takes this back, so it is
// the second choice.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

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

void write_mark(const std::string& mark) {
  const std::string folder = std::filesystem::path(mark).parent_path().string();
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  struct stat info = {};
  const UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory || ::fstat(directory.get(), &info) != 0) throw system_error(problem ? problem.value() : errno, "the folder of marks " + folder, "make it writable: nothing was stopped");
  if (info.st_uid != ::geteuid()) throw Error(ErrorKind::unavailable, "the folder of marks " + folder + " belongs to someone else", "set CAPSIZE_STATE to a folder of your own");
  ::fchmod(directory.get(), 0700);
  const UniqueFd file(::openat(directory.get(), std::filesystem::path(mark).filename().c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) throw system_error(errno, "the mark " + mark, "make its folder writable: nothing was stopped");
}

struct MarkLook {
  Proof there = Proof::cannot_tell;
  std::string because;
};

MarkLook look_for_mark(const std::string& mark) {
  struct stat info = {};
  if (::lstat(mark.c_str(), &info) == 0) return {Proof::yes, ""};
  if (errno == ENOENT || errno == ENOTDIR) return {Proof::no, ""};
  return {Proof::cannot_tell, fmt::format("the mark {} cannot be looked for: {}", mark, std::strerror(errno))};
}

UndoResult answer(UndoState state, std::string because, std::string remedy = {}) { return {state, std::move(because), std::move(remedy), Json::object()}; }

// The mark has done its work. One that stays would let a later undo continue what someone else stopped.
UndoResult without_mark(UndoResult result, const std::string& mark) {
  if (::unlink(mark.c_str()) == 0 || errno == ENOENT || errno == ENOTDIR) return result;
  const std::string problem = std::strerror(errno);
  return answer(UndoState::failed, fmt::format("{}, but the mark {} cannot be removed: {}", result.because, mark, problem), "remove that file by hand");
}

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

std::string stop_mark(const Json& args, const TargetProcess& process) {
  const auto folder = args.find("mark_folder");
  if (folder == args.end() || !folder->is_string() || !folder->get_ref<const std::string&>().starts_with('/')) {
    throw Error(ErrorKind::bug, "process.stop without the folder of its mark");
  }
  for (const char c : process.boot_id) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
    if (!plain || process.boot_id.size() > 64) throw Error(ErrorKind::bug, "not the id of a boot: " + printable(process.boot_id, 80));
  }
  return fmt::format("{}/stopped-{}-{}-{}-{}", folder->get<std::string>(), process.boot_id, process.pid, process.start_ticks, process.pidfs_inode.value_or(0));
}

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
