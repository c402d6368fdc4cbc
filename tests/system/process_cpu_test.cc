// process.cpu on real processes. The same facts with version 1 here, and with version 2 under Debian's kernel ([netem]: vm_test.cc).
#include <thread>

#include "tests/system/cgroup_bench.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

constexpr Controller kCpu = Controller::cpu;

struct Busy {
  explicit Busy(int threads = 1)
      : child([this, threads] {
          for (int i = 1; i < threads; ++i) std::thread([this] { spin_for_ever(*shared); }).detach();
          return spin_for_ever(*shared);
        }) {
    Control control;
    REQUIRE(control.until([&] { return shared->word == 1; }));
  }
  SharedMemory shared;
  Child child;
  int pid() const { return child.pid(); }
};

double share_of(const Json& answer) { return answer.at("groups").at(0).at("share").get<double>(); }

// The median of three looks. A crowded machine gives less for a while, and a virtual machine that stands still for a moment charges that
// to whoever it ran: then it is looked at again.
void check_gets_a_fifth(Control& control, const FaultPlan& plan) {
  std::string seen;
  bool right = false;
  for (int round = 0; round < 5 && !right; ++round) {
    std::vector<double> shares;
    for (int look = 0; look < 3; ++look) shares.push_back(share_of(control.look(plan.observe)));
    std::sort(shares.begin(), shares.end());
    seen += fmt::format("{:.4f} ", shares[1]);
    right = shares[1] >= 0.18 && shares[1] <= 0.22;
  }
  INFO(seen);
  CHECK(right);
}

void starve_and_restore(int threads) {
  Control control;
  Busy target(threads);
  const std::size_t there = left_of_ours(kCpu);
  const std::string home = folder_of(kCpu, target.pid());
  const FaultPlan plan = plan_fault(control, "process.cpu", target.pid(), {{"share", "20%"}});
  const Json before = control.look(plan.observe);
  CHECK(control.until([&] { return share_of(control.look(plan.observe)) > 0.22; }));

  const Applied applied = control.apply(plan.steps[0].apply);
  CHECK(folder_of(kCpu, target.pid()) == applied.detail["cgroup"].get<std::string>());
  check_gets_a_fifth(control, plan);
  const Effect effect = find_fault("process.cpu")->effect(plan, before, control.look(plan.observe));
  INFO(effect.because);
  CHECK(effect.bites);

  const UndoResult undone = control.undo(plan.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::undone);
  CHECK(folder_of(kCpu, target.pid()) == home);
  CHECK(left_of_ours(kCpu) == there);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(control.until([&] { return share_of(control.look(plan.observe)) > 0.22; }));
}

void limit_several_together() {
  Control control;
  Busy one, two;
  const TestCgroup own(kCpu);
  own.take(one.pid());
  own.take(two.pid());
  const FaultPlan plan = plan_fault_on(control, "process.cpu", {{"cgroup", "/" + own.name()}, {"match", "all"}}, {{"share", "20%"}});
  REQUIRE(plan.steps.size() == 1);
  control.apply(plan.steps[0].apply);
  check_gets_a_fifth(control, plan);
  one.child.kill();
  CHECK(control.until([&] { return control.look(plan.observe).at("groups").at(0).at("processes") == 1; }));
  check_gets_a_fifth(control, plan);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  control.apply(plan.steps[0].apply);  // without the one that has ended
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
}

void limit_its_own_cgroup() {
  Control control;
  Busy target;
  const TestCgroup own(kCpu);
  own.take(target.pid());
  const std::string file = own.version == 1 ? "cpu.cfs_quota_us" : "cpu.max";
  own.folder().write(file, own.version == 1 ? "60000" : "60000 100000");
  const std::string was = *own.folder().read(file);
  const FaultPlan plan = plan_fault(control, "process.cpu", target.pid(), {{"share", "20%"}});
  CHECK(plan.summary.find("by its own cgroup") != std::string::npos);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);  // alone it changes nothing
  CHECK(own.folder().read(file) == was);

  control.apply(plan.steps[0].apply);
  CHECK(own.folder().read(file) != was);
  check_gets_a_fifth(control, plan);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(own.folder().read(file) == was);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(own.folder().read(file) == was);

  control.apply(plan.steps[0].apply);
  own.folder().write(file, own.version == 1 ? "30000" : "30000 100000");  // an operator
  const std::string theirs = *own.folder().read(file);
  for (int times = 0; times < 2; ++times) CHECK(control.undo(plan.steps[0].undo).state == UndoState::refused);
  CHECK(own.folder().read(file) == theirs);
  CHECK_THROWS_WITH(control.apply(plan.steps[0].apply), Catch::Contains("when it was planned"));
  CHECK(own.folder().read(file) == theirs);
}

