// process.io on real processes and disks. With version 1 at the disk at hand; with version 2 under Debian's kernel at one in memory ([netem]: vm_test.cc).
#include <fcntl.h>
#include <sys/statfs.h>

#include <cstdlib>

#include "injector/cgroup/disks.h"
#include "tests/system/cgroup_bench.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

constexpr Controller kIo = Controller::io;
constexpr std::size_t kBlock = 65536;
constexpr std::size_t kBlocks = 256;
constexpr double kMiB = 1048576;

// Reads (word 1) or writes (word 2) past the cache, again and again, from the first block to the last.
int work(const std::string& path, Shared& shared) {
  void* buffer = nullptr;
  if (::posix_memalign(&buffer, 4096, kBlock) != 0) return 1;
  std::fill_n(static_cast<char*>(buffer), kBlock, 'x');
  const int file = ::open(path.c_str(), O_RDWR | O_DIRECT);
  if (file < 0) return 2;
  shared.made = 1;
  for (std::size_t i = 0;; ++i) {
    const auto at = static_cast<off_t>(i % kBlocks * kBlock);
    while (shared.word == 0) ::usleep(1000);
    const ssize_t done = shared.word == 1 ? ::pread(file, buffer, kBlock, at) : ::pwrite(file, buffer, kBlock, at);
    if (done != static_cast<ssize_t>(kBlock)) return 3;
    shared.beats.fetch_add(1);
  }
}

struct Worker {
  explicit Worker(std::string path_) : path(std::move(path_)), child([this] { return work(path, *shared); }) {
    Control control;
    REQUIRE(control.until([&] { return shared->made == 1; }));
  }
  std::string path;
  SharedMemory shared;
  Child child;
  int pid() const { return child.pid(); }
};

// A file of 16 MiB that is all there.
struct BigFile {
  BigFile() : folder((std::filesystem::temp_directory_path() / "capsize-io-XXXXXX").string()) {
    REQUIRE(::mkdtemp(folder.data()) != nullptr);
    const std::string block(kBlock, 'x');
    std::ofstream out(path());
    for (std::size_t i = 0; i < kBlocks; ++i) out << block;
    out.close();
    const int file = ::open(path().c_str(), O_RDONLY | O_CLOEXEC);
    ::fsync(file);
    ::close(file);
  }
  ~BigFile() { std::filesystem::remove_all(folder); }
  std::string path() const { return folder + "/file"; }
  std::string folder;
};

void slow_down_and_restore(const std::string& path, int what) {
  Control control;
  Worker target(path);
  const std::string home = folder_of(kIo, target.pid());
  const std::size_t there = left_of_ours(kIo);
  const char* key = what == 1 ? "read" : "write";
  const char* measured = what == 1 ? "read_per_second" : "written_per_second";
  const FaultPlan plan = plan_fault(control, "process.io", target.pid(), {{key, "2MiB/s"}, {"path", path}});
  target.shared->word = what;
  REQUIRE(control.until([&] { return target.shared->beats > 50; }));
  const Json before = control.look(plan.observe);
  CHECK(before["groups"][0][measured].get<double>() > 4 * kMiB);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  control.apply(plan.steps[0].apply);
  CHECK(folder_of(kIo, target.pid()) != home);
  Effect effect;
  CHECK(control.until([&] {  // what was let through before the limit was there is over
    effect = find_fault("process.io")->effect(plan, before, control.look(plan.observe));
    return effect.bites;
  }));
  INFO(effect.because);
  CHECK(effect.measured["groups"][0][measured].get<double>() <= 2.3 * kMiB);
  CHECK(effect.measured["groups"][0]["devices"][disk_of(path).device][what == 1 ? "read" : "written"].get<double>() > 0);
  const UndoResult undone = control.undo(plan.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::undone);
  CHECK(folder_of(kIo, target.pid()) == home);
  CHECK(left_of_ours(kIo) == there);
  CHECK(control.until([&] { return control.look(plan.observe)["groups"][0][measured].get<double>() > 4 * kMiB; }));
}

void limit_its_own_cgroup(const std::string& path) {
  Control control;
  Worker target(path);
  const TestCgroup own(kIo);
  own.take(target.pid());
  const std::string device = disk_of(path).device;
  const std::string file = own.version == 1 ? "blkio.throttle.read_bps_device" : "io.max";
  own.folder().write(file, device + (own.version == 1 ? " 9000000" : " rbps=9000000"));
  const std::string was = *own.folder().read(file);
  const FaultPlan plan = plan_fault(control, "process.io", target.pid(), {{"read", "1MiB/s"}, {"path", path}});
  control.apply(plan.steps[0].apply);
  CHECK(own.folder().read(file)->find("1048576") != std::string::npos);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(*own.folder().read(file) == was);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  control.apply(plan.steps[0].apply);
  own.folder().write(file, device + (own.version == 1 ? " 7000000" : " rbps=7000000"));  // an operator
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::refused);
  CHECK(own.folder().read(file)->find("7000000") != std::string::npos);
}

}  // namespace

TEST_CASE("a process reads and writes only so fast, and as fast as before after the undo", "[process.io]") {
  const BigFile file;
  if (!on_a_disk(file.path())) {
    WARN("skipped: the folder for temporary files is on no disk");
    return;
  }
  slow_down_and_restore(file.path(), 1);
  slow_down_and_restore(file.path(), 2);
}

TEST_CASE("the disk limits of a process that has a cgroup to itself are changed there, and restored unless someone changed them", "[process.io]") {
  const BigFile file;
  if (!on_a_disk(file.path())) {
    WARN("skipped: the folder for temporary files is on no disk");
    return;
  }
  limit_its_own_cgroup(file.path());
}

TEST_CASE("version 2: a process reads and writes only so fast, and as fast as before after the undo", "[netem][process.io]") {
  REQUIRE(find_place(kIo, ::getpid()).place->version == 2);
  REQUIRE(std::system("modprobe brd rd_nr=1 rd_size=32768") == 0);
  slow_down_and_restore("/dev/ram0", 1);
  slow_down_and_restore("/dev/ram0", 2);
}

TEST_CASE("version 2: the disk limits of a process that has a cgroup to itself are changed there, and restored unless someone changed them", "[netem][process.io]") {
  REQUIRE(std::system("modprobe brd rd_nr=1 rd_size=32768") == 0);
  limit_its_own_cgroup("/dev/ram0");
}
