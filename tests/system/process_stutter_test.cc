// process.stutter on real processes: stopped for its share of the time, let go whatever happens, and no thread or child is lost in between.
#include <catch2/catch.hpp>

#include <thread>

#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;

namespace {

bool beats_on(Control& control, Shared& shared) {
  const std::uint64_t before = shared.beats;
  return control.until([&] { return shared.beats > before + 3; });
}

}  // namespace

TEST_CASE("a stuttering process is seen stopped for the share that was meant, and runs on when it is over", "[process.stutter]") {
  for (const auto& [share, period] : {std::pair{"40%", "300ms"}, {"75%", "1s"}, {"10%", "500ms"}}) {
    Control control;
    SharedMemory shared;
    Child target([&] { return spin(*shared, 3); });
    REQUIRE(control.until([&] { return shared->word == 1; }));
    const FaultPlan plan = control.plan("process.stutter", {{"pid", target.pid()}}, {{"share", share}, {"period", period}});
    const Json before = control.look(plan.observe);
    CHECK(before["processes"][0]["stopped_share"] == 0.0);
    Applied applied = control.apply(plan.steps[0].apply);
    REQUIRE(applied.held);
    const FaultType* type = find_fault("process.stutter");
    Effect effect;
    CHECK(control.until([&] {  // a busy machine may be late once
      effect = type->effect(plan, before, control.look(plan.observe));
      return effect.bites;
    }));
    INFO(effect.because);
    CHECK(effect.bites);
    applied.held->release();
    const UndoResult result = control.undo(plan.steps[0].undo);
    INFO(result.because);
    CHECK(result.state == UndoState::undone);
    CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
    CHECK(control.look(plan.observe)["processes"][0]["stopped_share"] == 0.0);
    CHECK(beats_on(control, *shared));
  }
}

TEST_CASE("a stuttering process runs on by itself when its holder is killed", "[process.stutter]") {
  Control control;
  SharedMemory shared;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const int pid = target.pid();
  Child holder([&] {
    Control own;
    const FaultPlan plan = own.plan("process.stutter", {{"pid", pid}}, {{"share", "90%"}, {"period", "2s"}});
    const Applied applied = own.apply(plan.steps[0].apply);
    shared->word = 2;
    for (;;) own.until([] { return false; });
    return 0;
  });
  REQUIRE(control.until([&] { return shared->word == 2 && all_in(pid, 't'); }));
  ::kill(holder.pid(), SIGKILL);
  REQUIRE(control.until([&] { return runs(pid); }));
  CHECK(beats_on(control, *shared));
}

TEST_CASE("a process that ends or is killed while it stutters leaves nothing to undo", "[process.stutter]") {
  Control control;
  SharedMemory shared;
  Child target([&] { return beat(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan plan = control.plan("process.stutter", {{"pid", target.pid()}}, {{"share", "50%"}, {"period", "100ms"}});
  Applied applied = control.apply(plan.steps[0].apply);
  ::kill(target.pid(), SIGKILL);
  std::optional<int> status;
  REQUIRE(control.until([&] {
    status = target.poll();
    return status.has_value();
  }));
  CHECK(WIFSIGNALED(*status));
  CHECK_FALSE(find_fault("process.stutter")->effect(plan, Json::object(), control.look(plan.observe)).bites);
  applied.held->release();
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
}

TEST_CASE("what a process makes while it stutters is made, and runs", "[process.stutter]") {
  Control control;
  SharedMemory shared;
  Child target([&] {
    shared->word = 1;
    for (;;) {
      std::thread([&] { shared->beats.fetch_add(1); }).join();
      const int child = ::fork();
      if (child == 0) {
        shared->ran.fetch_add(1);
        ::_exit(0);
      }
      if (child > 0) shared->made.fetch_add(1);
      ::waitpid(child, nullptr, 0);
    }
    return 0;
  });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const FaultPlan plan = control.plan("process.stutter", {{"pid", target.pid()}}, {{"share", "30%"}, {"period", "100ms"}});
  Applied applied = control.apply(plan.steps[0].apply);
  const std::uint64_t made = shared->made;
  CHECK(control.until([&] { return shared->made > made + 30; }));  // through many stops
  applied.held->release();
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(control.until([&] { return shared->ran >= shared->made; }));
  CHECK(beats_on(control, *shared));
}
