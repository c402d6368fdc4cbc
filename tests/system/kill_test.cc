// The first promise, by force: SIGKILL at random moments of the fault phase, of each process and of several at once. Whatever dies, the
// balancer and the processes are what they were.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "tests/system/machine.h"

using namespace capsize;

namespace {

// A fault of each kind, short, with a little load so that shares can be measured and an undo verified by traffic.
constexpr const char* kPlaybook = R"({
  "playbook": 1, "title": "killed in the middle",
  "variables": {"login_url": "", "session_url": "", "balancer_socket": "", "backend": "", "auth3_pid": "1"},
  "targets": {
    "balancer": {"type": "haproxy", "socket": "${balancer_socket}", "backend": "${backend}"},
    "auth3": {"type": "process", "pid": "${auth3_pid}"}
  },
  "probes": {"login": {"probe": "login.http", "url": "${login_url}", "session_url": "${session_url}", "rate": "80/s", "timeout": "1s"}},
  "timing": {"baseline": "1s", "recovery": "5s", "settle": "1s"},
  "steady_state": [{"measure": "login.success_ratio", "at_least": "1%"}],
  "faults": [
    {"fault": "balancer.skew", "target": "balancer", "server": "auth1", "share": "70%", "at": "0s", "for": "1s"},
    {"fault": "process.pause", "target": "auth3", "at": "100ms", "for": "2500ms"},
    {"fault": "balancer.drain", "target": "balancer", "servers": ["auth2"], "at": "1s", "for": "1600ms"}
  ]
})";

// A baseline that this noisy machine did not let be steady: nothing was injected, and the round is played again.
const std::string kNotSteady = "the baseline was not steady";

constexpr double kFaultPhase = 3.0;  // seconds: the phase and the beginning of the revert

struct Victims {
  bool runner = false;
  bool agent = false;
  bool guard = false;
};

int rounds() {
  const char* wanted = std::getenv("CAPSIZE_KILLS");
  return wanted ? std::max(1, std::atoi(wanted)) : 6;  // a slice; the whole campaign: CAPSIZE_KILLS=50 tests/run system -R killed
}

bool phase_began(const std::filesystem::path& out, const std::string& phase) { return read_text(out / "timeline.jsonl").find("\"phase\":\"" + phase + "\"") != std::string::npos; }

// Only a killer: everything it finds it finds by looking at the machine.
class Round {
 public:
  Round(const LabFixture& lab, const std::filesystem::path& folder, int number) : lab_(lab), state_(folder / "state"), out_(folder / ("run-" + std::to_string(number))), folder_(folder) {}

  // What went wrong; empty: nothing.
  std::string play(const Victims& victims, double moment, double& restored_after) {
    const std::string socket = lab_.variable("balancer_socket");
    const pid_t auth3 = static_cast<pid_t>(std::stol(lab_.variable("auth3_pid")));
    const std::string before = balancer_state(socket);
    Spawned run({capsize_program(), "--state", state_.string(), "run", "--variables", lab_.file().string(), "--out", out_.string(), (folder_ / "playbook.json").string()}, folder_ / "output");
    if (!eventually([&] { return phase_began(out_, "fault") || run.ended(); }, std::chrono::seconds(30)) || run.ended()) {
      return run.ended() && run.wait() == 3 ? kNotSteady : "the fault phase never began: " + run.err() + run.out();
    }
    const SystemClock clock;
    const TimePoint began = clock.now();
    eventually([&] { return seconds(clock.now() - began) >= moment; }, std::chrono::seconds(10));
    kill(victims, run);
    const TimePoint killed = clock.now();
    if (victims.runner && victims.agent && victims.guard) {
      run.wait();
      eventually([&] { return std::none_of(killed_.begin(), killed_.end(), [](pid_t pid) { return is_running(pid); }); }, std::chrono::seconds(10));
      const Ran revert = run_capsize({"--state", state_.string(), "revert", "--all"}, folder_);
      if (revert.code != 0) return "revert ended with " + std::to_string(revert.code) + ": " + revert.out + revert.err;
    }
    const auto as_before = [&] { return balancer_state(socket) == before && is_running(auth3); };
    if (!eventually(as_before, std::chrono::seconds(20))) return "left behind: " + balancer_state(socket) + " auth3 is " + process_state(auth3) + "; it was " + before;
    restored_after = seconds(clock.now() - killed);
    const auto clean = [&] { return run_capsize({"--state", state_.string(), "status"}, folder_).code == 0; };
    if (!eventually(clean, std::chrono::seconds(30))) return "status is not clean: " + run_capsize({"--state", state_.string(), "status"}, folder_).out;
    if (!eventually([&] { return run.ended(); }, std::chrono::seconds(60))) return "the runner does not end";
    // The late write of a dead process must not come after all.
    if (!as_before()) return "changed again after it was clean: " + balancer_state(socket);
    return "";
  }

