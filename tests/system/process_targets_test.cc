// Selectors of processes on real ones: by program and arguments, by where they listen, by cgroup and unit.
#include <catch2/catch.hpp>

#include <fmt/format.h>
#include <sched.h>

#include <fstream>
#include <sstream>

#include "injector/targets/process_selector.h"
#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;

namespace {

// A cgroup of this test's own, in the version 2 hierarchy; empty path: there is none to make one in.
class Cgroup {
 public:
  explicit Cgroup(const std::string& below) {
    std::ifstream mounts("/proc/self/mounts");
    std::string line;
    while (path_.empty() && std::getline(mounts, line)) {
      std::istringstream words(line);
      std::string device, where, kind;
      words >> device >> where >> kind;
      if (kind == "cgroup2") path_ = std::filesystem::path(where) / fmt::format("selector-test-{}.slice", ::getpid()) / below;
    }
    if (!path_.empty()) std::filesystem::create_directories(path_);
  }
  ~Cgroup() {
    std::error_code ignored;
    for (auto folder = path_; !path_.empty() && folder.filename().string().find("selector-test") == std::string::npos; folder = folder.parent_path()) std::filesystem::remove(folder, ignored);
    if (!path_.empty()) std::filesystem::remove(top(), ignored);
  }
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;
  std::filesystem::path top() const {
    auto folder = path_;
    while (folder.has_relative_path() && folder.filename().string().find("selector-test") == std::string::npos) folder = folder.parent_path();
    return folder;
  }
  void enter(int pid) const { std::ofstream(path_ / "cgroup.procs") << pid; }
  void leave(int pid) const { std::ofstream(top().parent_path() / "cgroup.procs") << pid; }
  std::string seen_as(int pid) const { return ProcFs().cgroups(pid)[""]; }

 private:
  std::filesystem::path path_;
};

}  // namespace

TEST_CASE("processes are selected by the file they run and by their exact arguments", "[process][targets]") {
  Control control;
  Program program;
  std::vector<std::unique_ptr<Child>> children;
  CHECK(why_not(control, "process.pause", {{"exe", program.path()}}).kind == ErrorKind::unavailable);
  CHECK(why_not(control, "process.pause", {{"exe", program.path()}}).text.find("there are no processes that run") != std::string::npos);
  program.run(control, children, "600");
  program.run(control, children, "601");
  program.run(control, children, "600", "2");
  std::vector<int> all;
  for (const auto& child : children) all.push_back(child->pid());
  std::sort(all.begin(), all.end());

  const WhyNot several = why_not(control, "process.pause", {{"exe", program.path()}});
  CHECK(several.kind == ErrorKind::refused);
  CHECK(several.text.find("there are 3 processes that run") != std::string::npos);
  CHECK(pids_of(control.plan("process.pause", {{"exe", program.path()}, {"match", "all"}})) == all);
  CHECK(pids_of(control.plan("process.pause", {{"exe", program.path()}, {"match", "50%"}})).size() == 2);
  CHECK(pids_of(control.plan("process.pause", {{"exe", program.path()}, {"arguments", {"601"}}})) == std::vector<int>{children[1]->pid()});
  CHECK(pids_of(control.plan("process.pause", {{"exe", program.path()}, {"arguments", {"600", "2"}}})) == std::vector<int>{children[2]->pid()});
  CHECK(why_not(control, "process.pause", {{"exe", program.path()}, {"arguments", {"60"}}}).kind == ErrorKind::unavailable);
  const auto one = pids_of(control.plan("process.pause", {{"exe", program.path()}, {"match", "one"}}, Json::object(), {}, 5));
  CHECK(one == pids_of(control.plan("process.pause", {{"exe", program.path()}, {"match", "one"}}, Json::object(), {}, 5)));

  const FaultPlan plan = control.plan("process.pause", {{"exe", program.path()}, {"match", "all"}});
  const Json before = control.look(plan.observe);
  std::vector<Applied> applied;
  for (const Step& step : plan.steps) applied.push_back(control.apply(step.apply));
  const Effect effect = find_fault("process.pause")->effect(plan, before, control.look(plan.observe));
  INFO(effect.because);
  CHECK(effect.bites);
  for (const int pid : all) CHECK(all_in(pid, 't'));
  for (Applied& one_of_them : applied) one_of_them.held->release();
  for (const Step& step : plan.steps) CHECK(control.undo(step.undo).state == UndoState::undone);
}

