// Runner, agent and guard killed together in the middle of a fault: what the kernel holds is over at once, the rest after `capsize revert`.
// CAPSIZE_TABLE=FILE appends which fault is which, and how long it took, as a table in Markdown.
#include <sys/resource.h>

#include <fstream>

#include "injector/burdens/bearer.h"
#include "tests/system/lab_fixture.h"
#include "tests/system/machine.h"
#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::process_test;
using TestProcess = capsize::process_test::Child;

namespace {

// A process that computes, allocates, reads, and has a limit of descriptors: there is something to take from it.
int work(Shared& shared) {
  shared.word = 1;
  for (;;) shared.beats.fetch_add(1, std::memory_order_relaxed);
}

struct Ground {
  SharedMemory shared;
  TestProcess target{[this] { return work(*shared); }};
  TestFolder folder;
  std::string state = (folder / "state").string();
  rlim_t descriptors = limit();

  rlim_t limit() const {
    rlimit out = {};
    ::prlimit(target.pid(), RLIMIT_NOFILE, nullptr, &out);
    return out.rlim_cur;
  }
  std::string proc(const char* file) const { return read_text("/proc/" + std::to_string(target.pid()) + "/" + file); }
};

bool traced(const Ground& ground) { return ground.proc("status").find("TracerPid:\t0\n") == std::string::npos; }
bool in_our_cgroup(const Ground& ground) { return ground.proc("cgroup").find("/capsize-") != std::string::npos; }
bool fewer_descriptors(const Ground& ground) { return ground.limit() != ground.descriptors; }
// The burdens of all faults of this test are told apart by what the journal says of them.
bool borne(const Ground& ground) {
  for (const Json& record : journal_records(ground.state)) {
    const Json args = record.value("undo", Json::object()).value("args", Json::object());
    if (args.contains("id") && find_bearer(args.at("id")).pid != 0) return true;
  }
  return false;
}

struct Row {
  const char* fault;
  std::vector<std::string> words;
  bool (*disturbed)(const Ground&);
  bool while_held;
};

std::vector<Row> rows() {
  const auto mib = std::uintmax_t{1} << 20;
  const auto room = std::filesystem::space(CAPSIZE_BINARY_DIR).available;
  return {
      {"process.pause", {}, traced, true},
      {"process.stutter", {"share=50%", "period=200ms"}, traced, true},
      {"process.syscall", {"calls=[\"sync\"]", "error=EIO"}, traced, true},
      {"process.cpu", {"share=50%"}, in_our_cgroup, false},
      {"process.memory", {"limit=64MiB"}, in_our_cgroup, false},
      {"process.io", {"read=4MiB/s", "write=4MiB/s"}, in_our_cgroup, false},
      {"process.fds", {}, fewer_descriptors, false},
      {"host.cpu", {"share=20%", "cores=1"}, borne, true},
      {"host.memory", {"size=16MiB"}, borne, true},
      {"host.disk", {std::string("path=") + CAPSIZE_BINARY_DIR, "leave=" + std::to_string(room / mib - 256) + "MiB"}, borne, true},
      {"host.io", {std::string("path=") + CAPSIZE_BINARY_DIR, "rate=1MiB/s"}, borne, true},
      {"host.clock", {"command=[\"/bin/sleep\",\"100\"]", "ahead=1h"}, borne, true},
  };
}

// Nobody may be left who cleans up: guard and agent stand still until all are dead, for each would see another's end and begin to undo.
void kill_all(const Spawned& runner, const Json& run) {
  const int agent = run.at("agent").at("pid");
  const int guard = run.at("guard").at("pid");
  REQUIRE(::kill(guard, SIGSTOP) == 0);
  REQUIRE(::kill(agent, SIGSTOP) == 0);
  runner.signal(SIGKILL);
  ::kill(agent, SIGKILL);
  ::kill(guard, SIGKILL);
}

}  // namespace

TEST_CASE("runner, agent and guard killed together: what the kernel holds is over at once, the rest after a revert", "[abandoned]") {
  for (const Row& row : rows()) {
    DYNAMIC_SECTION(row.fault) {
      Ground ground;
      REQUIRE(eventually([&] { return ground.shared->word == 1; }));
      std::vector<std::string> words = {capsize_program(), "--state", ground.state, "inject", row.fault, "--for", "60s"};
      if (std::string(row.fault).starts_with("process.")) words.push_back("pid=" + std::to_string(ground.target.pid()));
      words.insert(words.end(), row.words.begin(), row.words.end());
      CHECK_FALSE(row.disturbed(ground));
      Spawned run(words, ground.folder / "inject");
      const bool injected = eventually([&] { return run.out().find("injected for") != std::string::npos || run.ended(); }, kPatience);
      INFO(run.out() << run.err());
      REQUIRE(injected);
      REQUIRE(eventually([&] { return row.disturbed(ground); }, kPatience));

      const SystemClock clock;
      const TimePoint killed = clock.now();
      kill_all(run, journal_records(ground.state).at(0));
      const bool at_once = eventually([&] { return !row.disturbed(ground); }, row.while_held ? kPatience : std::chrono::seconds(2));
      const Duration took = clock.now() - killed;
      CHECK(at_once == row.while_held);
      run.wait();
      const Ran revert = run_capsize({"--state", ground.state, "revert", "--all"}, ground.folder.path());
      INFO(revert.out << revert.err);
      CHECK(revert.code == 0);
      CHECK_FALSE(row.disturbed(ground));
      CHECK(run_capsize({"--state", ground.state, "status"}, ground.folder.path()).code == 0);
      if (std::string(row.fault).starts_with("process.")) {
        const auto beats = ground.shared->beats.load();
        CHECK(eventually([&] { return ground.shared->beats > beats; }));
      }
      if (const char* file = std::getenv("CAPSIZE_TABLE")) {
        std::ofstream(file, std::ios::app) << "| " << row.fault << " | "
                                           << (row.while_held ? "over at once (" + std::to_string(took / std::chrono::microseconds(100) / 10) + " ms)" : "after `capsize revert`") << " |\n";
      }
    }
  }
}
