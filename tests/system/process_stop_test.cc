// The second choice, SIGSTOP, and what must never be touched: the stops of others, and a newcomer with an old pid.
#include <catch2/catch.hpp>

#include <linux/sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;

namespace {

// Traces as strace does: sees every signal, passes it on, lets stopped processes be stopped.
int trace(int pid, Shared& shared) {
  if (::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) != 0) return 1;
  shared.word = 3;
  for (int status = 0; ::waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);) {
    const int signal = WSTOPSIG(status);
    const bool group_stop = status >> 16 == PTRACE_EVENT_STOP && signal != SIGTRAP;
    if (group_stop) {
      ::ptrace(PTRACE_LISTEN, pid, nullptr, nullptr);
    } else {
      ::ptrace(PTRACE_CONT, pid, nullptr, reinterpret_cast<void*>(static_cast<long>(status >> 16 == 0 ? signal : 0)));
    }
  }
  return 0;
}

// A process of exactly this pid, stopped by itself. Needs CAP_CHECKPOINT_RESTORE; -1 without.
int newcomer(pid_t pid) {
  struct clone_args args = {};
  args.exit_signal = SIGCHLD;
  args.set_tid = reinterpret_cast<std::uint64_t>(&pid);
  args.set_tid_size = 1;
  const long made = ::syscall(SYS_clone3, &args, sizeof args);
  if (made == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::raise(SIGSTOP);
  }
  return static_cast<int>(made);
}

}  // namespace

TEST_CASE("a process stopped by SIGSTOP is continued by the undo, once, and the mark is gone", "[process.pause]") {
  Control control;
  StateFolder state(control);
  SharedMemory shared;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan plan = control.plan(target.pid(), {{"method", "sigstop"}});
  REQUIRE(plan.steps[0].apply.type == "process.stop");
  const Json before = control.look(plan.observe);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);  // never applied
  const Applied applied = control.apply(plan.steps[0].apply);
  CHECK_FALSE(applied.held);
  CHECK(state.marks() == 1);
  CHECK(all_in(target.pid(), 'T'));
  CHECK(find_fault("process.pause")->effect(plan, before, control.look(plan.observe)).bites);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(runs(target.pid()));
  CHECK(state.marks() == 0);
  ::kill(target.pid(), SIGSTOP);  // by someone else, after ours was undone
  REQUIRE(control.until([&] { return all_in(target.pid(), 'T'); }));
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(all_in(target.pid(), 'T'));
}

TEST_CASE("a process that someone has continued meanwhile leaves nothing to undo", "[process.pause]") {
  Control control;
  StateFolder state(control);
  SharedMemory shared;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan plan = control.plan(target.pid(), {{"method", "sigstop"}});
  control.apply(plan.steps[0].apply);
  ::kill(target.pid(), SIGCONT);
  REQUIRE(control.until([&] { return runs(target.pid()); }));
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(state.marks() == 0);
}

TEST_CASE("a process that someone has stopped is not paused, before or after the plan, and stays stopped", "[process.pause]") {
  Control control;
  StateFolder state(control);
  SharedMemory shared;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan hold = control.plan(target.pid());
  const FaultPlan stop = control.plan(target.pid(), {{"method", "sigstop"}});
  ::kill(target.pid(), SIGSTOP);
  REQUIRE(control.until([&] { return all_in(target.pid(), 'T'); }));
  CHECK_THROWS_WITH(control.plan(target.pid()), Catch::Contains("already stopped"));
  for (const FaultPlan& plan : {hold, stop}) {
    try {
      control.apply(plan.steps[0].apply);
      FAIL("it was applied");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::changed);
    }
  }
  CHECK(control.undo(stop.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(control.undo(hold.steps[0].undo).state == UndoState::refused);
  CHECK(all_in(target.pid(), 'T'));
  CHECK(state.marks() == 0);
}

TEST_CASE("a process that someone stops while it is paused stays stopped after the undo, which says so", "[process.pause]") {
  Control control;
  SharedMemory shared;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan plan = control.plan(target.pid());
  Applied applied = control.apply(plan.steps[0].apply);
  ::kill(target.pid(), SIGSTOP);
  applied.held->release();
  const UndoResult result = control.undo(plan.steps[0].undo);
  CHECK(result.state == UndoState::refused);
  CHECK(result.because.find("someone else has stopped it meanwhile") != std::string::npos);
  CHECK(control.until([&] { return all_in(target.pid(), 'T'); }));
}

TEST_CASE("a process that a debugger traces is paused by SIGSTOP instead, and the debugger goes on", "[process.pause]") {
  Control control;
  StateFolder state(control);
  SharedMemory shared;
  SharedMemory tracing;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan before_tracer = control.plan(target.pid());
  Child tracer([&] { return trace(target.pid(), *tracing); });
  REQUIRE(control.until([&] { return tracing->word == 3; }));
  CHECK_THROWS_WITH(control.apply(before_tracer.steps[0].apply), Catch::Contains("is traced by process"));
  CHECK_THROWS_WITH(control.plan(target.pid(), {{"method", "ptrace"}}), Catch::Contains("already traces it"));

  const FaultPlan plan = control.plan(target.pid());
  CHECK(plan.steps[0].apply.type == "process.stop");
  CHECK(plan.summary.find("already traces it") != std::string::npos);
  const Json looked = control.look(plan.observe);
  control.apply(plan.steps[0].apply);
  CHECK(find_fault("process.pause")->effect(plan, looked, control.look(plan.observe)).bites);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  const std::uint64_t beats = shared->beats;
  CHECK(control.until([&] { return shared->beats > beats + 3; }));
  CHECK(ProcFs().status(target.pid())->tracer == tracer.pid());
}

TEST_CASE("a stop that cannot be noted down is not made", "[process.pause]") {
  Control control;
  StateFolder state(control);
  SharedMemory shared;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  FaultPlan plan = control.plan(target.pid(), {{"method", "sigstop"}});
  plan.steps[0].apply.args["mark_folder"] = "/proc/self/nowhere";
  CHECK_THROWS_WITH(control.apply(plan.steps[0].apply), Catch::Contains("nothing was done"));
  CHECK(runs(target.pid()));
}

TEST_CASE("a newcomer with the pid of a process that ended is never touched", "[process.pause]") {
  Control control;
  StateFolder state(control);
  SharedMemory shared;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const int pid = target.pid();
  const FaultPlan hold = control.plan(pid);
  const FaultPlan stop = control.plan(pid, {{"method", "sigstop"}});
  control.apply(stop.steps[0].apply);  // its mark stays: capsize still owes an undo for that pid
  target.kill();
  const int made = newcomer(pid);
  if (made < 0) {
    WARN("skipped: a process of a chosen pid needs CAP_CHECKPOINT_RESTORE");
    return;
  }
  Child stranger(made);
  REQUIRE(made == pid);
  REQUIRE(control.until([&] { return all_in(pid, 'T'); }));
  CHECK(ProcFs().same_process(target_process_from_json(hold.observe.args["identity"])).answer == Proof::no);
  CHECK(control.look(hold.observe)["same"] == "no");
  CHECK_THROWS_AS(control.apply(hold.steps[0].apply), Error);
  CHECK_THROWS_AS(control.apply(stop.steps[0].apply), Error);
  const UndoResult continued = control.undo(stop.steps[0].undo);
  CHECK(continued.state == UndoState::nothing_to_undo);
  CHECK(continued.because.find("another process has its number now") != std::string::npos);
  CHECK(control.undo(hold.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(all_in(pid, 'T'));
  CHECK(state.marks() == 0);
}