 private:
  void kill(const Victims& victims, Spawned& run) {
    std::vector<pid_t> pids;
    const auto records = journal_records(state_);
    if (victims.runner) pids.push_back(run.pid());
    if (victims.agent) {
      for (const pid_t child : children_of(run.pid())) pids.push_back(child);
    }
    if (victims.guard && !records.empty()) pids.push_back(records.front().at("guard").value("pid", 0));
    for (const pid_t pid : pids) {
      if (pid > 1) ::kill(pid, SIGKILL);
    }
    killed_ = pids;
  }

  const LabFixture& lab_;
  std::filesystem::path state_;
  std::filesystem::path out_;
  std::filesystem::path folder_;
  std::vector<pid_t> killed_;
};

struct Tally {
  std::vector<std::string> problems;
  std::vector<double> restored_after;
};

Tally campaign(const Victims& victims, unsigned seed) {
  const LabFixture lab;
  const std::filesystem::path folder = lab.folder();
  write_text(folder / "playbook.json", kPlaybook);
  std::mt19937 random(seed);
  Tally tally;
  const std::size_t wanted = static_cast<std::size_t>(rounds());
  for (int i = 0; tally.restored_after.size() < wanted; ++i) {
    const double moment = std::uniform_real_distribution<double>(0, kFaultPhase)(random);
    double restored_after = 0;
    const std::string problem = Round(lab, folder, i).play(victims, moment, restored_after);
    if (problem == kNotSteady && i < 4 * rounds()) continue;
    if (!problem.empty()) tally.problems.push_back("round " + std::to_string(i) + ", killed at " + std::to_string(moment) + " s: " + problem);
    else tally.restored_after.push_back(restored_after);
    if (tally.problems.size() >= 3) break;
  }
  return tally;
}

}  // namespace

TEST_CASE("whatever is killed at whatever moment of the fault phase, nothing stays behind", "[kill]") {
  const std::vector<std::pair<std::string, Victims>> kinds = {
      {"runner", {true, false, false}}, {"agent", {false, true, false}},  {"guard", {false, false, true}},
      {"runner and agent", {true, true, false}}, {"runner, agent and guard", {true, true, true}},
  };
  const unsigned seed = std::random_device()();
  std::vector<Tally> tallies(kinds.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    threads.emplace_back([&, i] { tallies[i] = campaign(kinds[i].second, seed + static_cast<unsigned>(i)); });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    Tally& tally = tallies[i];
    std::sort(tally.restored_after.begin(), tally.restored_after.end());
    std::string problems;
    for (const std::string& problem : tally.problems) problems += problem + "\n";
    INFO("seed " << seed << ", SIGKILL of " << kinds[i].first << "\n" << problems);
    CHECK(tally.problems.empty());
    REQUIRE(!tally.restored_after.empty());
    const double median = tally.restored_after[tally.restored_after.size() / 2];
    const auto in_time = std::count_if(tally.restored_after.begin(), tally.restored_after.end(), [](double s) { return s <= 2.0; });
    WARN("SIGKILL of " << kinds[i].first << ": " << tally.restored_after.size() << " rounds, restored after " << median << " s (median), " << tally.restored_after.back() << " s (longest), " << in_time << " within 2 s");
    CHECK(median <= 2.0);
  }
}
