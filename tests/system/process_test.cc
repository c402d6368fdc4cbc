// process.pause on real processes: held by tracing, and let go whatever happens.
#include <catch2/catch.hpp>

#include <fmt/format.h>
#include <sched.h>
#include <sys/syscall.h>

#include <iostream>
#include <thread>

#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;

namespace {

// So many threads that mostly sleep, as those of a server.
int idle(Shared& shared, int threads) {
  const auto beat = [&shared] {
    for (;;) {
      shared.beats.fetch_add(1, std::memory_order_relaxed);
      ::usleep(2000);
    }
  };
  for (int i = 1; i < threads; ++i) std::thread(beat).detach();
  shared.word = 1;
  beat();
  return 0;
}

// Each thread makes the next one and ends: whoever looks at the list of threads is late.
void chain(Shared& shared) {
  shared.made.fetch_add(1);
  std::thread([&shared] { chain(shared); }).detach();
}

bool beats_on(Control& control, Shared& shared) {
  const std::uint64_t before = shared.beats;
  return control.until([&] { return shared.beats > before + 3; });
}

struct Holder {  // a process that holds `pid` as an agent does, until it is killed
  Holder(int pid, Shared& shared)
      : child([pid, &shared] {
          Control control;
          const FaultPlan plan = control.plan(pid);
          const Applied applied = control.apply(plan.steps[0].apply);
          shared.word = 2;
          for (;;) control.until([] { return false; });
          return 0;
        }) {}
  Child child;
};

}  // namespace

TEST_CASE("a paused process stands still with all its threads, and runs again after the undo", "[process.pause]") {
  Control control;
  SharedMemory shared;
  Child target([&] { return spin(*shared, 4); });
  REQUIRE(control.until([&] { return shared->word == 1 && ProcFs().threads(target.pid()).size() == 4; }));
  const FaultPlan plan = control.plan(target.pid());
  REQUIRE(plan.steps[0].apply.type == "process.hold");
  const Json before = control.look(plan.observe);

  Applied applied = control.apply(plan.steps[0].apply);
  REQUIRE(applied.held);
  CHECK(applied.detail["threads"] == 4);
  CHECK(all_in(target.pid(), 't'));
  const std::uint64_t beats = shared->beats;
  const Json during = control.look(plan.observe);
  const Effect effect = find_fault("process.pause")->effect(plan, before, during);
  INFO(effect.because);
  CHECK(effect.bites);
  CHECK(shared->beats == beats);
  CHECK_FALSE(find_fault("process.pause")->effect(plan, before, before).bites);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::failed);  // still held: an undo that does not see it would lie

  applied.held->release();
  for (int times = 0; times < 2; ++times) {
    const UndoResult result = control.undo(plan.steps[0].undo);
    INFO(result.because);
    CHECK(result.state == UndoState::undone);
  }
  CHECK(beats_on(control, *shared));
}

