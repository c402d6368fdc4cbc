// A pid that is given to another process on purpose, between plan and inject and between inject and undo: the newcomer is never touched.
#include <catch2/catch.hpp>

#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;

namespace {

constexpr int kRounds = 100;

// The parent of targets, in a process of its own: it makes one with the number that is asked for, kills and reaps it.
// word: 1 make, 2 end; 0: done. made: the pid that is wanted (0: any), and then the one that it is. ran: signals that newcomers were sent.
class Nursery {
 public:
  Nursery() : child_([this] { return serve(); }) {}
  int make(Control& control, int wanted = 0) {
    shared_->made = static_cast<std::uint64_t>(wanted);
    tell(control, 1);
    const int pid = static_cast<int>(shared_->made.load());
    const auto beats = shared_->beats.load();
    REQUIRE(control.until([&] { return shared_->beats > beats; }));
    return pid;
  }
  void end(Control& control) { tell(control, 2); }
  bool beats_on(Control& control) {
    const auto before = shared_->beats.load();
    return control.until([&] { return shared_->beats > before + 1; });
  }
  std::uint64_t signals() { return shared_->ran; }

 private:
  void tell(Control& control, int word) {
    shared_->word = word;
    REQUIRE(control.until([&] { return shared_->word == 0; }));
  }

  int serve() {
    int current = 0;
    for (;;) {
      if (shared_->word == 1) {
        current = clone_with(static_cast<int>(shared_->made.load()));
        if (current < 0) return 1;
        shared_->made = static_cast<std::uint64_t>(current);
        shared_->word = 0;
      } else if (shared_->word == 2) {
        ::kill(current, SIGKILL);
        ::waitpid(current, nullptr, 0);
        shared_->word = 0;
      }
      ::usleep(200);
    }
  }

  int clone_with(int wanted) {
    pid_t number = wanted;
    clone_args args = {};
    args.exit_signal = SIGCHLD;
    if (wanted != 0) args.set_tid = reinterpret_cast<std::uint64_t>(&number), args.set_tid_size = 1;
    const long pid = ::syscall(SYS_clone3, &args, sizeof args);
    if (pid != 0) return static_cast<int>(pid);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    static Shared* seen = nullptr;
    seen = &*shared_;
    if (wanted != 0) {
      for (int signal = 1; signal < 32; ++signal) ::signal(signal, [](int) { seen->ran.fetch_add(1); });
    }
    for (;;) {
      shared_->beats.fetch_add(1);
      ::usleep(500);
    }
  }

  SharedMemory shared_;
  Child child_;
};

struct Way {
  const char* fault;
  Json params;
};

const std::vector<Way> kWays = {{"process.pause", {{"method", "ptrace"}}},
                                {"process.pause", {{"method", "sigstop"}}},
                                {"process.kill", {{"signal", "TERM"}}},
                                {"process.syscall", {{"calls", {"getppid"}}, {"error", "EIO"}}},
                                {"process.stutter", {{"share", "50%"}, {"period", "100ms"}}}};

bool is_untouched(int pid) {
  for (const ThreadLook& thread : ProcFs().threads(pid)) {
    if (thread.tracer != 0 || thread.stop_pending || thread.state == 'T' || thread.state == 't' || thread.state == 'Z') return false;
  }
  return !ProcFs().threads(pid).empty();
}

}  // namespace

TEST_CASE("a newcomer with the pid of what was planned is never touched, 100 of 100", "[process][reuse]") {
  Control control;
  StateFolder folder(control);
  Nursery nursery;
  int untouched = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Way& way = kWays[static_cast<std::size_t>(round) % kWays.size()];
    const int pid = nursery.make(control);
    const FaultPlan plan = control.plan(way.fault, {{"pid", pid}}, way.params, {"irreversible"});
    nursery.end(control);
    REQUIRE(nursery.make(control, pid) == pid);
    bool refused = false;
    try {
      control.apply(plan.steps[0].apply);
    } catch (const Error& error) {
      refused = error.kind() == ErrorKind::changed;
    }
    const UndoResult result = control.undo(plan.steps[0].undo);
    INFO(round << " " << way.fault << ": " << result.because);
    CHECK(refused);
    CHECK(result.state == UndoState::nothing_to_undo);
    CHECK(nursery.beats_on(control));
    untouched += refused && is_untouched(pid) && nursery.signals() == 0 ? 1 : 0;
    nursery.end(control);
  }
  CHECK(untouched == kRounds);
}

TEST_CASE("a newcomer with the pid of what was injected is not touched by the undo, 100 of 100", "[process][reuse]") {
  Control control;
  StateFolder folder(control);
  Nursery nursery;
  int untouched = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Way& way = kWays[static_cast<std::size_t>(round) % kWays.size()];
    const int pid = nursery.make(control);
    const FaultPlan plan = control.plan(way.fault, {{"pid", pid}}, way.params, {"irreversible"});
    Applied applied = control.apply(plan.steps[0].apply);
    nursery.end(control);
    REQUIRE(nursery.make(control, pid) == pid);
    if (std::string(way.fault) == "process.stutter") {  // which would take hold of it at its next stop
      const TimePoint later = control.clock.now() + std::chrono::milliseconds(120);
      CHECK(control.until([&] { return control.clock.now() > later; }));
    }
    const bool free_before = is_untouched(pid);
    if (applied.held) applied.held->release();
    const UndoResult result = control.undo(plan.steps[0].undo);
    INFO(round << " " << way.fault << ": " << result.because);
    CHECK(result.state == UndoState::nothing_to_undo);
    CHECK(nursery.beats_on(control));
    untouched += free_before && is_untouched(pid) && nursery.signals() == 0 ? 1 : 0;
    nursery.end(control);
  }
  CHECK(untouched == kRounds);
}
