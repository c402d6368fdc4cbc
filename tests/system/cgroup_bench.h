// Real processes in real cgroups, for the tests on faults that limit them: whichever version this kernel has for a controller.
#pragma once
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "injector/cgroup/disks.h"
#include "injector/cgroup/limit_step.h"
#include "injector/cgroup/usage.h"
#include "tests/system/process_children.h"

namespace capsize::cgroup_test {

using namespace capsize::process_test;

inline FaultPlan plan_fault_on(Control& control, const char* fault, Json target, Json params, std::set<std::string> allow = {}) {
  FaultRequest request;
  request.params = std::move(params);
  request.target_type = "process";
  request.target = std::move(target);
  request.allow = std::move(allow);
  LocalView view(control.context);
  return control.run(find_fault(fault)->plan(std::move(request), view));
}

inline FaultPlan plan_fault(Control& control, const char* fault, int pid, Json params, std::set<std::string> allow = {}) {
  return plan_fault_on(control, fault, {{"pid", pid}}, std::move(params), std::move(allow));
}

inline std::string folder_of(Controller controller, int pid) {
  const auto answer = find_place(controller, pid);
  return answer.place ? answer.place->folder : "";
}

// A cgroup of the test's own, below the topmost; gone with it, after what is in it.
class TestCgroup {
 public:
  explicit TestCgroup(Controller controller, bool with_controller = true) : controller_(controller) {
    static int count = 0;
    const auto place = find_place(controller, ::getpid()).place;
    REQUIRE(place);
    version = place->version;
    top_ = place->mount;
    switched_on_ = version == 2 && with_controller && !passed_on();
    if (switched_on_) top().write("cgroup.subtree_control", fmt::format("+{}", to_string(controller)));
    name_ = fmt::format("captest-{}-{}", ::getpid(), ++count);
    top().make_child(name_);
  }
  ~TestCgroup() {
    for (const int pid : processes()) move_out(pid);
    top().remove_child(name_);
    if (switched_on_) top().write("cgroup.subtree_control", fmt::format("-{}", to_string(controller_)));
  }
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;

  std::string path() const { return top_ + "/" + name_; }
  std::string name() const { return name_; }
  CgroupFolder folder() const { return *CgroupFolder::open({path(), 0}); }
  CgroupFolder top() const { return *CgroupFolder::open({top_, 0}); }
  std::vector<int> processes() const { return folder().processes(); }
  void take(int pid) const { folder().write("cgroup.procs", std::to_string(pid)); }
  bool passed_on() const {
    const auto words = words_of(top().read("cgroup.subtree_control").value_or(""));
    return std::find(words.begin(), words.end(), to_string(controller_)) != words.end();
  }

  int version = 1;

 private:
  void move_out(int pid) const {
    try {
      top().write("cgroup.procs", std::to_string(pid));
    } catch (const Error&) {  // it has ended
    }
  }
  Controller controller_;
  std::string top_;
  std::string name_;
  bool switched_on_ = false;
};

// Those of ours that are there now, below the topmost cgroup of the controller.
inline std::size_t left_of_ours(Controller controller) {
  const auto place = find_place(controller, ::getpid()).place;
  std::size_t count = 0;
  for (const std::string& name : CgroupFolder::open({place->mount, 0})->children()) count += name.starts_with(kOurCgroup) ? 1 : 0;
  return count;
}

inline bool on_a_disk(const std::string& path) {
  try {
    disk_of(path);
    return true;
  } catch (const Error&) {
    return false;
  }
}

inline int spin_for_ever(Shared& shared) {
  shared.word = 1;
  for (;;) shared.beats.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace capsize::cgroup_test
