#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "experiments/playbook.h"
#include "experiments/schema.h"
#include "injector/base/located_json.h"

extern char** environ;

// capsize check and an independent validator (python3-jsonschema) with the schema of capsize must not disagree.
using namespace capsize;
namespace fs = std::filesystem;

namespace {

const fs::path kSource = CAPSIZE_SOURCE_DIR;

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "capsize-schema-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

std::vector<fs::path> playbooks_in(const fs::path& folder) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

pid_t start_validator(const fs::path& schema, const std::vector<fs::path>& files, const fs::path& answer) {
  std::vector<std::string> words = {"/usr/bin/python3", (kSource / "tests/system/validate_schema.py").string(), schema};
  for (const fs::path& file : files) words.push_back(file);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, answer.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t child = 0;
  REQUIRE(posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  return child;
}

// What the validator says of each file, in their order: "ok FILE", "wrong FILE: why". Two at once: it is slow, and there are thousands.
std::vector<std::string> judge(const std::vector<fs::path>& files, const fs::path& scratch) {
  const fs::path schema = scratch / "schema";
  std::ofstream(schema) << playbook_schema().dump();
  const auto middle = files.begin() + static_cast<std::ptrdiff_t>(files.size() / 2);
  const std::vector<fs::path> answers = {scratch / "answer1", scratch / "answer2"};
  const std::vector<pid_t> children = {start_validator(schema, {files.begin(), middle}, answers[0]), start_validator(schema, {middle, files.end()}, answers[1])};
  std::vector<std::string> out;
  for (std::size_t i = 0; i < children.size(); ++i) {
    int status = 0;
    REQUIRE(waitpid(children[i], &status, 0) == children[i]);
    REQUIRE(WIFEXITED(status));
    REQUIRE(WEXITSTATUS(status) == 0);
    std::ifstream in(answers[i]);
    for (std::string line; std::getline(in, line);) out.push_back(line);
  }
  REQUIRE(out.size() == files.size());
  return out;
}

// Every parameter of every fault of the network, which no shipped playbook has together.
const char* const kNetworkPlaybook = R"({
  "playbook": 1, "title": "All of the network",
  "targets": {
    "auth1": { "type": "service", "address": "127.0.0.1:8081", "protocol": "tcp", "network_namespace": "/run/netns/blue" },
    "rest": { "type": "network", "local": ["10.0.0.5"], "peers": ["db.staging", "10.0.0.0/8", "fd00::/8"], "local_ports": [80, "8000-8100"], "peer_ports": ["5432"],
              "protocol": "any", "user": "www-data", "cgroup": "system.slice/nginx.service", "namespace_of": 12 },
    "balancer": { "type": "haproxy", "socket": "/run/haproxy/admin.sock", "backend": "auth" }
  },
  "probes": { "tcp": { "probe": "tcp.connect", "address": "127.0.0.1:8081" } },
  "steady_state": [ { "measure": "tcp.success_ratio", "at_least": "99%" } ],
  "faults": [
    { "fault": "net.delay", "target": "auth1", "delay": "200ms", "jitter": "20ms", "distribution": "pareto", "correlation": "25%", "reorder": true, "direction": "both", "for": "5s" },
    { "fault": "backend.latency", "target": "balancer", "server": "auth1", "later": "200ms", "jitter": "10ms", "for": "5s" },
    { "fault": "net.partition", "target": "rest", "direction": "out", "for": "5s", "allow": ["everything", "control_path"], "reason": "why not" },
    { "fault": "net.blackhole", "target": "auth1", "direction": "in", "for": "5s" },
    { "fault": "net.reject", "target": "auth1", "with": "prohibited", "direction": "in", "for": "5s" },
    { "fault": "net.loss", "target": "rest", "enter_bad": "5%", "leave_bad": "20%", "loss_in_good": "1%", "loss_in_bad": "90%", "direction": "in", "for": "5s" },
    { "fault": "net.rate", "target": "auth1", "rate": "1.5Mbit/s", "burst": "32KiB", "queue": "200ms", "direction": "out", "for": "5s" },
    { "fault": "net.duplicate", "target": "auth1", "share": "5%", "direction": "in", "for": "5s" },
    { "fault": "net.corrupt", "target": "auth1", "share": "5%", "direction": "in", "for": "5s" },
    { "fault": "net.reorder", "target": "auth1", "share": "5%", "delay": "5ms", "direction": "in", "for": "5s" },
    { "fault": "net.dns", "target": "rest", "names": ["db.staging", "*.internal"], "answer": "delay", "delay": "1s", "for": "5s" }
  ]
})";

bool is_ok(const std::string& answer) { return answer.rfind("ok ", 0) == 0; }