// A process that makes a child when it is told to.
int father(Shared& shared) {
  shared.word = 1;
  while (shared.word != 2) ::usleep(2000);
  const int child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::thread([] { ::pause(); }).detach();
  } else {
    shared.made = static_cast<std::uint64_t>(child);
  }
  for (;;) ::pause();
}

void move_children_back() {
  Control control;
  SharedMemory shared;
  Child target([&] { return father(*shared); });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  const std::size_t there = left_of_ours(kCpu);
  const std::string home = folder_of(kCpu, target.pid());
  const FaultPlan plan = plan_fault(control, "process.cpu", target.pid(), {{"share", "50%"}});
  const Applied applied = control.apply(plan.steps[0].apply);
  shared->word = 2;
  REQUIRE(control.until([&] { return shared->made > 0; }));
  const int child = static_cast<int>(shared->made);
  CHECK(folder_of(kCpu, child) == applied.detail["cgroup"].get<std::string>());
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(folder_of(kCpu, target.pid()) == home);
  CHECK(folder_of(kCpu, child) == home);
  CHECK(left_of_ours(kCpu) == there);
}

void leave_what_others_moved() {
  Control control;
  Busy target;
  const TestCgroup elsewhere(kCpu);
  const std::size_t there = left_of_ours(kCpu);
  const FaultPlan plan = plan_fault(control, "process.cpu", target.pid(), {{"share", "20%"}});
  const Json before = control.look(plan.observe);
  control.apply(plan.steps[0].apply);
  elsewhere.take(target.pid());
  const Effect effect = find_fault("process.cpu")->effect(plan, before, control.look(plan.observe));
  CHECK_FALSE(effect.bites);
  INFO(effect.because);
  CHECK((effect.because.find("is not in") != std::string::npos || effect.because.find("is in another cgroup now") != std::string::npos));
  const UndoResult undone = control.undo(plan.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::refused);
  CHECK(folder_of(kCpu, target.pid()) == elsewhere.path());
  CHECK(left_of_ours(kCpu) == there);
  // Before Linux 6.9 its cgroup is a part of what it is known by.
  CHECK_THROWS_WITH(control.apply(plan.steps[0].apply), Catch::Contains("someone has moved it since it was planned") || Catch::Contains("is in another cgroup now"));
  CHECK(left_of_ours(kCpu) == there);
}

void clean_up_after_the_end() {
  Control control;
  const std::size_t there = left_of_ours(kCpu);
  const FaultPlan plan = [&] {
    Busy target;
    FaultPlan made = plan_fault(control, "process.cpu", target.pid(), {{"share", "20%"}});
    CHECK(control.undo(made.steps[0].undo).state == UndoState::nothing_to_undo);  // alone it changes nothing
    control.apply(made.steps[0].apply);
    CHECK(left_of_ours(kCpu) == there + 1);
    return made;
  }();
  const UndoResult undone = control.undo(plan.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::undone);
  CHECK(undone.because.find("has ended") != std::string::npos);
  CHECK(left_of_ours(kCpu) == there);
  try {
    control.apply(plan.steps[0].apply);
    FAIL("it was applied to a process that has ended");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::changed);
  }
  CHECK(left_of_ours(kCpu) == there);
}

std::string file_of_limit(int version) { return version == 1 ? "cpu.cfs_quota_us" : "cpu.max"; }

void lift_what_cannot_be_removed() {
  Control control;
  Busy target;
  const std::size_t there = left_of_ours(kCpu);
  const std::string home = folder_of(kCpu, target.pid());
  const FaultPlan plan = plan_fault(control, "process.cpu", target.pid(), {{"share", "20%"}});
  const std::string ours = control.apply(plan.steps[0].apply).detail["cgroup"].get<std::string>();
  CgroupFolder::open({ours, 0})->make_child("captest-child");  // somebody's
  const UndoResult undone = control.undo(plan.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::failed);
  CHECK(undone.because.find(ours + " could not be removed: ") == 0);
  CHECK(undone.because.find("; its limits are lifted") != std::string::npos);
  CHECK(folder_of(kCpu, target.pid()) == home);
  const auto left = CgroupFolder::open({ours, 0});
  REQUIRE(left);
  const auto limit = left->read(file_of_limit(find_place(kCpu, target.pid()).place->version)).value_or("max");  // no file: its controller is off
  CHECK((limit == "-1" || limit.starts_with("max")));
  CHECK(left->remove_child("captest-child") == 0);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(left_of_ours(kCpu) == there);
}

}  // namespace

