// The corners of the promise: late commands, broken links, full disks, and a kill at any moment.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <fstream>
#include <iostream>
#include <random>

#include "injector/base/rng.h"
#include "tests/system/host_bench.h"

using namespace capsize;

namespace {

UniqueFd listen_on(const std::string& path) {
  UniqueFd listening(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(listen(listening.get(), 8) == 0);
  return listening;
}

}  // namespace

// The late-write race: the agent dies after it has sent a command and before the server has carried it out.
TEST_CASE("a command that a dead agent left behind is carried out before the guard looks", "[undo]") {
  HostBench bench;
  bench.start();
  const std::string server = bench.scratch / "server";
  const UniqueFd listening = listen_on(server);
  const std::string path = (bench.files() / "late").string();
  Step step;
  step.apply = Op{"late.set", {{"path", path}, {"server", server}}};
  step.undo = Op{"file.remove", {{"path", path}, {"text", "set"}, {"log", (bench.scratch / "log").string()}}};
  bench.get(bench.host->apply("late", step, 10min));
  bench.note_guard();
  UniqueFd session(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(session);
  kill(bench.agent, SIGKILL);
  CHECK(bench.eventually(2s, [&] { return over(bench.agent); }));
  CHECK(!bench.eventually(500ms, [&] { return std::filesystem::exists(bench.scratch / "log"); }));  // the guard waits
  char command[4096];
  CHECK(read(session.get(), command, sizeof command) > 0);
  write_file(path, "set");
  session.reset();
  CHECK(bench.time_to(2s, [&] { return bench.clean(); }) < 2s);
  CHECK(said(bench.get(bench.host->undo_all())) == Words{"late undone"});
}

TEST_CASE("a server that stalls for longer than the guard drains is undone again when it wakes", "[undo][slow]") {
  HostBench bench;
  bench.start();
  const std::string server = bench.scratch / "server";
  const UniqueFd listening = listen_on(server);
  const std::string path = (bench.files() / "late").string();
  Step step;
  step.apply = Op{"late.set", {{"path", path}, {"server", server}}};
  step.undo = Op{"file.remove", {{"path", path}, {"text", "set"}, {"log", (bench.scratch / "log").string()}}};
  bench.get(bench.host->apply("late", step, 10min));
  bench.note_guard();
  UniqueFd session(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  kill(bench.agent, SIGKILL);
  CHECK(bench.eventually(8s, [&] { return std::filesystem::exists(bench.scratch / "log"); }));  // it did what it could
  CHECK(!over(bench.guard));
  write_file(path, "set");
  session.reset();
  CHECK(bench.time_to(2s, [&] { return bench.count_files() == 0; }) < 2s);
  CHECK(bench.eventually(2s, [&] { return over(bench.guard); }));
  CHECK(!bench.owed());
}

TEST_CASE("an agent whose output nobody reads any more still undoes", "[undo]") {
  signal(SIGPIPE, SIG_IGN);  // it hangs up on a line without end, which is an error to look at here
  HostBench bench;
  Pipe in = make_pipe();
  Pipe out = make_pipe();
  SpawnRequest request;
  request.command = bench.command();
  request.descriptors = {{0, in.read.get()}, {1, out.write.get()}};
  const Child child = spawn(request);
  bench.agent = child.pid;
  in.read.reset();
  out.write.reset();
  const Json begin = {{"id", 1}, {"do", "begin"}, {"run", "r1"}, {"lease_ms", 15000}};
  Json apply = {{"id", 2}, {"do", "apply"}, {"step", "s0"}, {"lifetime_ms", 60000}};
  apply["plan"] = to_json(bench.file_step("s0"));
  const std::string lines = begin.dump() + "\n" + apply.dump() + "\n";
  // Requests may be answered in any order, so the second waits for the first.
  REQUIRE(write(in.write.get(), lines.data(), begin.dump().size() + 1) > 0);
  REQUIRE(bench.eventually(5s, [&] { return std::filesystem::exists(bench.state() + "/undo"); }));
  REQUIRE(bench.eventually(5s, [&] {
    if (write(in.write.get(), lines.data() + begin.dump().size() + 1, apply.dump().size() + 1) < 0) return false;
    return bench.eventually(1s, [&] { return bench.count_files() == 1; });
  }));
  bench.note_guard();
  out.read.reset();
  SECTION("at the end of its input") { in.write.reset(); }
  SECTION("after garbage") { REQUIRE(write(in.write.get(), "yes\n", 4) == 4); }
  SECTION("after a line without end") {
    const std::string endless(std::size_t{2} << 20, 'y');
    fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
    bench.eventually(2s, [&] { return write(in.write.get(), endless.data(), endless.size()) < 0 && errno == EPIPE; });
    in.write.reset();
  }
  CHECK(bench.time_to(2s, [&] { return bench.clean(); }) < 2s);
  bench.all_over();
}

TEST_CASE("noise before the hello is passed over, silence, chatter, another version and a refusal are told apart", "[agent]") {
  HostBench bench;
  const auto begin = [&](const std::string& what) {
    RemoteHostOptions options;
    options.run = "r1";
    options.command = bench.command(what);
    options.hello_limit = what == "silent" ? 300ms : 15s;
    bench.host = bench.get(RemoteHost::start(bench.clock, options));
  };
  begin("noisy");
  CHECK(bench.host->hello()["version"] == CAPSIZE_VERSION);
  bench.get(bench.host->close());
  CHECK_THROWS_WITH(begin("silent"), Catch::Contains("said no hello within 300ms"));
  CHECK_THROWS_WITH(begin("chatter"), Catch::Contains("no hello"));
  CHECK_THROWS_WITH(begin("other_version"), Catch::Contains("is version \"0.0.1\"") && Catch::Contains("install the same version"));
  CHECK_THROWS_WITH(begin("refused"), Catch::Contains("exit code 255") && Catch::Contains("Permission denied (publickey)."));
  bench.host.reset();
  RemoteHostOptions missing;
  missing.command = {"no-such-command-of-capsize"};
  missing.run = "r1";
  CHECK_THROWS_WITH(bench.get(RemoteHost::start(bench.clock, missing)), Catch::Contains("cannot be started"));
}

TEST_CASE("undoing begins within 100 ms of the end of the runner and of SIGTERM", "[undo]") {
  std::vector<Duration> took;
  for (int i = 0; i < 10; ++i) {
    HostBench bench;
    bench.start();
    bench.inject(1);
    const TimePoint begun = bench.clock.now();
    if (i % 2 == 0) {
      kill(bench.agent, SIGTERM);
    } else {
      bench.host.reset();  // closes the agent's stdin
    }
    REQUIRE(bench.eventually(2s, [&] { return bench.clean(); }));
    const auto at = std::stoll(file_text(bench.scratch / "log"));
    took.push_back(TimePoint(Duration(at)) - begun);
  }
  std::sort(took.begin(), took.end());
  std::cout << "undo began after (ms): median " << seconds(took[5]) * 1e3 << ", longest " << seconds(took.back()) * 1e3 << "\n";
  CHECK(took[5] < 100ms);
}

TEST_CASE("an agent killed at any moment of injecting leaves nothing", "[undo]") {
  const std::uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  Rng rng(seed);
  for (int round = 0; round < 30; ++round) {
    HostBench bench;
    bench.start();
    bench.get(bench.host->apply("first", bench.file_step("first"), 10min));
    bench.note_guard();
    std::vector<std::string> ids;
    for (int i = 0; i < 20; ++i) {
      asio::co_spawn(bench.io, bench.host->apply("s" + std::to_string(i), bench.file_step("s" + std::to_string(i)), 10min), [](std::exception_ptr, Json) {});
    }
    const Duration wait = std::chrono::microseconds(rng.below(40'000));
    bench.eventually(wait, [] { return false; });
    kill(bench.agent, SIGKILL);
    const auto reports = bench.get(bench.host->undo_all());
    INFO("round " << round << " seed " << seed);
    CHECK(!any_left(reports));
    CHECK(bench.clean());
    bench.all_over();
  }
}

TEST_CASE("on a full disk nothing is injected, and what was injected is still undone and recorded", "[undo][root]") {
  const ScratchDir scratch;
  const pid_t child = fork();
  if (child == 0) {  // a mount namespace of its own; answers by exit code
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", scratch.path().c_str(), "tmpfs", 0, "size=512k,mode=0700") != 0) {
      _exit(77);
    }
    int verdict = 0;
    try {
      const StateDir state = StateDir::open(scratch.path());
      JournalRun run;
      run.run = "r1";
      Journal journal = Journal::create(state, run);
      JournalStep step;
      step.undo.type = "x";
      for (int i = 0; i < 8; ++i) {
        step.id = "s" + std::to_string(i);
        journal.add_step(step);
      }
      std::ofstream fill(scratch / "fill");
      fill << std::string(std::size_t{1} << 20, 'x') << std::flush;
      bool refused = false;
      for (int i = 8; i < 200 && !refused; ++i) {
        step.id = "s" + std::to_string(i);
        try {
          journal.add_step(step);
        } catch (const Error&) {
          refused = true;
        }
      }
      if (!refused) verdict = 1;
      UndoResult undone;
      undone.state = UndoState::undone;
      undone.because = std::string(2000, 'b');
      const auto steps = journal.contents().steps;
      for (const JournalStep& each : steps) {
        if (!journal.record_result(each.id, undone, "now")) verdict = 2;
      }
      const auto contents = read_journal(state, "r1");
      if (contents->damaged() || contents->outstanding() || contents->steps.size() != steps.size()) verdict = 3;
      journal.remove();
    } catch (const std::exception&) {
      verdict = 4;
    }
    _exit(verdict);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  if (WEXITSTATUS(status) == 77) {
    WARN("needs a mount namespace: not shown here");
    return;
  }
  CHECK(WEXITSTATUS(status) == 0);
}
