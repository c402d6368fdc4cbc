// host.* on a real machine, in small doses: what is taken is measured, and given back whatever happens.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstddef>

#include "injector/burdens/bearer.h"
#include "injector/burdens/bearer_wire.h"
#include "injector/burdens/burden.h"
#include "injector/targets/host.h"
#include "tests/injector/scratch_dir.h"
#include "tests/system/machine.h"
#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;
using TestProcess = capsize::process_test::Child;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kDiskSize = 64 * kMiB;

// A file system of this test's own that is mounted nowhere: reached through this process alone, and gone with it.
class SmallDisk {
 public:
  SmallDisk() {
    const UniqueFd kind(::fsopen("tmpfs", FSOPEN_CLOEXEC));
    ::fsconfig(kind.get(), FSCONFIG_SET_STRING, "size", "64m", 0);
    ::fsconfig(kind.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
    mount_.reset(::fsmount(kind.get(), FSMOUNT_CLOEXEC, 0));
    REQUIRE(mount_);
  }
  std::string path() const { return fmt::format("/proc/{}/fd/{}", owner_, mount_.get()); }
  std::uint64_t available() const { return file_system_space(path()).available; }
  // What another program that writes there gets: the bytes that fit.
  std::uint64_t write(const char* name, std::uint64_t bytes) const {
    const UniqueFd file(::openat(mount_.get(), name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const std::string text(64 * 1024, 'x');
    std::uint64_t done = 0;
    while (done < bytes) {
      const ssize_t count = ::write(file.get(), text.data(), std::min<std::uint64_t>(text.size(), bytes - done));
      if (count <= 0) break;
      done += static_cast<std::uint64_t>(count);
    }
    return done;
  }
  void remove(const char* name) const { ::unlinkat(mount_.get(), name, 0); }

 private:
  UniqueFd mount_;
  int owner_ = ::getpid();
};

FaultPlan plan_host(Control& control, const char* fault, Json params, std::set<std::string> allow = {}) {
  FaultRequest request;
  request.params = std::move(params);
  request.target_type = "host";
  request.allow = std::move(allow);
  LocalView view(control.context);
  return control.run(find_fault(fault)->plan(std::move(request), view));
}

// The first effect that bites, or the last one seen.
Effect eventually_bites(Control& control, const char* fault, const FaultPlan& plan, const Json& before) {
  Effect effect;
  control.until([&] {
    effect = find_fault(fault)->effect(plan, before, control.look(plan.observe));
    return effect.bites;
  });
  INFO(effect.because);
  CHECK(effect.bites);
  return effect;
}

std::string id_of(const FaultPlan& plan) { return plan.steps.at(0).undo.args.at("id").get<std::string>(); }

void give_back(Control& control, Applied& applied, const FaultPlan& plan) {
  applied.held->release();
  const UndoResult first = control.undo(plan.steps[0].undo);
  INFO(first.because);
  CHECK(first.state == UndoState::undone);
  CHECK(find_bearer(id_of(plan)).pid == 0);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
}

struct Holder {  // a process that holds a burden as an agent does, until it is killed
  Holder(const FaultPlan& plan, Shared& shared)
      : child([plan, &shared] {
          Control control;
          const Applied applied = control.apply(plan.steps[0].apply);
          shared.word = 2;
          for (;;) control.until([] { return false; });
          return 0;
        }) {}
  TestProcess child;
};

// From the SIGKILL of whoever holds a burden to the moment when the kernel has taken all of it back.
Duration time_to_normal(Control& control, const FaultPlan& plan) {
  SharedMemory shared;
  Holder holder(plan, *shared);
  REQUIRE(control.until([&] { return shared->word == 2; }));
  const BearerLook bearer = find_bearer(id_of(plan));
  REQUIRE(bearer.pid != 0);
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, bearer.pid, 0)));
  REQUIRE(pidfd);
  const TimePoint killed = control.clock.now();
  ::kill(holder.child.pid(), SIGKILL);
  pollfd ended = {pidfd.get(), POLLIN, 0};
  CHECK(::poll(&ended, 1, 20000) == 1);
  const Duration took = control.clock.now() - killed;
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  return took;
}

Duration median(std::vector<Duration> all) {
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

// From here on fallocate answers as on a file system that has none.
void forbid_fallocate() {
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fallocate, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program = {4, code};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) ::_exit(9);
}

}  // namespace

TEST_CASE("half of one processor is taken, and given back", "[host][host.cpu]") {
  Control control;
  const FaultPlan plan = plan_host(control, "host.cpu", {{"share", "50%"}, {"cores", 1}});
  const Json before = control.look(plan.observe);
  CHECK(before.at("ours") == 0.0);
  Applied applied = control.apply(plan.steps[0].apply);
  REQUIRE(applied.held);
  CHECK(applied.detail.at("in_place") == true);
  const Effect effect = eventually_bites(control, "host.cpu", plan, before);
  const double ratio = effect.measured.at("share").get<double>() / plan.intended.at("share").get<double>();
  CHECK(ratio < 1.45);  // what others took is made up for, by up to 200 ms
  give_back(control, applied, plan);
  CHECK_FALSE(find_fault("host.cpu")->effect(plan, before, control.look(plan.observe)).bites);
}