// Every place in `json` with something else there, or nothing.
void mutate(const Json& whole, const Json::json_pointer& place, std::vector<Json>& out) {
  static const std::vector<Json> others = {nullptr, true, 0, -1, 7, 0.5, "", "x", "5s", "50%", "10/s", "2x baseline", "a;b", "${title}", Json::array(), Json::array({"x"}), Json::object()};
  const Json& here = whole.at(place);
  if (!place.empty()) {
    for (const Json& other : others) {
      Json changed = whole;
      changed[place] = other;
      out.push_back(std::move(changed));
    }
    if (whole.at(place.parent_pointer()).is_object()) {
      Json less = whole;
      less[place.parent_pointer()].erase(place.back());
      out.push_back(std::move(less));
    }
  }
  if (!here.is_structured()) return;
  if (here.is_object()) {
    Json more = whole;
    more[place]["surplus"] = 1;
    out.push_back(std::move(more));
  }
  for (const auto& [key, value] : here.items()) mutate(whole, here.is_array() ? place / std::stoul(key) : place / key, out);
}

}  // namespace

TEST_CASE("capsize check and an independent validator agree on every shipped playbook: all are right", "[schema][beside]") {
  const Folder scratch;
  const auto files = playbooks_in(kSource / "experiments/playbooks");
  REQUIRE(files.size() >= 4);
  const auto answers = judge(files, scratch.path);
  for (std::size_t i = 0; i < files.size(); ++i) {
    INFO(answers[i]);
    CHECK(is_ok(answers[i]));
    const PlaybookResult result = read_playbook_file(files[i], {});
    CHECK(result.diagnostics.text(files[i].filename().string()) == "");
    CHECK(result.playbook.has_value());
  }
}

TEST_CASE("capsize check and an independent validator agree on every parameter of the network", "[schema][beside]") {
  const Folder scratch;
  const fs::path file = scratch.path / "network.json";
  std::ofstream(file) << kNetworkPlaybook;
  CHECK(is_ok(judge({file}, scratch.path)[0]));
  CHECK(read_playbook(kNetworkPlaybook, {}).diagnostics.text("network.json") == "");
}

TEST_CASE("capsize check and an independent validator agree on every broken playbook: none is right", "[schema][beside]") {
  const Folder scratch;
  const auto files = playbooks_in(kSource / "tests/experiments/broken");
  REQUIRE(files.size() >= 15);
  const auto answers = judge(files, scratch.path);
  for (std::size_t i = 0; i < files.size(); ++i) {
    INFO(answers[i]);
    CHECK(!is_ok(answers[i]));
    const std::string text = read_document(files[i]);
    const std::string mark = "// mistake at: ";
    REQUIRE(text.rfind(mark, 0) == 0);
    std::string pointer = text.substr(mark.size(), text.find('\n') - mark.size());
    if (pointer == "/") pointer = "";
    const PlaybookResult result = read_playbook(text, {});
    INFO(result.diagnostics.text(files[i].filename().string()));
    CHECK(!result.playbook);
    REQUIRE(!result.diagnostics.all().empty());
    CHECK(std::any_of(result.diagnostics.all().begin(), result.diagnostics.all().end(), [&](const Diagnostic& d) { return d.pointer == pointer && d.severity == Severity::error; }));
  }
}

// A schema in an editor that marks a good playbook as wrong is worse than none.
TEST_CASE("whatever the schema refuses, capsize check refuses too", "[schema][beside]") {
  const Folder scratch;
  std::vector<Json> changed;
  for (const fs::path& file : playbooks_in(kSource / "experiments/playbooks")) {
    Diagnostics ignored;
    mutate(parse_located(read_document(file), ignored)->json, Json::json_pointer(), changed);
  }
  for (const char* part : {"/targets", "/faults"}) mutate(Json::parse(kNetworkPlaybook), Json::json_pointer(part), changed);
  REQUIRE(changed.size() > 1000);
  // The playbooks are much alike, and the validator is slow. Each place has 17 or 18 changes in a row: a step of 5 meets every kind of them.
  std::vector<Json> some;
  for (std::size_t i = 0; i < changed.size(); i += 5) some.push_back(std::move(changed[i]));
  changed = std::move(some);
  std::vector<fs::path> files;
  for (std::size_t i = 0; i < changed.size(); ++i) {
    files.push_back(scratch.path / (std::to_string(i) + ".json"));
    std::ofstream(files.back()) << changed[i].dump(1);
  }
  const auto answers = judge(files, scratch.path);
  std::size_t both_refuse = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (is_ok(answers[i])) continue;
    PlaybookResult result = read_playbook(changed[i].dump(1), {});
    if (result.playbook && !result.playbook->left_out.empty()) {  // what is left out is looked at where it is not
      PlaybookOptions options;
      options.offer = {{"prometheus", "http://127.0.0.1:9090"}};
      result = read_playbook(changed[i].dump(1), options);
    }
    INFO(answers[i] << "\n" << changed[i].dump(1));
    CHECK(!result.playbook);
    ++both_refuse;
  }
  CHECK(both_refuse > changed.size() / 2);
}
