#include "injector/syscall/tamper_engine.h"

#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/audit.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <map>

#include "injector/base/error.h"
#include "injector/base/rng.h"
#include "injector/base/thread_alarm.h"

namespace capsize {
namespace {

constexpr Duration kLook = std::chrono::milliseconds(10);        // how late a stop may be heard
constexpr Duration kAgain = std::chrono::milliseconds(1);
constexpr Duration kLetGoLimit = std::chrono::milliseconds(250);
constexpr Duration kSeizeLimit = std::chrono::seconds(5);
constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;  // no PTRACE_O_EXITKILL: our death lets the process go

#if defined(__x86_64__)
constexpr bool kKnown = true;
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
// At the entry: a call of number -1 is not carried out, and answers what is in the register by then. So nothing is left to do at its exit,
// and should we die in between, the process sees what it was meant to, or its call is carried out: the answer is written first.
bool answer_instead(int tid, int error) {
  return ::ptrace(PTRACE_POKEUSER, tid, offsetof(user_regs_struct, rax), -static_cast<long>(error)) == 0 && ::ptrace(PTRACE_POKEUSER, tid, offsetof(user_regs_struct, orig_rax), -1L) == 0;
}
bool makes_a_filter(long number) { return number == SYS_seccomp || number == SYS_prctl; }
#else
constexpr bool kKnown = false;
constexpr std::uint32_t kArchitecture = 0;
bool answer_instead(int, int) { return false; }
bool makes_a_filter(long) { return false; }
#endif

struct Tracee {
  bool known_ours = false;
  bool stopped = false;      // held at the entry of a call, until `due`
  TimePoint since{}, due{};
};

// All of this is the engine's thread.
class Tracing {
 public:
  Tracing(const TamperPlan& plan, TamperEngine::Shared& shared) : plan_(plan), shared_(shared), chance_(Rng(plan.seed).stream("system calls")) {}

  // Throws Error when it may not be traced.
  void run() {
    seize_all();
    shared_.state = TamperEngine::State::on;
    while (!tracees_.empty()) {
      if (shared_.stopping && !letting_go_) begin_to_let_go();
      if (letting_go_ && clock_.now() > let_go_until_) return;  // the kernel lets the rest go with this thread
      set_alarm();
      const Met met = meet(0);
      if (met == Met::end) return;
      release_due();
    }
  }

 private:
  enum class Met { something, nothing, end };

  // The next report, waited for unless WNOHANG. That the process itself has ended is left where it is: when this thread ends, the kernel tells
  // its parent. Taken, it would be gone for the parent if that is this very process.
  Met meet(int how) {
    siginfo_t info = {};
    if (::waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOWAIT | __WALL | __WNOTHREAD | how) != 0) return errno == ECHILD ? Met::end : Met::nothing;
    if (info.si_pid == 0) return Met::nothing;
    const bool ended = info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
    if (ended && info.si_pid == plan_.process.pid) return Met::end;
    int status = 0;
    if (::waitpid(info.si_pid, &status, __WALL | __WNOTHREAD | WNOHANG) == info.si_pid) reported(info.si_pid, status);
    return Met::something;
  }

  void seize_all() {
    const TimePoint end = clock_.now() + kSeizeLimit;
    for (;;) {
      bool fresh = false;
      for (const ThreadLook& thread : proc_.threads(plan_.process.pid)) {
        if (thread.state != 'Z' && thread.state != 'X' && tracees_.count(thread.tid) == 0) fresh = seize(thread.tid) || fresh;
      }
      if (tracees_.empty()) throw Error(ErrorKind::changed, describe(plan_.process) + " has ended, or another fault of this run traces it", "plan again");
      const auto look = proc_.stat(plan_.process.pid);
      if (!fresh && (!look || look->threads <= tracees_.size() + 1)) return;  // threads made from now on are born traced; an ended leader counts
      const Sameness same = proc_.same_process(plan_.process);  // what is traced keeps its number: this is it, or it is let go
      if (same.answer != Proof::yes) throw Error(same.answer == Proof::no ? ErrorKind::changed : ErrorKind::unavailable, same.because, "plan again: nothing was done to it");
      if (clock_.now() > end) throw Error(ErrorKind::unavailable, fmt::format("the threads of {} could not all be traced within {}", describe(plan_.process), show(kSeizeLimit)), "it was let go; try again");
      drain();
    }
  }