TEST_CASE("memory is held for certain, and given back", "[host][host.memory]") {
  Control control;
  const FaultPlan plan = plan_host(control, "host.memory", {{"size", "64MiB"}});
  const Json before = control.look(plan.observe);
  Applied applied = control.apply(plan.steps[0].apply);
  const Effect effect = eventually_bites(control, "host.memory", plan, before);
  CHECK(effect.measured.at("held").get<std::uint64_t>() >= 64 * kMiB);
  CHECK(read_text(fmt::format("/proc/{}/oom_score_adj", applied.detail.at("pid").get<int>())) == "1000\n");
  give_back(control, applied, plan);
  CHECK_FALSE(find_fault("host.memory")->effect(plan, before, control.look(plan.observe)).bites);
}

TEST_CASE("memory is taken until so much is left, while others take and give back too", "[host][host.memory]") {
  Control control;
  const std::uint64_t leave = memory_of_host().available / kMiB - 256;
  const FaultPlan plan = plan_host(control, "host.memory", {{"leave", fmt::format("{}MiB", leave)}});
  const Json before = control.look(plan.observe);
  Applied applied = control.apply(plan.steps[0].apply);
  eventually_bites(control, "host.memory", plan, before);
  give_back(control, applied, plan);
}

TEST_CASE("memory below the floor is not taken, and what was taken until then is given back", "[host][host.memory]") {
  Control control;
  FaultPlan plan = plan_host(control, "host.memory", {{"size", "64MiB"}});
  plan.steps[0].apply.args["floor"] = memory_of_host().total;
  CHECK_THROWS_WITH(control.apply(plan.steps[0].apply), Catch::Contains("of 64.0 MiB were taken when only") && Catch::Contains("starve_host"));
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);  // the process had begun
  CHECK(find_bearer(id_of(plan)).pid == 0);
}

TEST_CASE("a file system is filled as intended, filled again when others delete, and given back to the byte", "[host][host.disk]") {
  Control control;
  const SmallDisk disk;
  const std::uint64_t room = disk.available();
  const FaultPlan plan = plan_host(control, "host.disk", {{"path", disk.path()}, {"leave", "8MiB"}});
  const Json before = control.look(plan.observe);
  Applied applied = control.apply(plan.steps[0].apply);
  const Effect effect = eventually_bites(control, "host.disk", plan, before);
  CHECK(effect.measured.at("during").at("available") == 8 * kMiB);
  CHECK(disk.write("other", 16 * kMiB) == 8 * kMiB);  // no space left on device
  CHECK(disk.available() == 0);
  disk.remove("other");
  CHECK(disk.available() == 8 * kMiB);
  disk.write("other", 4 * kMiB);
  give_back(control, applied, plan);
  disk.remove("other");
  CHECK(disk.available() == room);
  CHECK(room == kDiskSize);
}

TEST_CASE("a full file system stays full when others make room", "[host][host.disk]") {
  Control control;
  const SmallDisk disk;
  disk.write("other", 20 * kMiB);
  const FaultPlan plan = plan_host(control, "host.disk", {{"path", disk.path()}, {"leave", "0B"}});
  Applied applied = control.apply(plan.steps[0].apply);
  CHECK(disk.available() == 0);
  disk.remove("other");
  CHECK(control.until([&] { return disk.available() == 0; }));
  give_back(control, applied, plan);
  CHECK(disk.available() == kDiskSize);
}

