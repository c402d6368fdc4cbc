// host.clock with real commands: what time they see, and that nothing of them outlives the fault.
#include <catch2/catch.hpp>

#include <fmt/format.h>
#include <sys/stat.h>

#include <cmath>

#include "injector/burdens/bearer.h"
#include "tests/injector/scratch_dir.h"
#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;

namespace {

FaultPlan plan_clock(Control& control, std::vector<std::string> command, const char* way, const char* how_much) {
  FaultRequest request;
  request.params = {{"command", std::move(command)}, {way, how_much}};
  request.target_type = "host";
  LocalView view(control.context);
  return control.run(find_fault("host.clock")->plan(std::move(request), view));
}

Effect measured(Control& control, const FaultPlan& plan) {
  const Json before = Json::object();
  return find_fault("host.clock")->effect(plan, before, control.look(plan.observe));
}

std::string id_of(const FaultPlan& plan) { return plan.steps.at(0).undo.args.at("id").get<std::string>(); }

std::string pid_namespace(const std::filesystem::path& process) {
  std::error_code gone;
  return std::filesystem::read_symlink(process / "ns/pid", gone).string();
}

int processes_in(const std::string& wanted) {
  int count = 0;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", problem)) count += pid_namespace(entry.path()) == wanted ? 1 : 0;
  return count;
}

// Notes the time it sees and starts a process in a session of its own; neither ends by itself.
std::vector<std::string> restless(const std::filesystem::path& note) {
  return {"/usr/bin/python3", "-c",
          "import os, signal, sys, time\n"
          "if os.fork() == 0:\n"
          "  os.setsid()\n"
          "  if os.fork() == 0: signal.pause()\n"
          "  os._exit(0)\n"
          "open(sys.argv[1] + '.new', 'w').write(repr(time.time()))\n"
          "os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
          "signal.pause()\n",
          note.string()};
}

// What libfaketime keeps on this machine.
std::set<std::string> left_by_the_library() {
  std::set<std::string> out;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", problem)) {
    if (entry.path().filename().string().find("faketime") != std::string::npos) out.insert(entry.path().filename());
  }
  return out;
}

}  // namespace

TEST_CASE("a command sees the time that was intended, and the machine the right one", "[host][host.clock]") {
  Control control;
  const auto before = left_by_the_library();
  for (const auto& [way, how_much, shift] : {std::tuple<const char*, const char*, double>{"ahead", "5m", 300}, {"behind", "2h", -7200}}) {
    const ScratchDir scratch;
    const std::filesystem::path note = scratch / "note";
    const FaultPlan plan = plan_clock(control, restless(note), way, how_much);
    CHECK_FALSE(measured(control, plan).bites);
    Applied applied = control.apply(plan.steps[0].apply);
    REQUIRE(control.until([&] { return std::filesystem::exists(note); }));
    const Effect effect = measured(control, plan);
    INFO(effect.because);
    CHECK(effect.bites);
    CHECK(effect.measured.at("shift").get<double>() == Approx(shift).margin(2));
    struct stat entry = {};
    REQUIRE(::stat(note.c_str(), &entry) == 0);
    const double seen = std::stod(file_text(note));
    CHECK(seen - static_cast<double>(entry.st_mtim.tv_sec) == Approx(shift).margin(20));  // what it noted, by the kernel's own clock
    applied.held->release();
    CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
    CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  }
  CHECK(left_by_the_library() == before);
}

TEST_CASE("all that a command started ends when whoever holds the fault is killed", "[host][host.clock]") {
  Control control;
  const ScratchDir scratch;
  const FaultPlan plan = plan_clock(control, restless(scratch / "note"), "ahead", "5m");
  SharedMemory shared;
  process_test::Child holder([&] {
    Control own;
    const Applied applied = own.apply(plan.steps[0].apply);
    shared->word = 1;
    for (;;) own.until([] { return false; });
    return 0;
  });
  REQUIRE(control.until([&] { return shared->word == 1 && std::filesystem::exists(scratch / "note"); }));
  const int command = command_of_bearer(id_of(plan));
  REQUIRE(command != 0);
  const std::string space = pid_namespace(fmt::format("/proc/{}", command));
  REQUIRE(space != pid_namespace("/proc/self"));
  REQUIRE(control.until([&] { return processes_in(space) >= 3; }));  // the first one, the command, and the one in a session of its own
  ::kill(holder.pid(), SIGKILL);
  CHECK(control.until([&] { return processes_in(space) == 0; }));
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
}

TEST_CASE("a command that is linked statically or has ended does not bite, and one that is not there is not injected", "[host][host.clock]") {
  Control control;
  const FaultPlan fixed = plan_clock(control, {"/bin/busybox", "sleep", "600"}, "ahead", "5m");
  Applied applied = control.apply(fixed.steps[0].apply);
  const Effect effect = measured(control, fixed);
  CHECK_FALSE(effect.bites);
  CHECK(effect.because.find("did not take up libfaketime") != std::string::npos);
  applied.held->release();
  CHECK(control.undo(fixed.steps[0].undo).state == UndoState::undone);

  const FaultPlan brief = plan_clock(control, {"/bin/true"}, "ahead", "5m");
  applied = control.apply(brief.steps[0].apply);
  CHECK(control.until([&] { return measured(control, brief).because == "the command has ended"; }));
  applied.held->release();
  CHECK(control.undo(brief.steps[0].undo).state == UndoState::undone);

  const FaultPlan none = plan_clock(control, {"/no/such/program"}, "ahead", "5m");
  CHECK_THROWS_WITH(control.apply(none.steps[0].apply), Catch::Contains("/no/such/program cannot be started"));
  CHECK(control.undo(none.steps[0].undo).state == UndoState::undone);
  CHECK(find_bearer(id_of(none)).pid == 0);
}