  // Whatever is reported by now, so that nobody waits while we seize the others.
  void drain() {
    while (meet(WNOHANG) == Met::something) continue;
  }

  // The kernel asks a filter (seccomp) after us, and it would be asked about the number -1: the process may be killed for it.
  bool is_filtered(int tid) const {
    const auto look = proc_.status(tid);
    return look && look->filtered;
  }

  bool seize(int tid) {
    if (plan_.error != 0 && is_filtered(tid)) throw filtered_calls(plan_.process);
    if (::ptrace(PTRACE_SEIZE, tid, nullptr, reinterpret_cast<void*>(kOptions)) == 0) {
      track(tid);
      ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);  // its next stop is where its calls begin to be reported
      return true;
    }
    const int error = errno;
    const auto look = error == ESRCH ? std::nullopt : proc_.status(tid);
    if (!look || look->state == 'Z' || look->state == 'X') return false;
    const auto tracer = look->tracer == 0 ? std::nullopt : proc_.status(look->tracer);
    if (tracer && tracer->thread_group == ::getpid()) return false;  // born traced, its report not yet seen; or held by another fault of ours
    if (look->tracer != 0) throw Error(ErrorKind::changed, fmt::format("{}: its thread {} is traced by process {}", describe(plan_.process), tid, look->tracer), "end that debugger");
    if (error != EPERM && error != EACCES) throw system_error(error, fmt::format("{}: its thread {} could not be traced", describe(plan_.process), tid));
    throw Error(ErrorKind::privilege, fmt::format("{} may not be traced", describe(plan_.process)), "run capsize there with CAP_SYS_PTRACE (as root), or as the same user with kernel.yama.ptrace_scope 0");
  }

  void track(int tid) {
    tracees_.emplace(tid, Tracee());
    shared_.threads = tracees_.size();
  }

  void forget(int tid) {
    tracees_.erase(tid);
    shared_.threads = tracees_.size();
  }

  // Not a child process that was made by a clone without a signal, which the kernel takes for a thread.
  bool is_ours(int tid) const { return ::access(proc_.path(plan_.process.pid, fmt::format("task/{}", tid)).c_str(), F_OK) == 0; }

  void reported(int tid, int status) {
    if (!WIFSTOPPED(status)) return forget(tid);
    if (status >> 16 == PTRACE_EVENT_EXEC) {  // the other threads are gone without a report, and this one may have taken another's number
      tracees_.clear();
      alarm_for_ = {};
    }
    if (tracees_.count(tid) == 0) track(tid);  // born traced
    Tracee& tracee = tracees_[tid];
    const int signal = WSTOPSIG(status);
    const int event = status >> 16;
    const bool at_a_call = event == 0 && signal == (SIGTRAP | 0x80);
    const int deliver = event == 0 && !at_a_call ? signal : 0;
    if (!tracee.known_ours) tracee.known_ours = is_ours(tid);
    if (letting_go_ || !tracee.known_ours) return detach(tid, deliver);
    if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {  // stopped by SIGSTOP and its like: stays so, as it would without us
      ::ptrace(PTRACE_LISTEN, tid, nullptr, nullptr);
      return;
    }
    if (at_a_call && holds_at_entry(tid, tracee)) return;
    resume(tid, deliver);
  }

