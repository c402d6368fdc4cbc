// process.syscall on real processes: calls that fail and calls that are late, and what is let go whatever happens.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <cstddef>
#include <thread>

#include "tests/system/cgroup_bench.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

// Asks for its priority for ever: a call that nothing else makes, and that costs nothing. `made` counts the calls, `ran` those that failed with EIO,
// `beats` those that did not fail.
int ask(Shared& shared) {
  for (;;) {
    errno = 0;
    const long answer = ::syscall(SYS_getpriority, 0, 0);
    if (answer < 0 && errno == EIO) shared.ran.fetch_add(1);
    else shared.beats.fetch_add(1);
    shared.made.fetch_add(1);
    shared.word = 1;
    ::usleep(100);
  }
}

struct Asker {
  explicit Asker(int threads = 1)
      : child([this, threads] {
          for (int i = 1; i < threads; ++i) std::thread([this] { ask(*shared); }).detach();
          return ask(*shared);
        }) {
    Control control;
    REQUIRE(control.until([&] { return shared->word == 1 && static_cast<int>(ProcFs().threads(child.pid()).size()) == threads; }));
  }
  SharedMemory shared;
  Child child;
  int pid() const { return child.pid(); }
};

const Json kFails = {{"calls", {"getpriority"}}, {"error", "EIO"}};

FaultPlan plan_on(Control& control, int pid, const Json& params = kFails) { return plan_fault(control, "process.syscall", pid, params); }

bool goes_on(Control& control, Shared& shared) {
  const std::uint64_t well = shared.beats;
  return control.until([&] { return shared.beats > well + 20; });
}

void release(Control& control, Applied& applied, const FaultPlan& plan) {
  applied.held->release();
  const UndoResult result = control.undo(plan.steps[0].undo);
  INFO(result.because);
  CHECK(result.state == UndoState::undone);
}

int tracer_of(int pid) {
  const auto look = ProcFs().status(pid);
  return look ? look->tracer : -1;
}

}  // namespace

TEST_CASE("a call fails with the error that was chosen, in all threads, and works again after the undo", "[process.syscall]") {
  Control control;
  Asker target(4);
  CHECK(target.shared->ran == 0);
  const FaultPlan plan = plan_on(control, target.pid());
  Applied applied = control.apply(plan.steps[0].apply);
  CHECK(applied.detail["threads"] == 4);
  REQUIRE(control.until([&] { return target.shared->ran > 200; }));
  const std::uint64_t well = target.shared->beats;
  REQUIRE(control.until([&] { return target.shared->ran > 500; }));
  CHECK(target.shared->beats - well <= 4);  // none was carried out: a thread may still count its last call from before
  const Effect effect = find_fault("process.syscall")->effect(plan, Json::object(), control.look(plan.observe));
  INFO(effect.because);
  CHECK(effect.bites);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::failed);  // still held: an undo that does not see it would lie
  release(control, applied, plan);
  CHECK(tracer_of(target.pid()) == 0);
  const std::uint64_t failed = target.shared->ran;
  CHECK(goes_on(control, *target.shared));
  CHECK(target.shared->ran - failed <= 4);  // each thread may still count the last call that failed it
  CHECK_FALSE(find_fault("process.syscall")->effect(plan, Json::object(), control.look(plan.observe)).bites);
}

TEST_CASE("of many calls as many fail as were chosen, the same again with the same seed", "[process.syscall]") {
  Control control;
  Asker target;
  const FaultPlan plan = plan_on(control, target.pid(), {{"calls", {"getpriority"}}, {"error", "EIO"}, {"share", "30%"}});
  Applied applied = control.apply(plan.steps[0].apply);
  REQUIRE(control.until([&] { return control.look(plan.observe)["processes"][0]["calls"].get<int>() > 2000; }));
  const Json met = control.look(plan.observe)["processes"][0];
  const double share = met["hit"].get<double>() / met["calls"].get<double>();
  CAPTURE(share);
  CHECK(share > 0.25);
  CHECK(share < 0.35);
  CHECK(find_fault("process.syscall")->effect(plan, Json::object(), control.look(plan.observe)).bites);
  release(control, applied, plan);
}