TEST_CASE("a program that was replaced on disk is still found by its path, beside those started since", "[process][targets]") {
  Control control;
  Program program;
  std::vector<std::unique_ptr<Child>> children;
  program.run(control, children);
  program.replace();
  CHECK(pids_of(control.plan("process.pause", {{"exe", program.path()}})) == std::vector<int>{children[0]->pid()});
  program.run(control, children);
  CHECK(pids_of(control.plan("process.pause", {{"exe", program.path()}, {"match", "all"}})).size() == 2);
}

TEST_CASE("a process is selected by where it listens, and all that share the socket are", "[process][targets]") {
  Control control;
  SharedMemory shared;
  Child server([&] {
    shared->word = listen_at("127.0.0.1", 0);
    return sleep_on();
  });
  REQUIRE(control.until([&] { return shared->word > 0; }));
  const int port = shared->word;
  const std::string exact = fmt::format("127.0.0.1:{}", port);
  CHECK(pids_of(control.plan("process.pause", {{"listens_on", exact}})) == std::vector<int>{server.pid()});
  CHECK(pids_of(control.plan("process.pause", {{"listens_on", port}})) == std::vector<int>{server.pid()});
  CHECK(why_not(control, "process.pause", {{"listens_on", fmt::format("127.0.0.2:{}", port)}}).kind == ErrorKind::unavailable);
  CHECK(why_not(control, "process.pause", {{"listens_on", fmt::format("0.0.0.0:{}", port)}}).kind == ErrorKind::unavailable);

  SharedMemory other;
  Child every([&] {
    other->word = listen_at("0.0.0.0", 0);
    const int worker = ::fork();
    if (worker == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      return sleep_on();
    }
    other->made = static_cast<std::uint64_t>(worker);
    return sleep_on();
  });
  REQUIRE(control.until([&] { return other->made > 0; }));
  for (const std::string& where : std::vector<std::string>{fmt::format("127.0.0.1:{}", other->word.load()), fmt::format("0.0.0.0:{}", other->word.load()), fmt::format("{}", other->word.load())}) {
    INFO(where);
    CHECK(why_not(control, "process.pause", {{"listens_on", where}}).text.find("there are 2 processes that listen on " + where) != std::string::npos);
    CHECK(pids_of(control.plan("process.pause", {{"listens_on", where}, {"match", "all"}})).size() == 2);
  }
}

