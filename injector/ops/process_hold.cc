// process.hold and process.release: a process kept from running by tracing it. The kernel lets it go when we die, however we die.
//
// Only the thread that traces may ask for anything: all of this runs on the control thread. Nobody in this process may wait for *any*
// child (waitpid(-1)), or the reports of the threads held here would be lost.
#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "injector/ops/process_ops.h"

namespace capsize {
namespace {

constexpr Duration kFreezeLimit = std::chrono::seconds(5);
constexpr Duration kFreezePoll = std::chrono::milliseconds(1);
constexpr Duration kServiceEvery = std::chrono::milliseconds(20);
constexpr Duration kLetGoLimit = std::chrono::seconds(3);   // for those asleep in the kernel, who can be let go only when they wake
constexpr Duration kStopSettles = std::chrono::milliseconds(200);
constexpr Duration kLetGoPoll = std::chrono::milliseconds(5);

Error traced_by(const TargetProcess& process, const ThreadLook& thread) {
  return Error(ErrorKind::changed, fmt::format("{}: its thread {} is traced by process {}", describe(process), thread.tid, thread.tracer),
               "end that debugger, or plan again with method sigstop");
}

// The threads of one process, traced and stopped.
class Hold {
 public:
  explicit Hold(TargetProcess process) : process_(std::move(process)) {}
  ~Hold() { let_go(); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

  // Seizes what is not yet seized. Throws Error when it may not.
  void seize_threads() {
    for (const ThreadLook& thread : proc_.threads(process_.pid)) {
      const bool ended = thread.state == 'Z' || thread.state == 'X';
      if (ended && thread.tid == process_.pid) ended_leader_ = true;  // stays for as long as the other threads do
      if (!ended && tracees_.count(thread.tid) == 0) seize(thread.tid);
    }
  }

  // No thread but ours. A listing cannot say so: it misses a thread that was made by one that ended while we listed; their number does not.
  bool has_all() const {
    const auto look = proc_.stat(process_.pid);
    return !look || look->threads == tracees_.size() + (ended_leader_ && tracees_.count(process_.pid) == 0 ? 1 : 0);
  }

  // Takes what the kernel reports of our tracees, so that an ended one does not stay behind as ours, unseen by its parent.
  void service() noexcept {
    for (auto it = tracees_.begin(); it != tracees_.end();) {
      const int tid = it->first;
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

  void let_go() noexcept {
    letting_go_ = true;
    service();
  }

  void frozen() { frozen_ = true; }
  bool done() const { return tracees_.empty() && (frozen_ || letting_go_); }

  // Threads that do not run: stopped, or asleep in the kernel, to stop at its door when they wake.
  bool all_still() const {
    for (const auto& [tid, tracee] : tracees_) {
      if (!tracee.stopped && state_of(tid) != 'D') return false;
    }
    return true;
  }
  std::size_t asleep_in_kernel() const {
    std::size_t count = 0;
    for (const auto& [tid, tracee] : tracees_) count += tracee.stopped ? 0 : 1;
    return count;
  }
  std::size_t size() const { return tracees_.size(); }

 private:
  struct Tracee {
    bool stopped = false;
    bool ours = false;  // proven, once stopped, to be a thread of the process
    int signal = 0;  // stopped on its way to the process: goes on to it when we let go
  };

  char state_of(int tid) const {
    try {
      const auto look = proc_.status(tid);
      return look ? look->state : 'X';
    } catch (const Error&) {
      return '?';
    }
  }

  // Not a child process that the target made while we seized it, nor a stranger with the number of a thread that ended meanwhile.
  bool is_ours(int tid) const noexcept {
    try {
      return ::access(proc_.path(process_.pid, fmt::format("task/{}", tid)).c_str(), F_OK) == 0;
    } catch (const std::exception&) {
      return true;
    }
  }

  void seize(int tid) {
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

  void stopped(Tracee& tracee, int tid, int status) noexcept {
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

  bool detach(int tid, const Tracee& tracee) noexcept {
    return ::ptrace(PTRACE_DETACH, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(tracee.signal))) == 0;
  }

  TargetProcess process_;
  ProcFs proc_;
  std::map<int, Tracee> tracees_;
  std::vector<int> newborn_;
  bool ended_leader_ = false;
  bool frozen_ = false;
  bool letting_go_ = false;
};

// Ends by itself when nothing is held any more; the hold lives as long as this needs it.
Task<> keep_serving(std::shared_ptr<Hold> hold, Clock& clock) {
  while (!hold->done()) {
    co_await clock.sleep(kServiceEvery);
    hold->service();
  }
}

class HeldProcess final : public Held {
 public:
  explicit HeldProcess(std::shared_ptr<Hold> hold) : hold_(std::move(hold)) {}
  ~HeldProcess() override { hold_->let_go(); }
  void release() noexcept override { hold_->let_go(); }

 private:
  std::shared_ptr<Hold> hold_;
};

Task<Applied> apply_hold(Json args, OpContext& context) {
  const TimePoint begun = context.clock.now();
  const ProvenProcess proven = prove_running(args);
  const auto hold = std::make_shared<Hold>(proven.process);
  Applied applied;
  applied.held = std::make_unique<HeldProcess>(hold);  // from here on, whatever throws lets go
  hold->seize_threads();
  const auto executor = co_await asio::this_coro::executor;
  asio::co_spawn(executor, keep_serving(hold, context.clock), [](std::exception_ptr) {});
  for (;;) {
    hold->service();
    if (hold->all_still() && hold->has_all()) break;  // in this order: when ours are still and there is no other, nobody makes another
    if (context.clock.now() - begun > kFreezeLimit) {
      throw Error(ErrorKind::unavailable, fmt::format("{} did not stop within {}", describe(proven.process), show(kFreezeLimit)), "it was let go; try method sigstop");
    }
    co_await context.clock.sleep(kFreezePoll);
    hold->seize_threads();
  }
  hold->frozen();
  if (hold->size() == 0) throw Error(ErrorKind::changed, describe(proven.process) + " ended while it was being paused", "plan again");
  applied.detail = {{"threads", hold->size()}, {"asleep_in_kernel", hold->asleep_in_kernel()}, {"took_ms", seconds(context.clock.now() - begun) * 1e3}};
  co_return applied;
}

Tracer tracer_of(const std::vector<ThreadLook>& threads, const ProcFs& proc) {
  for (const ThreadLook& thread : threads) {
    if (thread.tracer == 0) continue;
    const auto look = proc.stat(thread.tracer);
    const auto program = proc.exe(thread.tracer);
    const auto ours = proc.exe(::getpid());
    const bool same_program = program && ours && program->device == ours->device && program->inode == ours->inode;
    return {thread.tracer, look ? printable(look->comm, 64) : "", same_program};
  }
  return {};
}

UndoResult look_for_release(const TargetProcess& process) {
  const ProcFs proc;
  UndoResult result;
  const Sameness same = proc.same_process(process);
  if (same.answer == Proof::no) return {UndoState::nothing_to_undo, same.because, "", {}};
  if (same.answer == Proof::cannot_tell) {
    return {UndoState::failed, same.because, fmt::format("look whether process {} runs; a tracing stop ends with capsize itself", process.pid), {}};
  }
  try {
    const auto threads = proc.threads(process.pid);
    return judge_release(process, threads, tracer_of(threads, proc));
  } catch (const Error& problem) {
    return {UndoState::failed, problem.what(), fmt::format("look at /proc/{}/status", process.pid), {}};
  }
}

Task<UndoResult> undo_hold(Json args, OpContext& context) {
  const TargetProcess process = target_process_from_json(args.value("identity", Json()));
  const TimePoint begun = context.clock.now();
  for (;;) {
    UndoResult result = look_for_release(process);
    const Duration waited = context.clock.now() - begun;
    if (result.state == UndoState::undone || result.state == UndoState::nothing_to_undo) co_return result;
    if (waited >= kLetGoLimit || (result.state == UndoState::refused && waited >= kStopSettles)) co_return result;
    co_await context.clock.sleep(kLetGoPoll);
  }
}

}  // namespace

UndoResult judge_release(const TargetProcess& process, const std::vector<ThreadLook>& threads, const Tracer& tracer) {
  UndoResult result;
  result.detail = {{"states", count_states(threads)}, {"tracer", tracer.pid}};
  const std::string who = describe(process);
  const bool stopped = is_stopped(threads);
  if (has_ended(threads)) {
    result.state = UndoState::nothing_to_undo;
    result.because = who + " has ended";
  } else if (tracer.is_capsize) {
    result.state = UndoState::failed;
    result.because = fmt::format("{} is still held by capsize (process {})", who, tracer.pid);
    result.remedy = fmt::format("end that capsize: kill {}", tracer.pid);
  } else if (tracer.pid != 0 && stopped) {
    result.state = UndoState::refused;
    result.because = fmt::format("{} was let go, but process {} ({}) traces it now and has stopped it", who, tracer.pid, tracer.name);
    result.remedy = "continue it in that debugger, or end the debugger";
  } else if (stopped) {
    result.state = UndoState::refused;
    result.because = fmt::format("{} was let go, but someone else has stopped it meanwhile", who);
    result.remedy = fmt::format("if nobody wants it stopped: kill -CONT {}", process.pid);
  } else {
    result.state = UndoState::undone;
    result.because = fmt::format("{} runs, and capsize does not hold it", who);
  }
  return result;
}

OpType process_hold() {
  OpType type{"process.hold", Lasts::while_held, "keeps every thread of a process from running, by tracing it"};
  type.apply = apply_hold;
  return type;
}

OpType process_release() {
  OpType type{"process.release", Lasts::while_held, "sees to it that a process that was held runs again"};
  type.undo = undo_hold;
  return type;
}

}  // namespace capsize
