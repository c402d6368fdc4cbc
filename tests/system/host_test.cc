// "No fault is ever left behind", with real processes: whoever is killed, frozen or cut off, what was injected is gone again.
#include "tests/system/host_bench.h"

using namespace capsize;

TEST_CASE("a run that ends well leaves no file, no journal and no process", "[undo]") {
  HostBench bench;
  bench.start();
  bench.inject(3);
  CHECK(bench.get(bench.host->inspect(Op{"file.read", {{"path", (bench.files() / "s1").string()}}})) == "s1");
  CHECK(said(bench.get(bench.host->undo_all())) == Words{"s2 undone", "s1 undone", "s0 undone"});
  CHECK(bench.clean());
  bench.get(bench.host->close());
  CHECK(std::filesystem::is_empty(std::filesystem::path(bench.state()) / "undo"));
  bench.all_over();
  CHECK(bench.notices.empty());
}

TEST_CASE("the guard has its three descriptors and nothing else of anybody's", "[undo]") {
  HostBench bench;
  bench.start();
  bench.inject(1);
  // What it opens for a moment at its start (its own /proc files) is waited out.
  std::string foreign;
  const auto only_its_own = [&] {
    foreign.clear();
    for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(bench.guard) + "/fd")) {
      const int fd = std::stoi(entry.path().filename());
      std::error_code closed;
      const std::string target = std::filesystem::read_symlink(entry.path(), closed);
      const bool expected = closed || (fd <= 2 ? target == "/dev/null" : fd == 3 ? target.starts_with("socket:") : fd == 4 ? target == bench.state() + "/undo" : fd == 5 || target.find("signalfd") != std::string::npos);
      if (!expected) foreign += std::to_string(fd) + " " + target + "; ";
    }
    return foreign.empty();
  };
  CHECK(bench.eventually(5s, only_its_own));
  INFO(foreign);
  CHECK(getsid(bench.guard) == bench.guard);
  CHECK(getsid(bench.agent) == bench.agent);
  CHECK(getsid(bench.agent) != getsid(0));
}

TEST_CASE("an agent killed: its guard undoes, and a new agent tells what became of it", "[undo]") {
  HostBench bench;
  bench.start();
  bench.inject(3);
  kill(bench.agent, SIGKILL);
  const auto reports = bench.get(bench.host->undo_all());
  CHECK(said(reports) == Words{"s2 undone", "s1 undone", "s0 undone"});
  CHECK(noticed(bench, "agent_lost"));
  CHECK(bench.clean());
  bench.all_over();
  CHECK(std::filesystem::is_empty(std::filesystem::path(bench.state()) / "undo"));
}

TEST_CASE("a guard killed: the agent undoes at once, says so, and injects nothing more", "[undo]") {
  HostBench bench;
  bench.start();
  bench.inject(2);
  kill(bench.guard, SIGKILL);
  CHECK(bench.time_to(2s, [&] { return bench.clean() && noticed(bench, "guard_lost"); }) < 2s);
  CHECK_THROWS_WITH(bench.get(bench.host->apply("more", bench.file_step("more"), 1min)), Catch::Contains("was not injected"));
  CHECK(bench.get(bench.host->undo_all()).empty());
  bench.get(bench.host->close());
  bench.all_over();
}

TEST_CASE("agent and guard killed: the next run is refused with the command that undoes it, and that command does", "[undo]") {
  HostBench bench;
  bench.start();
  bench.inject(2);
  kill(bench.guard, SIGSTOP);  // so that neither acts on the other's death
  kill(bench.agent, SIGKILL);
  kill(bench.guard, SIGKILL);
  bench.host.reset();
  bench.all_over();
  CHECK(bench.count_files() == 2);
  bench.agent = bench.guard = -1;
  try {
    bench.start("r2");
    FAIL("a run began over what another left");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::residue);
    CHECK(error.remedy() == "run: capsize revert r1");
  }
  Json request = {{"do", "status"}};
  const Json status = bench.get(ask_agent(bench.clock, bench.command(), request, 15s, 15s));
  REQUIRE(status.size() == 1);
  CHECK(status[0]["run"] == "r1");
  CHECK(status[0]["holder"] == "nobody");
  CHECK(status[0]["outstanding"] == true);
  const Json reports = bench.revert();
  REQUIRE(reports.size() == 2);
  CHECK(reports[0]["result"]["state"] == "undone");
  CHECK(bench.clean());
  bench.start("r2");
}

TEST_CASE("a runner killed: its agent undoes", "[undo]") {
  HostBench bench;
  bench.start_runner(3);
  kill(bench.runner, SIGKILL);
  CHECK(bench.time_to(2s, [&] { return bench.clean(); }) < 2s);
  bench.all_over();
}

TEST_CASE("runner and agent killed: the guard undoes", "[undo]") {
  HostBench bench;
  bench.start_runner(3);
  kill(bench.runner, SIGKILL);
  kill(bench.agent, SIGKILL);
  CHECK(bench.time_to(2s, [&] { return bench.clean(); }) < 2s);
  bench.all_over();
}

