// Network faults through the whole command line, in a network namespace of the test's own: what somebody else does in the middle of one,
// a child that will not end, and what is refused with nothing touched.
#include "tests/system/machine.h"
#include "tests/system/net_rules.h"

using namespace capsize;
using namespace capsize::net_test;

namespace {

constexpr std::uint16_t kDoor = 7411;

// A door that accepts in `near`, and what a run there says and leaves.
class Place {
 public:
  Place() : door_(bound_in(net.near, "127.0.0.1", kDoor, SOCK_STREAM)) { REQUIRE(::listen(door_.get(), 4096) == 0); }

  std::vector<std::string> there(std::vector<std::string> words) const {
    std::vector<std::string> out = {"/usr/bin/nsenter", "--net=" + net.near.path};
    out.insert(out.end(), words.begin(), words.end());
    return out;
  }
  std::vector<std::string> capsize(std::vector<std::string> words) const {
    words.insert(words.begin(), {capsize_program(), "--state", (folder / "state").string()});
    return there(std::move(words));
  }
  // A run that puts a black hole in front of the door for 6 s.
  std::unique_ptr<Spawned> start(const Json& more_probes = Json::object()) {
    Json probes = {{"door", {{"probe", "tcp.connect"}, {"address", address()}, {"rate", "40/s"}, {"timeout", "300ms"}}}};
    probes.update(more_probes);
    const Json playbook = {{"playbook", 1},
                           {"title", "somebody else in the middle"},
                           {"targets", {{"door", {{"type", "service"}, {"address", address()}}}}},
                           {"probes", std::move(probes)},
                           {"timing", {{"baseline", "3s"}, {"recovery", "30s"}, {"settle", "2s"}}},
                           {"steady_state", {{{"measure", "door.success_ratio"}, {"at_least", "95%"}}}},
                           {"faults", {{{"fault", "net.blackhole"}, {"target", "door"}, {"for", "6s"}}}},
                           {"hypothesis", {{{"measure", "door.success_ratio"}, {"during", "fault"}, {"at_most", "20%"}}}}};
    write_text(folder / "playbook.json", playbook.dump(2));
    return std::make_unique<Spawned>(capsize({"run", "--out", (folder / "out").string(), (folder / "playbook.json").string()}), folder / "output");
  }
  bool wait_for(const std::string& event) const {
    return eventually([&] { return read_text(folder / "out" / "timeline.jsonl").find("\"event\":\"" + event + "\"") != std::string::npos; }, std::chrono::seconds(60));
  }
  Ran run(const std::vector<std::string>& words) const { return run_to_end(words, folder / "ran"); }
  std::string address() const { return "127.0.0.1:" + std::to_string(kDoor); }
  std::string tables() const { return nft(net.near, {"list", "tables"}); }

  TestFolder folder;
  NetPair net;

 private:
  UniqueFd door_;
};

}  // namespace

TEST_CASE("a ruleset that somebody flushes in the middle of a fault neither ends it unnoticed nor leaves any of it", "[net.run]") {
  Place place;
  nft(place.net.near, {"add", "table", "inet", "operators"});
  const auto run = place.start();
  REQUIRE(place.wait_for("injected"));
  CHECK(place.tables().find("capsize_") != std::string::npos);
  for (int i = 0; i < 20; ++i) {
    nft(place.net.near, {"flush", "ruleset"});
    ::usleep(50000);
  }
  CHECK(place.tables().find("operators") == std::string::npos);
  CHECK(place.tables().find("capsize_") != std::string::npos);
  const int code = run->wait();
  INFO(run->out() << run->err());
  CHECK(code == 0);  // held: it was in force until its end
  CHECK(place.tables() == "");
  CHECK(place.run(place.capsize({"status"})).code == 0);
}

TEST_CASE("a probe's command that ignores SIGTERM and never ends does not keep a fault alive when agent and runner are killed", "[net.run]") {
  Place place;
  const auto run = place.start({{"stubborn", {{"probe", "exec"}, {"command", {"/bin/sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done"}}, {"timeout", "60s"}, {"rate", "1/s"}}}});
  REQUIRE(place.wait_for("injected"));
  CHECK(try_to_connect(place.net.near, "127.0.0.1", kDoor) == ETIMEDOUT);
  std::vector<pid_t> commands;
  pid_t agent = -1;
  for (const pid_t child : children_of(run->pid())) {
    const std::string words = read_text("/proc/" + std::to_string(child) + "/cmdline");
    if (words.find("agent") != std::string::npos) agent = child;
    if (words.starts_with("/bin/sh")) commands.push_back(child);
  }
  REQUIRE(agent > 0);
  CHECK_FALSE(commands.empty());
  const std::vector<pid_t> guards = children_of(agent);
  CHECK_FALSE(guards.empty());
  for (const pid_t guard : guards) ::kill(guard, SIGSTOP);
  ::kill(agent, SIGKILL);
  ::kill(run->pid(), SIGKILL);
  CHECK(eventually([&] { return try_to_connect(place.net.near, "127.0.0.1", kDoor) == 0; }, std::chrono::seconds(2)));
  CHECK(place.tables() == "");
  for (const pid_t command : commands) CHECK(is_running(command));
  for (const pid_t command : commands) ::kill(-command, SIGKILL);
  run->wait();
  for (const pid_t guard : guards) ::kill(guard, SIGCONT);  // its agent is gone: let it do its work and end
  CHECK(eventually([&] { return place.run(place.capsize({"revert", "--all"})).code == 0; }, std::chrono::seconds(30)));
}

TEST_CASE("what would lock the operator out, meets nothing or cannot be done is refused with its reason and exit code, and nothing is touched", "[net.run]") {
  Place place;
  struct Refusal {
    std::vector<std::string> before;  // what runs capsize
    std::vector<std::string> words;   // fault and parameters
    int code;
    const char* says;
  };
  const std::string target = "address=" + place.address();
  const std::string far = "peers=[\"10.77.0.2\"]";
  const std::vector<Refusal> refusals = {
      {{"/usr/bin/env", "SSH_CONNECTION=10.77.0.2 50022 10.77.0.1 22"}, {"net.blackhole", far}, 65, "SSH"},
      {{}, {"net.blackhole", "peers=[\"nobody.invalid\"]"}, 69, "nobody.invalid"},
      {{}, {"net.blackhole", "local_ports=[7411]", "network_namespace=/run/netns/capsize-no-such"}, 69, "/run/netns/capsize-no-such"},
      {{}, {"net.reorder", far, "protocol=udp", "share=20%", "direction=out"}, 69, "netem"},
      {{"/usr/bin/setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"}, {"net.blackhole", target}, 77, "CAP_NET_ADMIN"},
  };
  const std::string before = place.tables() + output_of_tool({"ip", "-n", name_of(place.net.near), "link"});
  for (const Refusal& one : refusals) {
    std::vector<std::string> words = one.before;
    const auto rest = std::vector<std::string>{capsize_program(), "--state", (place.folder / "state").string(), "inject"};
    words.insert(words.end(), rest.begin(), rest.end());
    words.insert(words.end(), one.words.begin(), one.words.end());
    words.insert(words.end(), {"--for", "1s"});
    const Ran ran = place.run(place.there(words));
    INFO(one.words[0] << ' ' << one.words[1] << '\n' << ran.out << ran.err);
    CHECK(ran.code == one.code);
    CHECK(ran.err.find(one.says) != std::string::npos);
    CHECK(place.tables() + output_of_tool({"ip", "-n", name_of(place.net.near), "link"}) == before);
  }
  CHECK(place.run(place.capsize({"status"})).code == 0);
}
