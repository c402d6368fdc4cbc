// Whole runs whose faults happen elsewhere: one playbook, and only `via` says where.
#include "injector/host/agent.h"
#include "tests/system/far_machine.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

// A service of two processes, HAProxy and one capsize-auth behind it, that freezes, and then is refused to.
constexpr const char* kPlaybook = R"({
  "playbook": 1, "title": "the same faults elsewhere",
  "variables": {"via": ["env"], "address": "", "pid_file": ""},
  "hosts": {"edge": {"via": "${via}"}},
  "targets": {
    "server": {"type": "process", "host": "edge", "pid_file": "${pid_file}"},
    "door": {"type": "service", "host": "edge", "address": "${address}"}
  },
  "probes": {"login": {"probe": "login.http", "url": "http://${address}/login", "session_url": "http://${address}/session", "rate": "20/s", "users": 50, "timeout": "1s"}},
  "timing": {"baseline": "3s", "recovery": "24s", "settle": "2s"},
  "steady_state": [{"measure": "login.success_ratio", "at_least": "80%"}],
  "faults": [
    {"fault": "process.pause", "target": "server", "at": "0s", "for": "3s"},
    {"fault": "net.reject", "target": "door", "at": "4s", "for": "2s"}
  ],
  "hypothesis": [
    {"measure": "login.success_ratio", "during": "fault", "at_least": "90%"},
    {"measure": "login.wrongly_accepted", "during": "run", "at_most": 0},
    {"measure": "recovery_time", "at_most": "20s"}
  ]
})";

std::string server_port(const std::string& address) { return address + ":8000"; }

// What the service is started with, in whatever place; its pid as that place counts is in `folder`/auth.pid.
std::vector<std::string> service(const std::filesystem::path& folder, const std::string& address) {
  std::filesystem::create_directories(folder);
  write_text(folder / "haproxy.cfg", R"(defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
listen logins
  server auth 127.0.0.1:8001
  bind )" + server_port(address) + "\n");
  write_text(folder / "start", "cd '" + folder.string() + "'\nexport PATH=" + std::string(CAPSIZE_BINARY_DIR) + ":" + kSystemPath + R"(
capsize-auth --listen 127.0.0.1:8001 --service-time 20ms --parent $$ &
echo $! > auth.pid
exec haproxy -db -f haproxy.cfg
)");
  return {"/bin/sh", (folder / "start").string()};
}

using Words = std::vector<std::string>;

struct Place {
  std::string name;
  std::string near;  // the network where the runner is
  std::string address;
  std::vector<std::string> via;
  std::filesystem::path service_folder;
};

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ",") + word;
  return out;
}

struct Played {
  Ran ran;
  Json verdict;
  std::string timeline;
};

std::vector<std::string> run_words(const TestFolder& folder, const Place& place, const std::string& playbook) {
  write_text(folder / "playbook.json", playbook);
  std::vector<std::string> words = in_network(place.near, {"/usr/bin/env", "PATH=" + std::string(CAPSIZE_BINARY_DIR) + ":" + kSystemPath, "capsize"});
  words.insert(words.end(), {"--state", (folder / "state").string(), "run", "--out", (folder / ("out-" + place.name)).string()});
  const std::string pid_file = (place.service_folder / "auth.pid").string();
  for (const std::string& setting : {"via=" + joined(place.via), "address=" + server_port(place.address), "pid_file=" + pid_file}) words.insert(words.end(), {"--set", setting});
  words.push_back((folder / "playbook.json").string());
  return words;
}

Played play_once(const TestFolder& folder, const Place& place) {
  const std::filesystem::path out = folder / ("out-" + place.name);
  std::filesystem::remove_all(out);
  Spawned run(run_words(folder, place, kPlaybook), folder / ("said-" + place.name));
  Played played;
  played.ran.code = run.wait();
  played.ran.out = run.out();
  played.ran.err = run.err();
  if (std::filesystem::exists(out / "verdict.json")) played.verdict = Json::parse(read_text(out / "verdict.json"));
  played.timeline = read_text(out / "timeline.jsonl");
  return played;
}

// Again where this noisy machine did not let the baseline be steady, or the load be even: such a run says so, and proves nothing.
Played play(const TestFolder& folder, const Place& place) {
  Played played = play_once(folder, place);
  for (int again = 0; again < 4; ++again) {
    const std::string because = played.verdict.is_object() ? played.verdict.value("because", "") : "";
    if (because.find("could not keep up") == std::string::npos && because.find("was not steady") == std::string::npos) break;
    played = play_once(folder, place);
  }
  return played;
}

// What a verdict says, without the numbers that differ from run to run.
std::string gist(const Json& verdict) {
  std::string out = verdict.value("outcome", "?");
  for (const Json& finding : verdict.value("findings", Json::array())) out += "\n" + finding["expectation"].get<std::string>() + ": " + finding["holds"].get<std::string>();
  for (const Json& fault : verdict.value("faults", Json::array())) {
    out += "\n" + fault["fault"].get<std::string>() + (fault["effect"]["bites"] == true ? " bites, " : " does not bite, ") + fault["undo"].get<std::string>();
  }
  return out;
}