TEST_CASE("a process runs again by itself when its holder is killed", "[process.pause]") {
  Control control;
  SharedMemory shared;
  Child target([&] { return idle(*shared, 5); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  Holder holder(target.pid(), *shared);
  REQUIRE(control.until([&] { return shared->word == 2; }));
  REQUIRE(all_in(target.pid(), 't'));
  const FaultPlan plan{{{{}, {"process.release", {{"identity", to_json(ProcFs().identify(target.pid()))}}}}}, "", {}, {}, {}};
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::failed);  // another capsize holds it

  ::kill(holder.child.pid(), SIGKILL);
  REQUIRE(control.until([&] { return runs(target.pid()); }));
  CHECK(beats_on(control, *shared));
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
}

TEST_CASE("a process killed while it is paused is reaped by its parent at once", "[process.pause]") {
  Control control;
  SharedMemory shared;
  Child target([&] { return idle(*shared, 5); });
  REQUIRE(control.until([&] { return shared->word == 1 && ProcFs().threads(target.pid()).size() == 5; }));
  const FaultPlan plan = control.plan(target.pid());
  Applied applied = control.apply(plan.steps[0].apply);
  ::kill(target.pid(), SIGKILL);
  const TimePoint killed = control.clock.now();
  std::optional<int> status;
  REQUIRE(control.until([&] {
    status = target.poll();
    return status.has_value();
  }));
  CHECK(seconds(control.clock.now() - killed) < 2);
  CHECK(WIFSIGNALED(*status));
  applied.held->release();
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
}

TEST_CASE("a process that ends before it is paused is not paused, and leaves nothing to undo", "[process.pause]") {
  Control control;
  SharedMemory shared;
  Child target([&] { return idle(*shared, 1); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan plan = control.plan(target.pid());
  ::kill(target.pid(), SIGKILL);
  REQUIRE(control.until([&] { return has_ended(ProcFs().threads(target.pid())); }));
  CHECK_THROWS_AS(control.apply(plan.steps[0].apply), Error);  // a zombie
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  target.kill();
  CHECK_THROWS_AS(control.apply(plan.steps[0].apply), Error);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
}

TEST_CASE("threads that are made while a process is being paused stand still too", "[process.pause]") {
  Control control;
  SharedMemory shared;
  Child target([&] {
    shared->word = 1;
    chain(*shared);
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(control.until([&] { return shared->made > 20; }));
  const FaultPlan plan = control.plan(target.pid());
  for (int round = 0; round < 30; ++round) {
    Applied applied = control.apply(plan.steps[0].apply);
    const std::uint64_t made = shared->made;
    const Json state = control.look(plan.observe);
    CHECK(state["states"].size() == 1);
    CHECK(state["states"].contains("t"));
    CHECK(shared->made == made);
    applied.held->release();
    CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
    REQUIRE(control.until([&] { return shared->made > made + 5; }));
  }
}

TEST_CASE("processes that a process makes while it is being paused are not held", "[process.pause]") {
  Control control;
  SharedMemory shared;
  Child target([&] {
    shared->word = 1;
    for (;;) {
      const long child = ::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);  // without an exit signal the kernel takes it for a thread
      if (child == 0) {
        shared->ran.fetch_add(1);
        ::_exit(0);
      }
      if (child > 0) shared->made.fetch_add(1);
      while (::waitpid(-1, nullptr, __WALL | WNOHANG) > 0) continue;
    }
    return 0;
  });
  REQUIRE(control.until([&] { return shared->made > 5; }));
  const FaultPlan plan = control.plan(target.pid());
  for (int round = 0; round < 30; ++round) {
    Applied applied = control.apply(plan.steps[0].apply);
    REQUIRE(control.until([&] { return all_in(target.pid(), 't'); }));  // at first it may still be asleep in the kernel, to stop at its door
    CHECK(control.until([&] { return shared->ran >= shared->made; }));
    applied.held->release();
    CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
    const std::uint64_t made = shared->made;
    REQUIRE(control.until([&] { return shared->made > made; }));
  }
}

TEST_CASE("no signal sent to a process is lost by pausing it", "[process.pause]") {
  constexpr int kSignals = 2000;
  static SharedMemory shared;
  Control control;
  Child target([] {
    struct sigaction action = {};
    action.sa_handler = [](int) { shared->ran.fetch_add(1); };
    ::sigaction(SIGRTMIN, &action, nullptr);
    return idle(*shared, 3);
  });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan plan = control.plan(target.pid());
  Child sender([&] {
    for (int i = 0; i < kSignals; ++i) {
      if (::sigqueue(target.pid(), SIGRTMIN, {}) != 0) return 1;
      if (i % 20 == 0) ::usleep(500);
    }
    return 0;
  });
  std::optional<int> sent;
  int rounds = 0;
  for (; !sent || rounds < 5; ++rounds) {
    Applied applied = control.apply(plan.steps[0].apply);
    applied.held->release();
    CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
    if (!sent) sent = sender.poll();
  }
  CHECK(*sent == 0);
  CHECK(control.until([&] { return shared->ran == kSignals; }));
  CHECK(shared->ran == kSignals);
}

TEST_CASE("pid 1, capsize, its ancestors and threads of the kernel are refused", "[process.pause]") {
  Control control;
  for (const int pid : {1, static_cast<int>(::getpid()), static_cast<int>(::getppid())}) {
    try {
      control.plan(pid);
      FAIL("it was planned");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::refused);
    }
  }
  const auto kernel = ProcFs().stat(2);
  if (kernel && kernel->comm == "kthreadd") CHECK_THROWS_WITH(control.plan(2), Catch::Contains("thread of the kernel"));
  const Op hold{"process.hold", {{"identity", to_json(ProcFs().identify(::getppid()))}}};
  CHECK_THROWS_WITH(control.apply(hold), Catch::Contains("ancestor"));  // nor by an op that no plan would name
}

TEST_CASE("another user's process needs a privilege, and the message names it", "[process.pause]") {
  if (::geteuid() != 0) {
    WARN("skipped: becoming another user needs root");
    return;
  }
  SharedMemory shared;
  Child target([&] { return idle(*shared, 1); });
  Child stranger([&] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 10;
    ::prctl(PR_SET_DUMPABLE, 1);  // as a program that was started by that user
    Control control;
    for (const char* method : {"auto", "ptrace", "sigstop"}) {
      try {
        control.plan(target.pid(), {{"method", method}});
        return 11;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::privilege || std::string(error.what()).find("CAP_SYS_PTRACE") == std::string::npos) return 12;
      }
    }
    const Op hold{"process.hold", {{"identity", to_json(ProcFs().identify(target.pid()))}}};
    try {
      control.apply(hold);
      return 13;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::privilege) return 14;
    }
    Child own([&] { return idle(*shared, 2); });  // without any privilege, one's own may be paused
    const FaultPlan plan = control.plan(own.pid());
    Applied applied = control.apply(plan.steps[0].apply);
    if (!is_stopped(ProcFs().threads(own.pid()))) return 15;
    if (applied.held) applied.held->release();
    return control.undo(plan.steps[0].undo).state == UndoState::undone ? 0 : 16;
  });
  CHECK(exit_code_of(stranger) == 0);
  CHECK(runs(target.pid()));
}