TEST_CASE("a call is late by as much as was chosen, and others are not", "[process.syscall]") {
  Control control;
  Asker target(2);
  const FaultPlan plan = plan_on(control, target.pid(), {{"calls", {"getpriority"}}, {"delay", "25ms"}});
  Applied applied = control.apply(plan.steps[0].apply);
  const TimePoint begun = control.clock.now();
  const std::uint64_t made = target.shared->made;
  REQUIRE(control.until([&] { return target.shared->made >= made + 20; }));
  CHECK(seconds(control.clock.now() - begun) >= 9 * 0.025);  // each thread ten, the first of them before we looked
  const Json met = control.look(plan.observe);
  CHECK(met["processes"][0]["mean_delay_ms"].get<double>() >= 25);
  const Effect effect = find_fault("process.syscall")->effect(plan, Json::object(), met);
  INFO(effect.because);
  CHECK(effect.bites);
  release(control, applied, plan);
  CHECK(target.shared->ran == 0);
  CHECK(goes_on(control, *target.shared));
}

TEST_CASE("threads that are made meanwhile are met too, and child processes are not", "[process.syscall]") {
  Control control;
  SharedMemory thread_asks, child_asks, told;
  Child target([&] {
    told->word = 1;
    while (told->word != 2) ::usleep(1000);
    const int child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      return ask(*child_asks);
    }
    std::thread([&] { ask(*thread_asks); }).detach();
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(control.until([&] { return told->word == 1; }));
  const FaultPlan plan = plan_on(control, target.pid());
  Applied applied = control.apply(plan.steps[0].apply);
  told->word = 2;
  REQUIRE(control.until([&] { return thread_asks->made > 50 && child_asks->made > 50; }));
  CHECK(thread_asks->beats == 0);
  CHECK(child_asks->ran == 0);
  release(control, applied, plan);
  CHECK(goes_on(control, *thread_asks));
}

TEST_CASE("a process whose calls fail is let go by the kernel when its holder is killed", "[process.syscall]") {
  Control control;
  Asker target(3);
  SharedMemory told;
  Child holder([&] {
    Control held;
    const FaultPlan plan = plan_on(held, target.pid());
    const Applied applied = held.apply(plan.steps[0].apply);
    told->word = 1;
    for (;;) held.until([] { return false; });
    return 0;
  });
  REQUIRE(control.until([&] { return told->word == 1 && target.shared->ran > 50; }));
  const FaultPlan undo{{{{}, {"process.release", {{"identity", to_json(ProcFs().identify(target.pid()))}}}}}, "", {}, {}, {}};
  CHECK(control.undo(undo.steps[0].undo).state == UndoState::failed);  // another capsize holds it
  holder.kill();
  CHECK(control.undo(undo.steps[0].undo).state == UndoState::undone);
  CHECK(tracer_of(target.pid()) == 0);
  const std::uint64_t failed = target.shared->ran;
  CHECK(goes_on(control, *target.shared));
  CHECK(target.shared->ran <= failed + 3);  // those that were under way
}

TEST_CASE("a process that someone traces already is refused, when planned and when it comes to it", "[process.syscall]") {
  Control control;
  Asker target;
  SharedMemory told;
  const FaultPlan before = plan_on(control, target.pid());
  Child debugger([&] {
    told->word = ::ptrace(PTRACE_SEIZE, target.pid(), nullptr, nullptr) == 0 ? 1 : 2;
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(control.until([&] { return told->word != 0; }));
  REQUIRE(told->word == 1);
  CHECK_THROWS_WITH(plan_on(control, target.pid()), Catch::Contains("already traces it"));
  CHECK_THROWS_WITH(control.apply(before.steps[0].apply), Catch::Contains(fmt::format("traced by process {}", debugger.pid())));
  CHECK(tracer_of(target.pid()) == debugger.pid());
  CHECK(goes_on(control, *target.shared));
}

TEST_CASE("a process with a filter of system calls is not made to fail any, before it has it or after", "[process.syscall]") {
  Control control;
  const auto takes_a_filter = [](Shared& shared) {  // which ends whoever makes a call that it does not know
    sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 1000, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog program = {4, code};
    shared.word = 1;
    while (shared.word == 1) ::usleep(1000);
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 9;
    return ask(shared);
  };
  SharedMemory shared;
  Child target([&] { return takes_a_filter(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan plan = plan_on(control, target.pid());
  Applied applied = control.apply(plan.steps[0].apply);
  shared->word = 2;
  CHECK(goes_on(control, *shared));
  CHECK(shared->ran == 0);
  CHECK_FALSE(find_fault("process.syscall")->effect(plan, Json::object(), control.look(plan.observe)).bites);
  release(control, applied, plan);
  CHECK_THROWS_WITH(plan_on(control, target.pid()), Catch::Contains("seccomp"));
  const FaultPlan late = plan_on(control, target.pid(), {{"calls", {"getpriority"}}, {"delay", "1ms"}});
  applied = control.apply(late.steps[0].apply);
  CHECK(goes_on(control, *shared));
  release(control, applied, late);
  CHECK_FALSE(target.poll());
}

TEST_CASE("no signal is lost, a stop stops and a continue continues while calls are tampered with", "[process.syscall]") {
  constexpr std::uint64_t kSignals = 500;
  static SharedMemory got;
  Control control;
  SharedMemory shared;
  Child target([&] {
    struct sigaction action = {};
    action.sa_handler = [](int) { got->ran.fetch_add(1); };
    ::sigaction(SIGRTMIN, &action, nullptr);
    return ask(*shared);
  });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan plan = plan_on(control, target.pid(), {{"calls", {"getpriority"}}, {"error", "EIO"}, {"share", "50%"}});
  for (int round = 0; round < 5; ++round) {
    Applied applied = control.apply(plan.steps[0].apply);
    for (std::uint64_t i = 0; i < kSignals / 5; ++i) REQUIRE(::sigqueue(target.pid(), SIGRTMIN, {}) == 0);
    release(control, applied, plan);
  }
  CHECK(control.until([&] { return got->ran == kSignals; }));
  CHECK(got->ran == kSignals);

  Applied applied = control.apply(plan.steps[0].apply);
  ::kill(target.pid(), SIGSTOP);
  REQUIRE(control.until([&] { return all_in(target.pid(), 't') || all_in(target.pid(), 'T'); }));
  const std::uint64_t made = shared->made;
  ::usleep(100000);
  CHECK(shared->made == made);
  ::kill(target.pid(), SIGCONT);
  CHECK(control.until([&] { return shared->made > made + 10; }));
  release(control, applied, plan);
}

TEST_CASE("a process that runs another program meanwhile is met there too, and let go", "[process.syscall]") {
  Control control;
  SharedMemory told;
  Child target([&] {
    std::thread([] { ::pause(); }).detach();
    told->word = 1;
    while (told->word != 2) ::usleep(1000);
    std::thread([] { ::execl("/bin/sleep", "sleep", "1000", nullptr); }).join();  // not by the first thread
    return 1;
  });
  REQUIRE(control.until([&] { return told->word == 1; }));
  const FaultPlan plan = plan_on(control, target.pid());
  Applied applied = control.apply(plan.steps[0].apply);
  told->word = 2;
  REQUIRE(control.until([&] { return ProcFs().stat(target.pid())->comm == "sleep"; }));
  CHECK(control.until([&] { return control.look(plan.observe)["processes"][0]["threads"] == 1; }));
  CHECK(ProcFs().status(tracer_of(target.pid()))->thread_group == ::getpid());
  applied.held->release();
  const UndoResult undone = control.undo(plan.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::undone);
  CHECK(tracer_of(target.pid()) == 0);
  CHECK(runs(target.pid()));
}

TEST_CASE("a process that ends while its calls are tampered with is reaped at once, and leaves nothing to undo", "[process.syscall]") {
  Control control;
  Asker target(3);
  const FaultPlan plan = plan_on(control, target.pid(), {{"calls", {"getpriority"}}, {"delay", "10s"}});
  Applied applied = control.apply(plan.steps[0].apply);
  REQUIRE(control.until([&] { return control.look(plan.observe)["processes"][0]["hit"] == 3; }));  // all of them are held
  const TimePoint begun = control.clock.now();
  ::kill(target.pid(), SIGKILL);
  std::optional<int> status;
  REQUIRE(control.until([&] {
    status = target.child.poll();
    return status.has_value();
  }));
  CHECK(seconds(control.clock.now() - begun) < 5);
  applied.held->release();
  for (int times = 0; times < 2; ++times) CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK_THROWS_AS(control.apply(plan.steps[0].apply), Error);
}

TEST_CASE("a call that is held for long goes on at once when it is undone", "[process.syscall]") {
  Control control;
  Asker target;
  const FaultPlan plan = plan_on(control, target.pid(), {{"calls", {"getpriority"}}, {"delay", "60s"}});
  Applied applied = control.apply(plan.steps[0].apply);
  REQUIRE(control.until([&] { return control.look(plan.observe)["processes"][0]["hit"] == 1; }));
  const TimePoint begun = control.clock.now();
  release(control, applied, plan);
  CHECK(goes_on(control, *target.shared));
  CHECK(seconds(control.clock.now() - begun) < 20);
  CHECK(target.shared->ran == 0);
}
