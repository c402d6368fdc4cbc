// Processes that cannot be had as others can: under a debugger, a zombie, a thread of the kernel, another user's. Each gets a clear answer, at once.
#include <catch2/catch.hpp>

#include <sys/ptrace.h>

#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;

namespace {

struct Asked {
  const char* fault;
  Json params;
};

const std::vector<Asked> kAll = {{"process.pause", Json::object()},
                                 {"process.pause", {{"method", "ptrace"}}},
                                 {"process.pause", {{"method", "sigstop"}}},
                                 {"process.stutter", Json::object()},
                                 {"process.syscall", {{"calls", {"getppid"}}, {"error", "EIO"}}},
                                 {"process.kill", Json::object()}};

WhyNot ask(Control& control, const Asked& asked, int pid) { return why_not(control, asked.fault, {{"pid", pid}}, asked.params, {"irreversible"}); }

}  // namespace

TEST_CASE("a process under a debugger is not traced, and the answer names the debugger", "[process][hazards]") {
  Control control;
  StateFolder folder(control);
  SharedMemory shared;
  SharedMemory traced;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const int pid = target.pid();
  Child debugger([&] {
    if (::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) != 0) return 1;
    traced->word = 1;
    for (;;) {  // as a debugger does that lets it run: signals go on to it
      int status = 0;
      if (::waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) return 0;
      const long pass = (status >> 16) == 0 ? WSTOPSIG(status) : 0;
      ::ptrace((status >> 16) == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGSTOP ? PTRACE_LISTEN : PTRACE_CONT, pid, nullptr, reinterpret_cast<void*>(pass));
    }
  });
  REQUIRE(control.until([&] { return traced->word == 1; }));
  const std::string who = "process " + std::to_string(debugger.pid());
  for (const Asked& asked : {kAll[1], kAll[3], kAll[4]}) {
    const WhyNot answer = ask(control, asked, pid);
    CHECK(answer.kind == ErrorKind::unavailable);
    CHECK(answer.text.find("cannot be traced: " + who) != std::string::npos);
    CHECK(answer.text.find("already traces it") != std::string::npos);
  }
  const FaultPlan plan = control.plan("process.pause", {{"pid", pid}});
  CHECK(plan.steps[0].apply.type == "process.stop");
  CHECK(plan.summary.find("already traces it") != std::string::npos);
  control.apply(plan.steps[0].apply);
  const auto beats = shared->beats.load();
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(control.until([&] { return shared->beats > beats + 3; }));

  const Op hold{"process.hold", {{"identity", to_json(ProcFs().identify(pid))}}};  // one that came between plan and inject
  CHECK_THROWS_WITH(control.apply(hold), Catch::Contains("is traced by " + who));
  const auto after = shared->beats.load();
  CHECK(control.until([&] { return shared->beats > after + 3; }));
}

TEST_CASE("a zombie has ended: no fault takes it for a process", "[process][hazards]") {
  Control control;
  StateFolder folder(control);
  Child target([] { return 0; });
  REQUIRE(control.until([&] { return has_ended(ProcFs().threads(target.pid())); }));
  for (const Asked& asked : kAll) {
    const WhyNot answer = ask(control, asked, target.pid());
    INFO(asked.fault << ": " << answer.text);
    CHECK(answer.kind == ErrorKind::unavailable);
    CHECK(answer.text.find("has ended and only waits for its parent") != std::string::npos);
  }
}

TEST_CASE("a thread of the kernel is refused by every fault", "[process][hazards]") {
  Control control;
  StateFolder folder(control);
  int kernel = 0;
  for (const int pid : ProcFs().pids()) {
    const auto look = ProcFs().stat(pid);
    if (look && is_kernel_thread(*look)) kernel = pid;
  }
  REQUIRE(kernel != 0);  // a machine, or a container that shares its pid namespace
  for (const Asked& asked : kAll) {
    const WhyNot answer = ask(control, asked, kernel);
    INFO(asked.fault << ": " << answer.text);
    CHECK(answer.kind == ErrorKind::refused);
    CHECK(answer.text.find("is a thread of the kernel") != std::string::npos);
  }
}

TEST_CASE("another user's process takes a privilege, which every fault names", "[process][hazards]") {
  REQUIRE(::geteuid() == 0);
  Control control;
  SharedMemory shared;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  Child stranger([&] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 10;
    ::prctl(PR_SET_DUMPABLE, 1);
    Control own;
    StateFolder folder(own);
    for (const Asked& asked : kAll) {
      const WhyNot answer = ask(own, asked, target.pid());
      if (answer.kind != ErrorKind::privilege || answer.text.find("CAP_") == std::string::npos) return 11;
    }
    for (const char* op : {"process.hold", "process.stutter"}) {  // nor by an op that no plan would name
      try {
        own.apply({op, {{"identity", to_json(ProcFs().identify(target.pid()))}, {"share", "50%"}, {"period", "1s"}}});
        return 12;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::privilege) return 13;
      }
    }
    return 0;
  });
  CHECK(exit_code_of(stranger) == 0);
  CHECK(runs(target.pid()));
}

TEST_CASE("a process that forks as fast as it can is paused, and its children run", "[process][hazards]") {
  Control control;
  SharedMemory shared;
  Child target([&] {
    shared->word = 1;
    for (;;) {
      const int child = ::fork();
      if (child == 0) {
        shared->ran.fetch_add(1);
        ::_exit(0);
      }
      if (child > 0) shared->made.fetch_add(1);
      while (::waitpid(-1, nullptr, WNOHANG) > 0) continue;
    }
    return 0;
  });
  REQUIRE(control.until([&] { return shared->made > 5; }));
  const FaultPlan plan = control.plan("process.pause", {{"pid", target.pid()}});
  for (int round = 0; round < 10; ++round) {
    Applied applied = control.apply(plan.steps[0].apply);
    CHECK(all_in(target.pid(), 't'));
    CHECK(control.until([&] { return shared->ran >= shared->made; }));
    applied.held->release();
    CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
    const auto made = shared->made.load();
    REQUIRE(control.until([&] { return shared->made > made; }));
  }
}