void check_refuted(const Played& played) {
  INFO(played.ran.out << played.ran.err);
  CHECK(played.ran.code == 1);
  CHECK(gist(played.verdict) ==
        "refuted\nlogin.success_ratio at least 90% during fault: no\nlogin.wrongly_accepted at most 0 during run: yes\nrecovery_time at most 20s: yes\n"
        "process.pause bites, undone\nnet.reject bites, undone");
  CHECK(played.verdict["residue"].empty());
}

std::string own_state(const TestFolder& folder, const std::string& name) { return "CAPSIZE_STATE=" + (folder / (name + "-state")).string(); }

bool answers(const std::string& near, const std::string& address, const std::filesystem::path& output) {
  Spawned asked(in_network(near, {"/usr/bin/env", "PATH=" + kSystemPath, "socat", "-T", "2", "-u", "OPEN:/dev/null", "TCP:" + server_port(address)}), output);
  return asked.wait() == 0;
}

}  // namespace

// One playbook, unchanged, has one verdict wherever it is played: check_refuted() says which.

TEST_CASE("the playbook has its verdict on this machine", "[remote][root]") {
  if (::geteuid() != 0) return;
  const TestFolder folder;
  const net_test::NetPair wire;
  Spawned serving(in_network(wire.near.path, service(folder / "here", kNearAddress)), folder / "here-said");
  REQUIRE(eventually([&] { return answers(wire.near.path, kNearAddress, folder / "asked"); }, 30s));
  check_refuted(play(folder, {"here", wire.near.path, kNearAddress, {"env", own_state(folder, "here")}, folder / "here"}));
}

TEST_CASE("the playbook has the same verdict over ssh", "[remote][root]") {
  if (::geteuid() != 0) return;
  const TestFolder folder;
  const SshMachine machine;
  Spawned serving(machine.inside(service(folder / "edge", kFarAddress)), folder / "edge-said");
  REQUIRE(eventually([&] { return answers(machine.wire.near.path, kFarAddress, folder / "asked"); }, 30s));
  check_refuted(play(folder, {"ssh", machine.wire.near.path, kFarAddress, machine.via(), folder / "edge"}));
  CHECK(std::filesystem::is_empty(machine.state() / "undo"));
}

TEST_CASE("the playbook has the same verdict in another network namespace, by nsenter and by ip", "[remote][root]") {
  if (::geteuid() != 0) return;
  const TestFolder folder;
  const net_test::NetPair wire;
  const std::string far = wire.far.path;
  Spawned serving(in_network(far, service(folder / "netns", kFarAddress)), folder / "netns-said");
  REQUIRE(eventually([&] { return answers(wire.near.path, kFarAddress, folder / "asked"); }, 30s));
  for (const auto& enter : {Words{"nsenter", "--net=" + far}, Words{"ip", "netns", "exec", std::filesystem::path(far).filename().string()}}) {
    check_refuted(play(folder, {"netns-" + enter.front(), wire.near.path, kFarAddress, words_of(enter, {"env", own_state(folder, "netns")}), folder / "netns"}));
  }
}

TEST_CASE("the playbook has the same verdict in a container, by podman exec and by nsenter", "[remote][root]") {
  if (::geteuid() != 0) return;
  const TestFolder folder;
  const Container container(folder.path(), {"NET_ADMIN", "SYS_PTRACE"}, service(folder / "container", kFarAddress));
  REQUIRE(eventually([&] { return answers(container.wire.near.path, kFarAddress, folder / "asked"); }, 30s));
  check_refuted(play(folder, {"podman", container.wire.near.path, kFarAddress, container.via(), folder / "container"}));
  CHECK(std::filesystem::is_empty(container.state() / "undo"));
  const std::vector<std::string> enter = {"nsenter", "--target", container.pid(), "--mount", "--net", "--pid", "--ipc", "--uts"};
  check_refuted(play(folder, {"nsenter", container.wire.near.path, kFarAddress, enter, folder / "container"}));
}