TEST_CASE("what pausing costs", "[.][figures]") {
  for (const int threads : {1, 9, 65, 257}) {
    Control control;
    SharedMemory shared;
    Child target([&] { return idle(*shared, threads); });
    REQUIRE(control.until([&] { return static_cast<int>(ProcFs().threads(target.pid()).size()) == threads; }));
    const FaultPlan plan = control.plan(target.pid());
    std::vector<double> hold;
    std::vector<double> let_go;
    std::vector<double> killed;
    for (int round = 0; round < 20; ++round) {
      Applied applied = control.apply(plan.steps[0].apply);
      hold.push_back(applied.detail["took_ms"]);
      const TimePoint begun = control.clock.now();
      applied.held->release();
      REQUIRE(control.undo(plan.steps[0].undo).state == UndoState::undone);
      let_go.push_back(seconds(control.clock.now() - begun) * 1e3);
      shared->word = 1;
      Holder holder(target.pid(), *shared);
      REQUIRE(control.until([&] { return shared->word == 2; }));
      const TimePoint kill = control.clock.now();
      ::kill(holder.child.pid(), SIGKILL);
      while (!runs(target.pid())) continue;
      killed.push_back(seconds(control.clock.now() - kill) * 1e3);
    }
    for (auto* figures : {&hold, &let_go, &killed}) std::sort(figures->begin(), figures->end());
    std::cout << fmt::format("{} threads: hold {:.2f} ms (max {:.2f}), release and verify {:.2f} (max {:.2f}), SIGKILL of the holder to running {:.2f} (max {:.2f})\n", threads, hold[10],
                             hold.back(), let_go[10], let_go.back(), killed[10], killed.back());
  }
}
