// process.kill and process.restart on real processes, with and without somebody who starts them again.
#include <catch2/catch.hpp>

#include <fmt/format.h>

#include "injector/targets/process_selector.h"
#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;

namespace {

const std::set<std::string> kIrreversible = {"irreversible"};

// Starts a server and, when that ends, another at the same port, as a supervisor does. shared.word: the port; shared.made: how many so far.
int supervise(Shared& shared, bool again) {
  for (;;) {
    const int server = ::fork();
    if (server == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int port = listen_at("127.0.0.1", shared.word);
      if (port < 0) return 1;
      shared.word = port;
      shared.made.fetch_add(1);
      return sleep_on();
    }
    ::waitpid(server, nullptr, 0);
    if (!again) return sleep_on();
    ::usleep(50'000);
  }
}

Effect effect_of(Control& control, const char* fault, const FaultPlan& plan, const Json& before) { return find_fault(fault)->effect(plan, before, control.look(plan.observe)); }

Effect once_it_bites(Control& control, const char* fault, const FaultPlan& plan, const Json& before) {
  Effect effect;
  CHECK(control.until([&] {
    effect = effect_of(control, fault, plan, before);
    return effect.bites;
  }));
  return effect;
}

std::vector<TargetProcess> running(const Program& program) { return select_processes({{}, {}, {}, program.path(), {}, {}, {}, {}}, ProcFs()).processes; }

}  // namespace

TEST_CASE("a killed server whose supervisor starts it again has a successor, and the undo says so", "[process.kill]") {
  Control control;
  StateFolder folder(control);
  SharedMemory shared;
  Child supervisor([&] { return supervise(*shared, true); });
  REQUIRE(control.until([&] { return shared->made == 1; }));
  const FaultPlan plan = control.plan("process.kill", {{"listens_on", shared->word.load()}}, Json::object(), kIrreversible);
  const Json before = control.look(plan.observe);
  CHECK_FALSE(find_fault("process.kill")->effect(plan, before, before).bites);
  const Applied applied = control.apply(plan.steps[0].apply);
  CHECK(applied.detail["sent"] == 1);
  CHECK(folder.marks() == 1);
  REQUIRE(control.until([&] { return shared->made == 2; }));
  const Effect effect = effect_of(control, "process.kill", plan, before);
  INFO(effect.because);
  CHECK(effect.bites);
  CHECK(effect.measured["successors"].size() == 1);
  const UndoResult result = control.undo(plan.steps[0].undo);
  INFO(result.because);
  CHECK(result.state == UndoState::undone);
  CHECK(result.because.find("has taken its place") != std::string::npos);
  CHECK(folder.marks() == 0);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(shared->made == 2);
}

TEST_CASE("a killed server that nobody starts again is reported as that, with what to do", "[process.kill]") {
  Control control;
  StateFolder folder(control);
  SharedMemory shared;
  Child supervisor([&] { return supervise(*shared, false); });
  REQUIRE(control.until([&] { return shared->made == 1; }));
  const FaultPlan plan = control.plan("process.kill", {{"listens_on", shared->word.load()}}, {{"signal", "TERM"}}, kIrreversible);
  const Json before = control.look(plan.observe);
  control.apply(plan.steps[0].apply);
  const Effect effect = once_it_bites(control, "process.kill", plan, before);
  CHECK(effect.measured["successors"].empty());
  const UndoResult result = control.undo(plan.steps[0].undo);
  CHECK(result.state == UndoState::nothing_to_undo);
  CHECK(result.because.find("nothing has started it again: that is left to its supervisor, or to you") != std::string::npos);
  CHECK_FALSE(result.remedy.empty());
  CHECK(folder.marks() == 0);
}

TEST_CASE("the playbook's command starts a killed process again, once", "[process.kill]") {
  Control control;
  StateFolder folder(control);
  Program program;
  std::vector<std::unique_ptr<Child>> children;
  program.run(control, children, "600");
  const FaultPlan plan = control.plan("process.kill", {{"exe", program.path()}}, {{"restart", {program.path(), "601"}}}, kIrreversible);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);  // an undo alone changes nothing
  CHECK(running(program).size() == 1);
  control.apply(plan.steps[0].apply);
  children.clear();
  REQUIRE(running(program).empty());
  const UndoResult result = control.undo(plan.steps[0].undo);
  INFO(result.because);
  CHECK(result.state == UndoState::undone);
  const auto now = running(program);
  REQUIRE(now.size() == 1);
  CHECK(control.until([&] { return ProcFs().arguments(now[0].pid) == std::vector<std::string>{"601"}; }));  // a program just begun has none yet
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(running(program).size() == 1);
  Child last(now[0].pid);
}

TEST_CASE("of several that one was chosen from the others have not taken its place", "[process.kill]") {
  Control control;
  StateFolder folder(control);
  Program program;
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < 3; ++i) program.run(control, children, "600");
  const FaultPlan plan = control.plan("process.kill", {{"exe", program.path()}, {"match", "one"}}, {{"restart", {program.path(), "601"}}}, kIrreversible);
  const Json before = control.look(plan.observe);
  control.apply(plan.steps[0].apply);
  const Effect effect = once_it_bites(control, "process.kill", plan, before);
  CHECK(effect.measured["successors"].empty());
  const UndoResult result = control.undo(plan.steps[0].undo);
  INFO(result.because);
  CHECK(result.state == UndoState::undone);
  CHECK(result.because.find("has started process") != std::string::npos);
  int started = 0;
  CHECK(control.until([&] {  // a program just begun has no arguments yet
    for (const TargetProcess& process : running(program)) {
      if (ProcFs().arguments(process.pid) == std::vector<std::string>{"601"}) started = process.pid;
    }
    return started != 0;
  }));
  const Child ours(started);
}

