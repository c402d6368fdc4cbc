// The link to another machine, and what becomes of a fault there when it is cut, killed, or never was. OpenSSH on both ends.
#include <iostream>

#include "tests/system/far_machine.h"
#include "tests/system/host_bench.h"

using namespace capsize;

namespace {

constexpr Duration kLease = 5s;

// An agent with the ops of host_helper_main.cc, behind ssh: what it writes and its state are seen from here, in the bench's folder.
struct FarBench : HostBench {
  std::vector<std::string> far_command(const std::string& what = "agent") const { return words_of(in_network(machine.wire.near.path, machine.via()), command(what)); }
  void start_far() {
    RemoteHostOptions options;
    options.run = "r1";
    options.command = far_command();
    options.lease = kLease;
    host = get(RemoteHost::start(clock, options));
    host->on_notice = [this](Json notice) { notices.push_back(std::move(notice)); };
  }
  void inject_far(int count) {
    for (int i = 0; i < count; ++i) get(host->apply("s" + std::to_string(i), file_step("s" + std::to_string(i)), 10min));
    REQUIRE(count_files() == count);
  }
  // Agents and guards, on whatever side: they alone have the state folder in their command lines, beside the ssh that leads there.
  std::vector<pid_t> workers() const {
    std::vector<pid_t> out;
    for (const pid_t pid : processes_naming(state())) {
      std::error_code gone;
      if (std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", gone).filename() == std::filesystem::path(kHelper).filename()) out.push_back(pid);
    }
    return out;
  }
  pid_t ssh() const {
    for (const pid_t pid : processes_naming(machine.folder().string() + "/ssh_config")) {
      if (read_text("/proc/" + std::to_string(pid) + "/comm") == "ssh\n") return pid;
    }
    return -1;
  }

  SshMachine machine;
};

}  // namespace

TEST_CASE("an agent behind ssh injects and undoes there, in a pid namespace and a network of its own", "[remote][root]") {
  if (::geteuid() != 0) return;
  FarBench bench;
  bench.start_far();
  bench.inject_far(2);
  CHECK(bench.workers().size() == 2);  // the agent and its guard
  CHECK(bench.host->hello()["pid"].get<int>() < 1000);
  CHECK(said(bench.get(bench.host->undo_all())) == Words{"s1 undone", "s0 undone"});
  bench.get(bench.host->close());
  CHECK(bench.clean());
  CHECK(bench.eventually(10s, [&] { return bench.workers().empty(); }));
}

TEST_CASE("all packets of the ssh link lost: the far side undoes within its lease and 2 s, and says so when it is back", "[remote][root]") {
  if (::geteuid() != 0) return;
  FarBench bench;
  bench.start_far();
  bench.inject_far(3);
  const TimePoint cut = bench.clock.now();
  bench.machine.cut();
  CHECK(bench.eventually(kLease + 30s, [&] { return bench.clean(); }));
  const Duration took = bench.clock.now() - cut;
  std::cout << "all packets of the link dropped: undone after " << seconds(took) << " s, with a lease of " << seconds(kLease) << " s\n";
  CHECK(took > kLease / 2);  // not for another reason
  CHECK(took < kLease + 2s);
  CHECK(bench.eventually(20s, [&] { return noticed(bench, "agent_lost"); }));
  bench.machine.mend();
  CHECK(said(bench.get(bench.host->undo_all())) == Words{"s2 undone", "s1 undone", "s0 undone"});
  CHECK(bench.eventually(10s, [&] { return bench.workers().empty(); }));
}

TEST_CASE("a link that is mended before the lease is over costs nothing", "[remote][root]") {
  if (::geteuid() != 0) return;
  FarBench bench;
  bench.start_far();
  bench.inject_far(1);
  bench.machine.cut();
  CHECK(!bench.eventually(500ms, [&] { return bench.clean(); }));
  bench.machine.mend();
  CHECK(!bench.eventually(2 * kLease, [&] { return bench.clean() || noticed(bench, "agent_lost"); }));
  CHECK(said(bench.get(bench.host->undo_all())) == Words{"s0 undone"});
}

TEST_CASE("ssh killed on the near side, or its session on the far side: everything is undone at once", "[remote][root]") {
  if (::geteuid() != 0) return;
  FarBench bench;
  bench.start_far();
  bench.inject_far(3);
  const pid_t ssh = bench.ssh();
  REQUIRE(ssh > 0);
  SECTION("near") { REQUIRE(kill(ssh, SIGKILL) == 0); }
  SECTION("far") {
    const auto sessions = bench.machine.sessions();
    REQUIRE(!sessions.empty());
    for (const pid_t session : sessions) kill(session, SIGKILL);
  }
  const Duration took = bench.time_to(30s, [&] { return bench.clean(); });
  std::cout << "ssh or its session killed: undone after " << seconds(took) * 1e3 << " ms\n";
  CHECK(took < kLease / 2);
  CHECK(bench.eventually(10s, [&] { return noticed(bench, "agent_lost"); }));
  CHECK(said(bench.get(bench.host->undo_all())) == Words{"s2 undone", "s1 undone", "s0 undone"});
  CHECK(bench.eventually(10s, [&] { return bench.workers().empty(); }));
}