  void resume(int tid, int signal) { ::ptrace(PTRACE_SYSCALL, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(signal))); }

  void detach(int tid, int signal) {
    ::ptrace(PTRACE_DETACH, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(signal)));
    forget(tid);
  }

  // Counts a call, and tampers with it when it is meant. True: it is delayed, and stays stopped.
  bool holds_at_entry(int tid, Tracee& tracee) {
    __ptrace_syscall_info info = {};
    const long size = ::ptrace(PTRACE_GET_SYSCALL_INFO, tid, reinterpret_cast<void*>(sizeof info), &info);
    if (size < static_cast<long>(offsetof(__ptrace_syscall_info, entry) + sizeof info.entry.nr) || info.op != PTRACE_SYSCALL_INFO_ENTRY) return false;
    ++shared_.all_calls;
    if (info.arch != kArchitecture) return false;
    const long number = static_cast<long>(info.entry.nr);
    filters_may_come_ = filters_may_come_ || makes_a_filter(number);
    if (plan_.calls.count(number) == 0) return false;
    const bool fails = plan_.error != 0;
    const bool spared = fails && filters_may_come_ && is_filtered(tid);
    const bool hit = chance_.chance(plan_.share) && !spared && (!fails || answer_instead(tid, plan_.error));
    {
      const std::lock_guard lock(shared_.guard);  // these two are read together
      ++shared_.calls;
      if (hit) ++shared_.hit;
    }
    if (!hit || fails) return false;
    tracee.stopped = true;
    tracee.since = clock_.now();
    tracee.due = tracee.since + plan_.delay;
    return true;
  }

  void release_due() {
    const TimePoint now = clock_.now();
    for (auto& [tid, tracee] : tracees_) {
      if (!tracee.stopped || tracee.due > now) continue;
      tracee.stopped = false;
      {
        const std::lock_guard lock(shared_.guard);
        ++shared_.delayed;
        shared_.delayed_ns += static_cast<std::uint64_t>((now - tracee.since).count());
      }
      resume(tid, 0);
    }
  }

  void set_alarm() {
    const TimePoint now = clock_.now();
    TimePoint next = now + kLook;
    for (const auto& [tid, tracee] : tracees_) {
      if (tracee.stopped) next = std::min(next, tracee.due);
    }
    if (next >= alarm_for_ && alarm_for_ > now) return;  // it comes earlier, and we look again then
    alarm_for_ = next;
    alarm_.set(next, kAgain);
  }

  void begin_to_let_go() {
    letting_go_ = true;
    let_go_until_ = clock_.now() + kLetGoLimit;
    std::vector<int> held;
    for (const auto& [tid, tracee] : tracees_) {
      if (tracee.stopped) held.push_back(tid);
      else ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
    }
    for (const int tid : held) detach(tid, 0);
  }

  const TamperPlan& plan_;
  TamperEngine::Shared& shared_;
  SystemClock clock_;
  ThreadAlarm alarm_;
  TimePoint alarm_for_{};
  ProcFs proc_;
  Rng chance_;
  std::map<int, Tracee> tracees_;
  bool filters_may_come_ = false;
  bool letting_go_ = false;
  TimePoint let_go_until_{};
};

void trace(TamperPlan plan, TamperEngine::Shared& shared) {
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);  // what is sent to this process is for its control thread
  try {
    Tracing tracing(plan, shared);
    tracing.run();
  } catch (...) {
    const std::lock_guard lock(shared.guard);
    shared.problem = std::current_exception();
  }
  shared.state = TamperEngine::State::ended;
}

}  // namespace

bool can_tamper() { return kKnown; }

Error filtered_calls(const TargetProcess& process) {
  return Error(ErrorKind::unavailable, fmt::format("{} has a filter of system calls (seccomp): one that is not carried out is judged by that filter, which may end the process", describe(process)),
               "write \"delay\" in place of \"error\", or choose another fault");
}

TamperEngine::TamperEngine(TamperPlan plan) : thread_(trace, std::move(plan), std::ref(shared_)) {}

std::exception_ptr TamperEngine::problem() const {
  const std::lock_guard lock(shared_.guard);
  return shared_.problem;
}

TamperCounts TamperEngine::counts() const {
  const std::lock_guard lock(shared_.guard);
  TamperCounts out;
  out.calls = shared_.calls;
  out.hit = shared_.hit;
  out.all_calls = shared_.all_calls;
  out.delayed = shared_.delayed;
  out.delayed_by = Duration(static_cast<std::int64_t>(shared_.delayed_ns.load()));
  out.threads = static_cast<std::size_t>(shared_.threads.load());
  return out;
}

void TamperEngine::stop() noexcept {
  shared_.stopping = true;
  if (thread_.joinable()) thread_.join();
}

}  // namespace capsize