TEST_CASE("an undo waits a moment for a process that is on its way out", "[process.kill]") {
  Control control;
  StateFolder folder(control);
  SharedMemory shared;
  Child server([&] {
    ::signal(SIGTERM, [](int) {
      ::usleep(500000);
      ::_exit(0);
    });
    shared->word = listen_at("127.0.0.1", 0);
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(control.until([&] { return shared->word > 0; }));
  const FaultPlan plan = control.plan("process.kill", {{"listens_on", shared->word.load()}}, {{"signal", "TERM"}}, kIrreversible);
  control.apply(plan.steps[0].apply);
  const UndoResult result = control.undo(plan.steps[0].undo);
  CHECK(result.because.find("ended by SIGTERM") != std::string::npos);
  CHECK(folder.marks() == 0);
}

TEST_CASE("a command that does not start it again is a failed undo, and is not run twice", "[process.kill]") {
  Control control;
  StateFolder folder(control);
  Program program;
  std::vector<std::unique_ptr<Child>> children;
  program.run(control, children, "600");
  const FaultPlan plan = control.plan("process.kill", {{"exe", program.path()}}, {{"restart", {"/bin/false"}}}, kIrreversible);
  control.apply(plan.steps[0].apply);
  children.clear();
  const UndoResult result = control.undo(plan.steps[0].undo);
  CHECK(result.state == UndoState::failed);
  CHECK(result.because.find("`/bin/false` has not started it again: exit code 1") != std::string::npos);
  CHECK(result.remedy == "start it by hand: /bin/false");
  CHECK(folder.marks() == 2);
  program.run(control, children, "600");  // by hand
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(folder.marks() == 0);
}

TEST_CASE("a process that ended by itself is not started by an undo of ours", "[process.kill]") {
  Control control;
  StateFolder folder(control);
  Program program;
  std::vector<std::unique_ptr<Child>> children;
  program.run(control, children, "600");
  const FaultPlan plan = control.plan("process.kill", {{"exe", program.path()}}, {{"restart", {program.path(), "601"}}}, kIrreversible);
  children.clear();
  CHECK_THROWS_AS(control.apply(plan.steps[0].apply), Error);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(running(program).empty());
}

TEST_CASE("a signal that is caught has been delivered, one that is ignored or blocked has not", "[process.kill]") {
  Control control;
  StateFolder folder(control);
  for (const char* reaction : {"caught", "ignored", "blocked"}) {
    SharedMemory shared;
    static Shared* seen = nullptr;
    seen = &*shared;
    const std::string wanted = reaction;
    Child target([&] {
      if (wanted == "caught") ::signal(SIGHUP, [](int) { seen->ran.fetch_add(1); });
      if (wanted == "ignored") ::signal(SIGHUP, SIG_IGN);
      sigset_t mask;
      ::sigemptyset(&mask);
      ::sigaddset(&mask, SIGHUP);
      if (wanted == "blocked") ::sigprocmask(SIG_BLOCK, &mask, nullptr);
      seen->word = 1;
      return sleep_on();
    });
    REQUIRE(control.until([&] { return shared->word == 1; }));
    const FaultPlan plan = control.plan("process.kill", {{"pid", target.pid()}}, {{"signal", "HUP"}}, kIrreversible);
    const Json before = control.look(plan.observe);
    CHECK_FALSE(find_fault("process.kill")->effect(plan, before, before).bites);
    control.apply(plan.steps[0].apply);
    if (wanted == "caught") REQUIRE(control.until([&] { return shared->ran == 1; }));
    const Effect effect = effect_of(control, "process.kill", plan, before);
    INFO(wanted << ": " << effect.because);
    CHECK(effect.bites == (wanted == "caught"));
    CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
    CHECK(runs(target.pid()));
  }
}

TEST_CASE("a restarted server listens again where it did, as another process", "[process.restart]") {
  Control control;
  StateFolder folder(control);
  SharedMemory shared;
  Child supervisor([&] { return supervise(*shared, true); });
  REQUIRE(control.until([&] { return shared->made == 1; }));
  const FaultPlan plan = control.plan("process.restart", {{"listens_on", shared->word.load()}}, Json::object(), kIrreversible);
  const Json before = control.look(plan.observe);
  CHECK(before["listening"] == Json::array({fmt::format("127.0.0.1:{}", shared->word.load())}));
  const Applied applied = control.apply(plan.steps[0].apply);
  CHECK(shared->made == 2);
  CHECK(applied.detail["back_after_s"].get<double>() >= 0.05);
  const Effect effect = effect_of(control, "process.restart", plan, before);
  INFO(effect.because);
  CHECK(effect.bites);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(folder.marks() == 0);
}

TEST_CASE("a process is restarted by the playbook's command, and one that nobody starts is an error that the undo reports", "[process.restart]") {
  Control control;
  StateFolder folder(control);
  Program program;
  std::vector<std::unique_ptr<Child>> children;
  program.run(control, children, "600");
  const FaultPlan plan = control.plan("process.restart", {{"exe", program.path()}}, {{"restart", {program.path(), "601"}}});
  const Json before = control.look(plan.observe);
  const Applied applied = control.apply(plan.steps[0].apply);
  CHECK(applied.detail["back"].size() == 1);
  CHECK(effect_of(control, "process.restart", plan, before).bites);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  const auto now = running(program);
  REQUIRE(now.size() == 1);
  Child second(now[0].pid);

  const FaultPlan alone = control.plan("process.restart", {{"exe", program.path()}}, {{"within", "1s"}}, kIrreversible);
  CHECK_THROWS_WITH(control.apply(alone.steps[0].apply), Catch::Contains("nothing took its place within 1s"));
  CHECK(control.undo(alone.steps[0].undo).because.find("nothing has started it again") != std::string::npos);
}