TEST_CASE("a busy process gets the share of a core that was written, and all of it back", "[process.cpu]") { starve_and_restore(1); }
TEST_CASE("the threads of a busy process share what it gets", "[process.cpu]") { starve_and_restore(4); }
TEST_CASE("a process that has a cgroup to itself is limited there, and its old limit is restored unless someone changed it", "[process.cpu]") { limit_its_own_cgroup(); }
TEST_CASE("processes that have a cgroup to themselves share what they get, and the rest of them when one ends", "[process.cpu]") { limit_several_together(); }
TEST_CASE("what a limited process starts is moved back too", "[process.cpu]") { move_children_back(); }
TEST_CASE("a limited process that someone moves elsewhere stays there, and the undo says so", "[process.cpu]") { leave_what_others_moved(); }
TEST_CASE("a limited process that ends leaves nothing of ours behind", "[process.cpu]") { clean_up_after_the_end(); }
TEST_CASE("a cgroup of ours that cannot be removed is at least free of our limits", "[process.cpu]") { lift_what_cannot_be_removed(); }

TEST_CASE("version 2: a busy process gets the share of a core that was written, and all of it back", "[netem][process.cpu]") {
  Control control;
  REQUIRE(find_place(kCpu, ::getpid()).place->version == 2);
  const auto top = CgroupFolder::open({find_place(kCpu, ::getpid()).place->mount, 0});
  const std::string passed_on = *top->read("cgroup.subtree_control");
  starve_and_restore(1);
  starve_and_restore(4);
  CHECK(*top->read("cgroup.subtree_control") == passed_on);  // the controller was switched on for that, and off again
}

TEST_CASE("version 2: a process that has a cgroup to itself is limited there, and its old limit is restored unless someone changed it", "[netem][process.cpu]") { limit_its_own_cgroup(); }
TEST_CASE("version 2: processes that have a cgroup to themselves share what they get", "[netem][process.cpu]") { limit_several_together(); }
TEST_CASE("version 2: what a limited process starts is moved back too", "[netem][process.cpu]") { move_children_back(); }
TEST_CASE("version 2: a limited process that someone moves elsewhere stays there, and the undo says so", "[netem][process.cpu]") { leave_what_others_moved(); }
TEST_CASE("version 2: a limited process that ends leaves nothing of ours behind", "[netem][process.cpu]") { clean_up_after_the_end(); }
TEST_CASE("version 2: a cgroup of ours that cannot be removed is at least free of our limits", "[netem][process.cpu]") { lift_what_cannot_be_removed(); }

TEST_CASE("version 2: the controller is switched on for a cgroup that lacks it, and off again unless someone has come to need it", "[netem][process.cpu]") {
  Control control;
  Busy target;
  const TestCgroup own(kCpu, false);
  own.take(target.pid());
  REQUIRE_FALSE(own.passed_on());
  const FaultPlan plan = plan_fault(control, "process.cpu", target.pid(), {{"share", "20%"}});
  for (const bool needed : {false, true}) {
    control.apply(plan.steps[0].apply);
    check_gets_a_fifth(control, plan);
    own.top().make_child("captest-neighbour");
    const auto neighbour = CgroupFolder::open({own.top().ref().folder + "/captest-neighbour", 0});
    if (needed) neighbour->write("cpu.weight", "50");
    const UndoResult undone = control.undo(plan.steps[0].undo);
    INFO(undone.because);
    CHECK(undone.state == UndoState::undone);
    CHECK(own.passed_on() == needed);
    CHECK((undone.because.find("captest-neighbour uses it") != std::string::npos) == needed);
    if (needed) CHECK(*neighbour->read("cpu.weight") == "50");
    CHECK(own.top().remove_child("captest-neighbour") == 0);
  }
  own.top().write("cgroup.subtree_control", "-cpu");
}

TEST_CASE("version 2: an apply that came no further than the controller is undone", "[netem][process.cpu]") {
  Control control;
  Busy target;
  const TestCgroup own(kCpu, false);
  const auto undo = [&](const FaultPlan& plan) {
    const UndoResult undone = control.undo(plan.steps[0].undo);
    INFO(undone.because);
    CHECK(undone.state == UndoState::undone);
    CHECK_FALSE(own.passed_on());
    CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  };
  REQUIRE_FALSE(own.passed_on());
  const FaultPlan moved = plan_fault(control, "process.cpu", target.pid(), {{"share", "20%"}});
  const LimitStep step = limit_step_from_json(moved.steps[0].apply.args);
  REQUIRE(step.move);
  own.top().make_child(step.move->name);
  own.top().write("cgroup.subtree_control", "+cpu");
  undo(moved);
  own.take(target.pid());
  const FaultPlan there = plan_fault(control, "process.cpu", target.pid(), {{"share", "20%"}});
  own.top().write("cgroup.subtree_control", "+cpu");
  undo(there);
  control.apply(there.steps[0].apply);
  own.folder().write("cpu.weight", "50");  // somebody, meanwhile
  const UndoResult undone = control.undo(there.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::undone);
  CHECK(undone.because.find(own.name() + " uses it") != std::string::npos);
  CHECK(*own.folder().read("cpu.weight") == "50");
  own.top().write("cgroup.subtree_control", "-cpu");
}