TEST_CASE("a process is selected by its cgroup and by its systemd unit, and not from another unit of that name", "[process][targets]") {
  Control control;
  const std::string unit = fmt::format("selected-{}.service", ::getpid());
  Cgroup worker(unit + "/worker");
  REQUIRE_FALSE(worker.top().empty());
  SharedMemory shared;
  Child inside(sleep_on);
  Child outside(sleep_on);
  Child container([&] {  // as far as pid namespaces go
    if (::unshare(CLONE_NEWPID) != 0) return 1;
    const int first = ::fork();
    if (first == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      return sleep_on();
    }
    shared->word = first;
    return sleep_on();
  });
  REQUIRE(control.until([&] { return shared->word > 0; }));
  const int contained = shared->word;
  worker.enter(inside.pid());
  REQUIRE(worker.seen_as(inside.pid()).ends_with(unit + "/worker"));
  const std::string path = worker.seen_as(inside.pid());
  CHECK(pids_of(control.plan("process.pause", {{"cgroup", path}})) == std::vector<int>{inside.pid()});
  CHECK(pids_of(control.plan("process.pause", {{"unit", unit}})) == std::vector<int>{inside.pid()});
  CHECK(why_not(control, "process.pause", {{"unit", "s" + unit}}).kind == ErrorKind::unavailable);
  {
    Cgroup same_name("container/" + unit);
    same_name.enter(contained);
    CHECK(pids_of(control.plan("process.pause", {{"unit", unit}, {"match", "all"}})) == std::vector<int>{inside.pid()});
    worker.leave(inside.pid());
    CHECK(why_not(control, "process.pause", {{"unit", unit}}).kind == ErrorKind::unavailable);
    worker.enter(inside.pid());
    same_name.leave(contained);
    same_name.enter(outside.pid());
    const WhyNot two = why_not(control, "process.pause", {{"unit", unit}, {"match", "all"}});
    CHECK(two.kind == ErrorKind::refused);
    CHECK(two.text.find("there are 2 units") != std::string::npos);
    CHECK(pids_of(control.plan("process.pause", {{"cgroup", path}, {"match", "all"}})) == std::vector<int>{inside.pid()});
    same_name.leave(outside.pid());
  }
  worker.leave(inside.pid());
}

TEST_CASE("capsize and its ancestors are not selected by what they run or where they listen", "[process][targets]") {
  Control control;
  const auto own = ProcFs().exe(::getpid());
  REQUIRE(own);
  const WhyNot itself = why_not(control, "process.pause", {{"exe", own->path}});
  CHECK(itself.kind == ErrorKind::refused);
  CHECK(itself.text.find("capsize itself") != std::string::npos);
  const Listener listener;
  const int port = listener.port();
  CHECK(why_not(control, "process.pause", {{"listens_on", port}, {"match", "all"}}).text.find("capsize itself") != std::string::npos);
  Child child(sleep_on);  // runs the same program, and got the socket with it
  CHECK(pids_of(control.plan("process.pause", {{"listens_on", port}, {"match", "all"}})) == std::vector<int>{child.pid()});
  const auto parent = ProcFs().exe(::getppid());
  REQUIRE(parent);
  const auto selected = select_processes({{}, {}, {}, parent->path, {}, {}, {}, {}}, ProcFs());
  CHECK(std::any_of(selected.processes.begin(), selected.processes.end(), [](const TargetProcess& process) { return process.pid == ::getppid(); }));
  try {
    const auto pids = pids_of(control.plan("process.pause", {{"exe", parent->path}, {"match", "all"}}));
    CHECK(std::find(pids.begin(), pids.end(), ::getppid()) == pids.end());
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::refused);  // there was no other
  }
}

TEST_CASE("without the privilege to look at all processes, none is selected by its program or socket", "[process][targets]") {
  REQUIRE(::geteuid() == 0);
  Control control;
  Child foreign(sleep_on);
  const auto groups = ProcFs().cgroups(foreign.pid());
  REQUIRE_FALSE(groups.empty());
  ProcessParams by_cgroup;
  by_cgroup.cgroup = groups.begin()->second;
  SharedMemory shared;
  Child stranger([&] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 10;
    ::prctl(PR_SET_DUMPABLE, 1);
    Control own;
    shared->word = listen_at("127.0.0.1", 0);
    for (const Json& target : {Json{{"exe", "/bin/sleep"}}, Json{{"listens_on", shared->word.load()}}}) {
      const WhyNot answer = why_not(own, "process.pause", target);
      if (answer.kind != ErrorKind::privilege || answer.text.find("CAP_SYS_PTRACE") == std::string::npos) return 11;
    }
    try {  // as before Linux 6.9: who is in the cgroup can be seen, but not whether it is the same one a moment later
      select_processes(by_cgroup, ProcFs("/proc", false));
      return 12;
    } catch (const Error& problem) {
      return problem.kind() == ErrorKind::privilege ? 0 : 13;
    }
  });
  CHECK(exit_code_of(stranger) == 0);
}