TEST_CASE("where a file cannot be allocated at once it is written", "[host][host.disk]") {
  const SmallDisk disk;
  const Json order = {{"burden", "disk"}, {"path", disk.path()}, {"leave", 40 * kMiB}, {"floor", 0}};
  SharedMemory shared;
  Control control;
  TestProcess filling([&] {
    forbid_fallocate();
    const auto burden = burden_of(order);
    const Json detail = burden->take_up([] {});
    shared->made = detail.at("bytes").get<std::uint64_t>();
    shared->word = detail.at("written").get<bool>() ? 2 : 1;
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(control.until([&] { return shared->word != 0; }));
  CHECK(shared->word == 2);
  CHECK(shared->made == 24 * kMiB);
  CHECK(disk.available() == 40 * kMiB);
  filling.kill();
  CHECK(disk.available() == kDiskSize);
}

TEST_CASE("the file system of the journals is never filled below 64 MiB, also when the plan did not know of them", "[host][host.disk]") {
  Control control;
  const SmallDisk disk;
  const FaultPlan plan = plan_host(control, "host.disk", {{"path", disk.path()}, {"leave", "1MiB"}});
  control.context.state_folder = disk.path() + "/state";
  CHECK_THROWS_AS(plan_host(control, "host.disk", {{"path", disk.path()}, {"leave", "1MiB"}}), Error);
  Applied applied = control.apply(plan.steps[0].apply);
  CHECK(disk.available() == kDiskSize);
  give_back(control, applied, plan);
}

TEST_CASE("a disk is read and written at the rate that was asked for", "[host][host.io]") {
  Control control;
  const std::string path = CAPSIZE_BINARY_DIR;  // on a disk, where /tmp may be in memory
  const FaultPlan plan = plan_host(control, "host.io", {{"path", path}, {"rate", "4MiB/s"}});
  const Json before = control.look(plan.observe);
  Applied applied = control.apply(plan.steps[0].apply);
  const Effect effect = eventually_bites(control, "host.io", plan, before);
  const Json during = effect.measured.at("during");
  CHECK(during.at("read_per_second").get<double>() > 0.5 * kMiB);
  CHECK(during.at("written_per_second").get<double>() > 0.5 * kMiB);
  CHECK(during.at("read_per_second").get<double>() + during.at("written_per_second").get<double>() < 8.0 * kMiB);
  give_back(control, applied, plan);
  const SmallDisk memory;
  CHECK_THROWS_WITH(plan_host(control, "host.io", {{"path", memory.path()}, {"rate", "1MiB/s"}}), Catch::Contains("no disk below it"));
}

TEST_CASE("a machine is as before within milliseconds when whoever holds a burden is killed", "[host]") {
  Control control;
  const SmallDisk disk;
  const std::vector<std::pair<const char*, Json>> faults = {{"host.cpu", {{"share", "30%"}, {"cores", 1}}}, {"host.memory", {{"size", "64MiB"}}}, {"host.disk", {{"path", disk.path()}, {"leave", "32MiB"}}}};
  for (const auto& [fault, params] : faults) {
    std::vector<Duration> all;
    for (int round = 0; round < 15; ++round) all.push_back(time_to_normal(control, plan_host(control, fault, params)));
    INFO(fault << ": half of the time within " << seconds(median(all)) * 1e3 << " ms");
    CHECK(seconds(median(all)) <= 0.1);  // 1 to 3 ms where a processor is idle
    CHECK(disk.available() == kDiskSize);
  }
}

TEST_CASE("an undo ends the process of a burden whose agent it does not know, and no other process of that name", "[host]") {
  Control control;
  const FaultPlan plan = plan_host(control, "host.cpu", {{"share", "10%"}, {"cores", 1}});
  SharedMemory shared;
  TestProcess impostor([&] {
    ::prctl(PR_SET_NAME, bearer_name(id_of(plan)).c_str());
    shared->word = 1;
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(control.until([&] { return shared->word == 1; }));
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  Holder holder(plan, *shared);
  REQUIRE(control.until([&] { return shared->word == 2; }));
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK_FALSE(impostor.poll());
}

TEST_CASE("a burden whose process was killed does not bite, and leaves nothing to undo", "[host]") {
  Control control;
  const FaultPlan plan = plan_host(control, "host.memory", {{"size", "16MiB"}});
  const Json before = control.look(plan.observe);
  SharedMemory shared;
  Holder holder(plan, *shared);
  REQUIRE(control.until([&] { return shared->word == 2; }));
  ::kill(find_bearer(id_of(plan)).pid, SIGKILL);  // as the kernel does when memory runs out
  REQUIRE(control.until([&] { return find_bearer(id_of(plan)).pid == 0; }));
  const Effect effect = find_fault("host.memory")->effect(plan, before, control.look(plan.observe));
  CHECK_FALSE(effect.bites);
  CHECK(effect.because == "no process of capsize bears this burden: it was never taken up, or was killed");
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
}

TEST_CASE("agent and guard killed together take the burden with them, and revert only tidies up", "[host]") {
  const TestFolder folder;
  const std::filesystem::path state = folder / "state";
  Spawned run({capsize_program(), "--state", state.string(), "inject", "host.cpu", "share=20%", "cores=1", "--for", "60s"}, folder / "out");
  REQUIRE(eventually([&] { return run.out().find("injected for") != std::string::npos || run.ended(); }, std::chrono::seconds(30)));
  const auto records = journal_records(state);
  REQUIRE(records.size() >= 2);
  const std::string id = records.at(1).at("undo").at("args").at("id");
  const int bearer = find_bearer(id).pid;
  REQUIRE(bearer != 0);
  ::kill(records.front().at("guard").at("pid").get<int>(), SIGSTOP);  // so that it cannot be the one
  ::kill(records.front().at("agent").at("pid").get<int>(), SIGKILL);
  ::kill(records.front().at("guard").at("pid").get<int>(), SIGKILL);
  CHECK(eventually([&] { return find_bearer(id).pid == 0; }, std::chrono::seconds(10)));
  run.wait();
  const Ran revert = run_capsize({"--state", state.string(), "revert", "--all"}, folder.path());
  INFO(revert.out << revert.err);
  CHECK(revert.code == 0);
  CHECK(run_capsize({"--state", state.string(), "status"}, folder.path()).code == 0);
  CHECK(run_capsize({"burden", "--id", "00000000"}, folder.path()).code == 64);  // not for people
}
