#include "injector/ops/process_trace.h"

#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>

namespace capsize {
namespace {

Error traced_by(const TargetProcess& process, const ThreadLook& thread) {
  return Error(ErrorKind::changed, fmt::format("{}: its thread {} is traced by process {}", describe(process), thread.tid, thread.tracer),
               "end that debugger, or plan again with method sigstop");
}

}  // namespace

TracedProcess::TracedProcess(TargetProcess process) : process_(std::move(process)) {
  const auto look = proc_.stat(process_.pid);
  own_child_ = look && look->parent == ::getpid();
}

// Left to who waits for it in this process: taken here, it would be gone for them.
bool TracedProcess::is_end_of_own_child(int tid) const noexcept {
  if (!own_child_ || tid != process_.pid) return false;
  siginfo_t info = {};
  if (::waitid(P_PID, static_cast<id_t>(tid), &info, WEXITED | WNOWAIT | WNOHANG | __WALL) != 0 || info.si_pid != tid) return false;
  return info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
}

void TracedProcess::seize_threads() {
  for (const ThreadLook& thread : proc_.threads(process_.pid)) {
    const bool ended = thread.state == 'Z' || thread.state == 'X';
    if (ended && thread.tid == process_.pid) ended_leader_ = true;  // stays for as long as the other threads do
    if (!ended && tracees_.count(thread.tid) == 0) seize(thread.tid);
  }
}

bool TracedProcess::has_all() const {
  const auto look = proc_.stat(process_.pid);
  return !look || look->threads == tracees_.size() + (ended_leader_ && tracees_.count(process_.pid) == 0 ? 1 : 0);
}

void TracedProcess::service() noexcept {
  for (auto it = tracees_.begin(); it != tracees_.end();) {
    const int tid = it->first;
    if (is_end_of_own_child(tid)) {
      it = tracees_.erase(it);
      continue;
    }
    int status = 0;
    const int reported = ::waitpid(tid, &status, __WALL | WNOHANG);
    const bool ended = (reported < 0 && errno == ECHILD) || (reported == tid && !WIFSTOPPED(status));
    if (!ended && reported == tid) stopped(it->second, tid, status);
    if (!ended && it->second.stopped && !it->second.ours) it->second.ours = is_ours(tid);
    const bool let_go_now = !ended && it->second.stopped && (letting_go_ || !it->second.ours) && detach(tid, it->second);
    it = ended || let_go_now ? tracees_.erase(it) : std::next(it);
  }
  for (const int tid : newborn_) tracees_.emplace(tid, Tracee());
  newborn_.clear();
}

void TracedProcess::let_go() noexcept {
  letting_go_ = true;
  service();
}

bool TracedProcess::all_still() const {
  for (const auto& [tid, tracee] : tracees_) {
    if (!tracee.stopped && state_of(tid) != 'D') return false;
  }
  return true;
}

std::size_t TracedProcess::asleep_in_kernel() const {
  std::size_t count = 0;
  for (const auto& [tid, tracee] : tracees_) count += tracee.stopped ? 0 : 1;
  return count;
}

char TracedProcess::state_of(int tid) const {
  try {
    const auto look = proc_.status(tid);
    return look ? look->state : 'X';
  } catch (const Error&) {
    return '?';
  }
}

// Not a child process that the target made while we seized it, nor a stranger with the number of a thread that ended meanwhile.
bool TracedProcess::is_ours(int tid) const noexcept {
  try {
    return ::access(proc_.path(process_.pid, fmt::format("task/{}", tid)).c_str(), F_OK) == 0;
  } catch (const std::exception&) {
    return true;
  }
}

void TracedProcess::seize(int tid) {
  // Threads made from now on are born traced and stopped, so a process that makes threads faster than we look is held too.
  // No PTRACE_O_EXITKILL: our death must let the process go, not take it along.
  if (::ptrace(PTRACE_SEIZE, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(PTRACE_O_TRACECLONE))) == 0) {
    tracees_.emplace(tid, Tracee());
    ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
    return;
  }
  const int error = errno;
  if (error == ESRCH) return;
  const auto look = proc_.status(tid);
  if (!look || look->state == 'Z' || look->state == 'X') return;
  if (look->tracer == ::getpid()) {  // born traced, its report not yet seen
    tracees_.emplace(tid, Tracee());
    return;
  }
  if (look->tracer != 0) throw traced_by(process_, {tid, look->state, look->tracer, false});
  if (error != EPERM && error != EACCES) throw system_error(error, fmt::format("{}: its thread {} could not be traced", describe(process_), tid));
  throw Error(ErrorKind::privilege, fmt::format("{} may not be traced", describe(process_)),
              "run capsize there with CAP_SYS_PTRACE (as root), or as the same user with kernel.yama.ptrace_scope 0");
}

void TracedProcess::stopped(Tracee& tracee, int tid, int status) noexcept {
  tracee.stopped = true;
  const int event = status >> 16;
  if (event == 0) tracee.signal = WSTOPSIG(status);
  if (event != PTRACE_EVENT_CLONE) return;
  unsigned long born = 0;
  if (::ptrace(PTRACE_GETEVENTMSG, tid, nullptr, &born) != 0) return;
  try {
    newborn_.push_back(static_cast<int>(born));
  } catch (const std::exception&) {  // no memory: the next look at the process finds it
  }
}

bool TracedProcess::detach(int tid, const Tracee& tracee) noexcept {
  return ::ptrace(PTRACE_DETACH, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(tracee.signal))) == 0;
}

Task<> keep_serving(std::shared_ptr<TracedProcess> traced, Clock& clock) {
  while (!traced->done()) {
    co_await clock.sleep(kTraceServiceEvery);
    traced->service();
  }
}

}  // namespace capsize