TEST_CASE("all three killed: a revert undoes", "[undo]") {
  HostBench bench;
  bench.start_runner(3);
  kill(bench.guard, SIGSTOP);
  kill(bench.agent, SIGSTOP);
  for (const int pid : {bench.runner, bench.agent, bench.guard}) kill(pid, SIGKILL);
  bench.all_over();
  CHECK(bench.count_files() == 3);
  CHECK(bench.revert().size() == 3);
  CHECK(bench.clean());
}

TEST_CASE("an agent frozen: its guard ends it and undoes within its lease", "[undo][slow]") {
  HostBench bench;
  bench.start();
  bench.inject(2);
  kill(bench.agent, SIGSTOP);
  const Duration took = bench.time_to(8s, [&] { return bench.clean(); });
  CHECK(took > 4s);
  CHECK(took < 8s);
  bench.all_over();
}

TEST_CASE("a guard frozen is as good as dead", "[undo][slow]") {
  HostBench bench;
  bench.start();
  bench.inject(2);
  kill(bench.guard, SIGSTOP);
  CHECK(bench.time_to(9s, [&] { return bench.clean() && noticed(bench, "guard_lost"); }) > 4s);
  CHECK(bench.eventually(2s, [&] { return over(bench.guard); }));
  bench.get(bench.host->close());
}

TEST_CASE("a runner that is silent for the lease is as good as dead", "[undo]") {
  HostBench bench;
  bench.start_runner(2, 1000);
  kill(bench.runner, SIGSTOP);
  const Duration took = bench.time_to(4s, [&] { return bench.clean(); });
  CHECK(took > 500ms);
  CHECK(bench.eventually(2s, [&] { return over(bench.agent) && over(bench.guard); }));
}

TEST_CASE("a runner that only thinks keeps its lease by pings", "[undo]") {
  HostBench bench;
  bench.start("r1", 500ms);
  bench.inject(1);
  CHECK(!bench.eventually(2s, [&] { return bench.count_files() == 0; }));
  CHECK(bench.get(bench.host->undo_all()).size() == 1);
}

TEST_CASE("the agent ignores Ctrl-C and a lost terminal, and undoes on SIGTERM", "[undo]") {
  HostBench bench;
  bench.start();
  bench.inject(2);
  for (const int number : {SIGINT, SIGHUP, SIGQUIT, SIGPIPE}) kill(bench.agent, number);
  CHECK(bench.get(bench.host->inspect(Op{"file.read", {{"path", (bench.files() / "s0").string()}}})) == "s0");
  kill(bench.agent, SIGTERM);
  CHECK(bench.time_to(2s, [&] { return bench.clean(); }) < 2s);
  bench.all_over();
  CHECK(noticed(bench, "lease_undo"));
  CHECK(said(bench.get(bench.host->undo_all())) == Words{"s1 undone", "s0 undone"});
}

TEST_CASE("a guard told to end makes the agent undo, and stays until that is done", "[undo]") {
  HostBench bench;
  bench.start();
  bench.inject(2);
  for (const int number : {SIGINT, SIGHUP, SIGTERM}) kill(bench.guard, number);
  CHECK(bench.time_to(2s, [&] { return bench.clean() && noticed(bench, "guard_lost"); }) < 2s);
  CHECK(!over(bench.guard));
  bench.get(bench.host->close());
  bench.all_over();
}

TEST_CASE("what the kernel holds for the agent goes with it", "[undo]") {
  HostBench bench;
  bench.start();
  const std::string name = "@capsize-test-" + std::to_string(getpid());
  Step step;
  step.apply = Op{"socket.hold", {{"name", name}}};
  step.undo = Op{"socket.sweep", {{"name", name}}};
  bench.get(bench.host->apply("held", step, 10min));
  bench.note_guard();
  SECTION("in an undo") { CHECK(said(bench.get(bench.host->undo_all())) == Words{"held undone"}); }
  SECTION("with a killed agent") {
    kill(bench.agent, SIGKILL);
    CHECK(said(bench.get(bench.host->undo_all())) == Words{"held undone"});
  }
}

TEST_CASE("what somebody changed meanwhile stays, is reported, and outlives the run in the journal", "[undo]") {
  HostBench bench;
  bench.start();
  bench.inject(2);
  write_file(bench.files() / "s0", "an operator's");
  SECTION("by the agent") {
    CHECK(said(bench.get(bench.host->undo_all())) == Words{"s1 undone", "s0 refused"});
    bench.get(bench.host->close());
  }
  SECTION("by the guard") {
    kill(bench.agent, SIGKILL);
    CHECK(said(bench.get(bench.host->undo_all())) == Words{"s1 undone", "s0 refused"});
  }
  CHECK(bench.eventually(5s, [&] { return over(bench.agent) && over(bench.guard); }));
  CHECK(file_text(bench.files() / "s0") == "an operator's");
  CHECK(bench.owed());
  bench.get(accept_run(StateDir::open(bench.state()), "r1", "ann", bench.clock));
  CHECK(!bench.owed());
}
