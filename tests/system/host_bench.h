// An agent, a guard and, if wanted, a runner as processes of their own, with the ops of host_helper_main.cc; and ways to wait for what becomes of them.
#pragma once
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>

#include "injector/base/error.h"
#include "injector/base/settle.h"
#include "injector/base/spawn.h"
#include "injector/host/remote_host.h"
#include "injector/undo/status.h"
#include "tests/injector/scratch_dir.h"

namespace capsize {

using namespace std::chrono_literals;

inline const std::string kHelper = CAPSIZE_HOST_HELPER;

// A process is over when it is gone or a zombie; orphans come to this process, which reaps them.
inline bool over(int pid) {
  waitpid(pid, nullptr, WNOHANG);
  if (kill(pid, 0) != 0) return true;
  const std::string stat = file_text("/proc/" + std::to_string(pid) + "/stat");
  return stat.empty() || stat.find(") Z ") != std::string::npos;
}

struct HostBench {
  HostBench() {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    std::filesystem::create_directory(files());
  }
  ~HostBench() {
    host.reset();
    for (const int pid : {agent, guard, runner}) {
      if (pid > 0 && !over(pid)) kill(pid, SIGKILL);
      if (pid > 0) eventually(5s, [&] { return over(pid); });
    }
  }

  std::filesystem::path files() const { return scratch / "files"; }
  std::string state() const { return scratch / "state"; }
  std::vector<std::string> command(const std::string& what = "agent") const { return {kHelper, what, "--state", state()}; }

  void start(const std::string& run = "r1", Duration lease = 15s) {
    RemoteHostOptions options;
    options.run = run;
    options.command = command();
    options.lease = lease;
    host = get(RemoteHost::start(clock, options));
    host->on_notice = [this](Json notice) { notices.push_back(std::move(notice)); };
    agent = host->hello().at("pid").get<int>();
  }
  Step file_step(const std::string& id) const {
    Step step;
    step.apply = Op{"file.write", {{"path", (files() / id).string()}, {"text", id}}};
    step.undo = Op{"file.remove", {{"path", (files() / id).string()}, {"text", id}, {"log", (scratch / "log").string()}}};
    return step;
  }
  void inject(int count) {
    for (int i = 0; i < count; ++i) get(host->apply("s" + std::to_string(i), file_step("s" + std::to_string(i)), 10min));
    note_guard();
    REQUIRE(count_files() == count);
  }
  void note_guard(const std::string& run = "r1") {
    const auto contents = read_journal(StateDir::open(state()), run);
    REQUIRE(contents);
    REQUIRE(contents->run);
    guard = contents->run->guard.pid;
    REQUIRE(guard > 0);
  }
  int count_files() const {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(files())) count += entry.path().filename() != "log";
    return count;
  }
  bool owed() const {
    const auto there = StateDir::open_existing(state());
    if (!there) return false;
    for (const JournalStatus& journal : list_journals(*there, boot_id())) {
      if (journal.contents.outstanding()) return true;
    }
    return false;
  }
  bool clean() const { return count_files() == 0 && !owed(); }

  template <class T>
  T get(Task<T> work, Duration limit = 60s) {
    std::shared_ptr<Settled<T>> settled;
    asio::co_spawn(io, settle(std::move(work)), [&](std::exception_ptr, std::shared_ptr<Settled<T>> made) { settled = std::move(made); });
    REQUIRE(eventually(limit, [&] { return settled != nullptr; }));
    if (settled->error) std::rethrow_exception(settled->error);
    if constexpr (!std::is_void_v<T>) return std::move(*settled->value);
  }
  bool eventually(Duration limit, const std::function<bool()>& holds) {
    const TimePoint end = clock.now() + limit;
    while (!holds()) {
      if (clock.now() > end) return false;
      io.restart();
      io.run_one_for(2ms);
    }
    return true;
  }
  Duration time_to(Duration limit, const std::function<bool()>& holds) {
    const TimePoint begun = clock.now();
    CHECK(eventually(limit, holds));
    return clock.now() - begun;
  }
  // A runner in a process of its own.
  void start_runner(int count, int lease_ms = 15000) {
    Pipe out = make_pipe();
    SpawnRequest request;
    request.command = {kHelper, "run", state(), "r1", files().string(), std::to_string(count), std::to_string(lease_ms)};
    request.descriptors = {{1, out.write.get()}, {2, 2}};
    const Child child = spawn(request);
    runner = child.pid;
    out.write.reset();
    std::string said;
    char c = 0;
    while (read(out.read.get(), &c, 1) == 1 && c != '\n') said += c;
    REQUIRE(said.substr(0, 6) == "ready ");
    agent = std::stoi(said.substr(6));
    note_guard();
    REQUIRE(count_files() == count);
  }
  void all_over() {
    for (const int pid : {agent, guard, runner}) {
      if (pid > 0) CHECK(eventually(5s, [&] { return over(pid); }));
    }
  }
  Json revert(const std::string& run = "r1") {
    Json request = {{"do", "revert"}, {"run", run}};
    return get(ask_agent(clock, command(), request, 15s, 60s));
  }

  ScratchDir scratch;
  asio::io_context io;
  SystemClock clock;
  std::unique_ptr<RemoteHost> host;
  std::vector<Json> notices;
  int agent = -1;
  int guard = -1;
  int runner = -1;
};

inline std::vector<std::string> said(const std::vector<UndoReport>& reports) {
  std::vector<std::string> out;
  for (const UndoReport& report : reports) out.push_back(report.step + " " + std::string(to_string(report.result.state)));
  return out;
}
using Words = std::vector<std::string>;

inline bool noticed(const HostBench& bench, const std::string& what) {
  return std::any_of(bench.notices.begin(), bench.notices.end(), [&](const Json& notice) { return notice.value("what", "") == what; });
}

}  // namespace capsize
