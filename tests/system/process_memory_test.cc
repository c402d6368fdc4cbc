// process.memory on real processes. The same facts with version 1 here, and with version 2 under Debian's kernel ([netem]: vm_test.cc).
#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>

#include "tests/system/cgroup_bench.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

constexpr Controller kMemory = Controller::memory;
constexpr std::size_t kMiB = 1048576;

// Takes as many mebibytes as it is told to (`made`), and says how many it has (`ran`).
int eat(Shared& shared) {
  shared.word = 1;
  for (;;) {
    while (shared.ran < shared.made) {
      void* page = ::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      std::memset(page, 7, kMiB);
      shared.ran.fetch_add(1);
    }
    ::usleep(1000);
  }
}

struct Eater {
  Eater() : child([this] { return eat(*shared); }) {
    Control control;
    REQUIRE(control.until([&] { return shared->word == 1; }));
  }
  bool has(Control& control, std::uint64_t mebibytes) {
    shared->made = mebibytes;
    return control.until([&] { return shared->ran >= mebibytes; });
  }
  SharedMemory shared;
  Child child;
  int pid() const { return child.pid(); }
};

Effect effect_of(Control& control, const FaultPlan& plan, const Json& before) { return find_fault("process.memory")->effect(plan, before, control.look(plan.observe)); }

void kill_and_clean_up() {
  Control control;
  Eater target;
  REQUIRE(target.has(control, 8));
  const FaultPlan plan = plan_fault(control, "process.memory", target.pid(), {{"room", "16MiB"}});
  REQUIRE(limit_step_from_json(plan.steps[0].apply.args).move);
  const Json before = control.look(plan.observe);
  control.apply(plan.steps[0].apply);
  REQUIRE(target.has(control, 16));
  CHECK_FALSE(effect_of(control, plan, before).bites);  // there is room yet
  target.shared->made = 64;
  REQUIRE(control.until([&] { return has_ended(ProcFs().threads(target.pid())); }));
  target.child.kill();  // only to reap it
  CHECK(target.shared->ran < 8 + 16 + 2);
  const Effect effect = effect_of(control, plan, before);
  INFO(effect.because);
  CHECK(effect.bites);
  CHECK(effect.because.find("the kernel killed 1 processes") == 0);
  const UndoResult undone = control.undo(plan.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::undone);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
}

void let_grow_again() {
  Control control;
  Eater target;
  const std::string home = folder_of(kMemory, target.pid());
  const FaultPlan plan = plan_fault(control, "process.memory", target.pid(), {{"room", "32MiB"}});
  control.apply(plan.steps[0].apply);
  REQUIRE(target.has(control, 16));
  CHECK(folder_of(kMemory, target.pid()) != home);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(folder_of(kMemory, target.pid()) == home);
  CHECK(target.has(control, 64));
}

void limit_its_own_cgroup() {
  Control control;
  Eater target;
  const TestCgroup own(kMemory);
  own.take(target.pid());
  REQUIRE(target.has(control, 8));
  const std::string file = own.version == 1 ? "memory.limit_in_bytes" : "memory.max";
  const std::string was = *own.folder().read(file);
  const FaultPlan plan = plan_fault(control, "process.memory", target.pid(), {{"room", "8MiB"}});
  REQUIRE_FALSE(limit_step_from_json(plan.steps[0].apply.args).move);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  control.apply(plan.steps[0].apply);
  CHECK(*own.folder().read(file) == plan.intended["limit_bytes"][0].dump());
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(*own.folder().read(file) == was);
  CHECK(target.has(control, 32));

  control.apply(plan_fault(control, "process.memory", target.pid(), {{"room", "8MiB"}}).steps[0].apply);
  own.folder().write(file, std::to_string(200 * kMiB));  // an operator
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::refused);
  CHECK(*own.folder().read(file) == std::to_string(200 * kMiB));
}

// Reads a file of 48 MiB, again and again.
struct Reader {
  Reader() : folder((std::filesystem::temp_directory_path() / "capsize-memory-XXXXXX").string()) {
    REQUIRE(::mkdtemp(folder.data()) != nullptr);
    const std::string mebibyte(kMiB, 'x');
    std::ofstream out(folder + "/file");
    for (int i = 0; i < 48; ++i) out << mebibyte;
    out.close();
    const int file = ::open((folder + "/file").c_str(), O_RDONLY | O_CLOEXEC);
    ::fsync(file);
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);  // charged to whoever reads it next
    ::close(file);
  }
  ~Reader() { std::filesystem::remove_all(folder); }
  int read() {
    static char buffer[65536];
    shared->word = 1;
    while (shared->word != 2) ::usleep(1000);
    for (;;) {
      const int file = ::open((folder + "/file").c_str(), O_RDONLY);
      while (::read(file, buffer, sizeof buffer) > 0) continue;
      ::close(file);
      shared->beats.fetch_add(1);
    }
  }
  std::string folder;
  SharedMemory shared;
};

}  // namespace

TEST_CASE("a process that takes more memory than it may is killed, and the undo leaves nothing of ours behind", "[process.memory]") { kill_and_clean_up(); }
TEST_CASE("a process whose memory was limited goes back, and may grow again", "[process.memory]") { let_grow_again(); }
TEST_CASE("the memory of a process that has a cgroup to itself is limited there, and restored unless someone changed it", "[process.memory]") { limit_its_own_cgroup(); }

TEST_CASE("a process has to give back the file cache that is beyond its limit, and lives", "[process.memory]") {
  Control control;
  Reader reader;
  if (!on_a_disk(reader.folder)) {
    WARN("skipped: the folder for temporary files is on no disk");
    return;
  }
  Child target([&] { return reader.read(); });
  REQUIRE(control.until([&] { return reader.shared->word == 1; }));
  const TestCgroup own(kMemory);
  own.take(target.pid());
  reader.shared->word = 2;
  REQUIRE(control.until([&] { return reader.shared->beats > 1; }));
  const FaultPlan plan = plan_fault(control, "process.memory", target.pid(), {{"limit", "24MiB"}});
  const Json before = control.look(plan.observe);
  REQUIRE(before["groups"][0]["memory"]["bytes"].get<std::uint64_t>() > 40 * kMiB);
  control.apply(plan.steps[0].apply);
  REQUIRE(control.until([&] { return effect_of(control, plan, before).measured["groups"][0]["met_limit"].get<int>() > 0; }));
  const Effect effect = effect_of(control, plan, before);
  INFO(effect.because);
  CHECK(effect.bites);
  CHECK(effect.measured["groups"][0]["bytes"].get<std::uint64_t>() <= 24 * kMiB);
  CHECK(effect.measured["groups"][0]["killed"] == 0);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(control.until([&] { return memory_of(own.folder(), own.version).bytes > 40 * kMiB; }));
  CHECK(runs(target.pid()));
}

TEST_CASE("version 2: a process that takes more memory than it may is killed, and the undo leaves nothing of ours behind", "[netem][process.memory]") {
  REQUIRE(find_place(kMemory, ::getpid()).place->version == 2);
  kill_and_clean_up();
}
TEST_CASE("version 2: a process whose memory was limited goes back, and may grow again", "[netem][process.memory]") { let_grow_again(); }
TEST_CASE("version 2: the memory of a process that has a cgroup to itself is limited there, and restored unless someone changed it", "[netem][process.memory]") { limit_its_own_cgroup(); }