TEST_CASE("a run whose ssh link dies in mid-fault is stopped, and its verdict has what the far side undid by its lease", "[remote][root][slow]") {
  if (::geteuid() != 0) return;
  const TestFolder folder;
  const SshMachine machine;
  const Spawned serving(machine.inside(service(folder / "edge", kFarAddress)), folder / "edge-said");
  REQUIRE(eventually([&] { return answers(machine.wire.near.path, kFarAddress, folder / "asked"); }, 30s));
  Json playbook = Json::parse(kPlaybook);
  playbook["faults"] = Json::parse(R"([{"fault": "process.pause", "target": "server", "for": "120s"}])");
  playbook["targets"].erase("door");
  const Place place{"cut", machine.wire.near.path, kFarAddress, machine.via(), folder / "edge"};
  Spawned run(run_words(folder, place, playbook.dump()), folder / "said-cut");
  const auto timeline = [&] { return read_text(folder / "out-cut" / "timeline.jsonl"); };
  REQUIRE(eventually([&] { return timeline().find("\"event\":\"injected\"") != std::string::npos || run.ended(); }, 60s));
  INFO(run.err() << run.out());
  REQUIRE(!run.ended());
  std::vector<pid_t> servers = machine.processes("capsize-auth");
  REQUIRE(servers.size() == 1);
  CHECK(!is_running(servers[0]));
  const SystemClock clock;
  const TimePoint cut = clock.now();
  machine.cut();
  CHECK(eventually([&] { return is_running(servers[0]); }, 60s));
  CHECK(clock.now() - cut < kDefaultLease + 2s);
  machine.mend();
  CHECK(run.wait() == 4);  // its effect could not be measured any more: that is known before the link is given up
  INFO(run.err() << run.out());
  const Json verdict = Json::parse(read_text(folder / "out-cut" / "verdict.json"));
  CHECK(verdict["outcome"] == "invalid");
  CHECK(verdict["faults"][0]["undo"] == "undone");
  CHECK(verdict["residue"].empty());
}

namespace {

struct BadWeather {
  std::string what;
  int code;
  std::vector<std::string> says;
};

// A run that fails to reach its host: nothing of it is anywhere.
void check_fails(const TestFolder& folder, const SshMachine& machine, const BadWeather& expected, const std::vector<std::string>& via) {
  const Played played = play(folder, {"out", machine.wire.near.path, kFarAddress, via, folder / "none"});
  INFO(expected.what << "\n" << played.ran.out << played.ran.err << machine.log());
  CHECK(played.ran.code == expected.code);
  for (const std::string& words : expected.says) CHECK(played.ran.err.find(words) != std::string::npos);
  CHECK(played.timeline.find("\"event\":\"injected\"") == std::string::npos);
  CHECK((!std::filesystem::exists(machine.state() / "undo") || std::filesystem::is_empty(machine.state() / "undo")));
}

}  // namespace

TEST_CASE("a host that cannot be reached ends the run before anything is touched, and says what to do", "[remote][root]") {
  if (::geteuid() != 0) return;
  const TestFolder folder;
  const std::string known = std::string(CAPSIZE_BINARY_DIR) + ":" + kSystemPath;
  {
    const SshMachine machine(kSystemPath);
    const auto fails = [&](const BadWeather& expected, const std::vector<std::string>& via) { check_fails(folder, machine, expected, via); };
    fails({"no capsize there", 69, {"capsize: command not found", "exit code 127", "install capsize there"}}, machine.via());
    machine.trust(machine.another_key());
    fails({"another host key", 69, {"REMOTE HOST IDENTIFICATION HAS CHANGED", "Host key verification failed", "compare the key of that machine"}}, machine.via());
    auto elsewhere = machine.via();
    elsewhere.insert(elsewhere.end() - 1, {"-p", "2223"});
    fails({"nobody listens", 69, {"Connection refused", "see whether its sshd"}}, elsewhere);
    fails({"no ssh here", 69, {"no-such-ssh cannot be started"}}, {"no-such-ssh", "edge-1"});
    write_text(machine.folder() / "authorized_keys", "");
    machine.trust(read_text(machine.folder() / "host_key.pub"));
    fails({"no key", 69, {"Permission denied (publickey)", "ssh -o BatchMode=yes must succeed by hand"}}, machine.via());
  }
  {
    const SshMachine machine(known, "Welcome to edge-1\\nPlease choose: ");
    auto shell = machine.via();
    shell.insert(shell.end(), {"echo", "this is not the agent", "#"});
    check_fails(folder, machine, {"another command", 69, {"did not become an agent: exit code 0", "printed: Welcome to edge-1 | Please choose: this is not the agent"}}, shell);
    check_fails(folder, machine, {"no pid file", 69, {"auth.pid"}}, machine.via());  // a greeting in front of the hello hides nothing: the agent was heard
  }  {
    const SshMachine machine(known);
    write_text(folder / "old-capsize", "echo '{\"hello\":\"capsize-agent\",\"version\":\"0.0.1\"}'\nexec sleep 60\n");
    check_fails(folder, machine, {"another version", 69, {"is version \"0.0.1\"", "install the same version on both machines"}}, {"sh", (folder / "old-capsize").string()});
    std::filesystem::create_directory(folder / "none");
    const Spawned target(machine.inside({"/bin/sh", "-c", "echo $$ > '" + (folder / "none/auth.pid").string() + "'; exec sleep 1000"}), folder / "sleeps");
    REQUIRE(eventually([&] { return !read_text(folder / "none/auth.pid").empty(); }));
    auto bounded = machine.via();
    bounded.insert(bounded.end(), {"setpriv", "--bounding-set=-net_admin"});
    check_fails(folder, machine, {"no capability", 77, {"CAP_NET_ADMIN"}}, bounded);
  }
}
