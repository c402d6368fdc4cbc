// A sealed game day of the whole command line on the real lab, and a person at a real terminal.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "experiments/game/sealed.h"
#include "tests/system/machine.h"
#include "tests/system/small_server.h"

using namespace capsize;
using capsize::testing::ServerReply;
using capsize::testing::ServerRequest;
using capsize::testing::SmallServer;

namespace {

constexpr const char* kPlaybook = R"({
  "playbook": 1, "title": "what is wrong?",
  "variables": {"login_url": "", "session_url": "", "balancer_socket": "", "backend": "", "auth2_pid": "1"},
  "targets": {
    "balancer": {"type": "haproxy", "socket": "${balancer_socket}", "backend": "${backend}"},
    "server": {"type": "process", "pid": "${auth2_pid}"}
  },
  "probes": {"login": {"probe": "login.http", "url": "${login_url}", "session_url": "${session_url}", "rate": "60/s", "timeout": "500ms"}},
  "timing": {"baseline": "2s", "recovery": "15s", "settle": "2s"},
  "steady_state": [{"measure": "login.success_ratio", "at_least": "90%"}],
  "sealed": [
    {"name": "frozen", "cause": "auth2 is stopped.", "known_by": ["auth2", "frozen"], "faults": [{"fault": "process.pause", "target": "server", "at": "1s", "for": "8s"}]},
    {"name": "drained", "cause": "auth3 gets nothing.", "known_by": ["drained"], "faults": [{"fault": "balancer.drain", "target": "balancer", "servers": ["auth3"], "at": "1s", "for": "8s"}]}
  ],
  "steps": [
    {"ask": "What do you see?", "name": "seen", "during": "baseline", "within": "20s", "scores": "detected"},
    {"ask": "Why?", "name": "cause", "during": "baseline", "within": "20s", "scores": "hypothesis"},
    {"ask": "And now?", "name": "fix", "during": "baseline", "within": "20s", "scores": "mitigation"}
  ],
  "hypothesis": [{"measure": "login.success_ratio", "during": "fault", "at_least": "99%"}]
})";

// The fault begins 3 s after they were asked: what is said of it comes late enough to look first at what tells nothing.
constexpr const char* kAnswers = R"({"answers": [
  {"to": "seen", "after": "8s", "text": "logins fail"},
  {"to": "cause", "after": "8500ms", "text": "one of them is drained"},
  {"to": "cause", "after": "9s", "text": "no, auth2 hangs"},
  {"to": "fix", "after": "10s", "text": "take it out of the balancer"}]})";

// The commands of all that descends from `pid`, itself included.
std::string commands_below(pid_t pid) {
  std::string out = read_text("/proc/" + std::to_string(pid) + "/cmdline");
  std::replace(out.begin(), out.end(), '\0', ' ');
  out += "\n";
  for (const pid_t child : children_of(pid)) out += commands_below(child);
  return out;
}

// What the timeline file tells, without the playbook (which has both causes) and the windows.
std::string readable(const std::filesystem::path& timeline) {
  std::string out;
  std::istringstream lines(read_text(timeline));
  for (std::string line; std::getline(lines, line);) {
    Json event = Json::parse(line, nullptr, false);
    if (!event.is_object() || event.value("event", "") == "window") continue;
    event.erase("playbook");
    out += event.dump() + "\n";
  }
  return out;
}

void check_tells_nothing(const std::string& text) {
  INFO(text);
  for (const char* word : {"pause", "frozen", "auth2", "drain", "auth3", "SIGSTOP", "seed"}) CHECK(text.find(word) == std::string::npos);
}

// The seed with which the first cause of kPlaybook is chosen. The lab's values are no part of the choice.
std::uint64_t seed_of_frozen() {
  Playbook playbook;
  playbook.sealed.resize(2);
  playbook.as_run["sealed"] = Json::array({Json::object(), Json::object()});
  for (std::uint64_t seed = 1;; ++seed) {
    if (seal_choice(playbook, seed, "").choice == 0) return seed;
  }
}

}  // namespace

TEST_CASE("a sealed game day is told by nothing until its end, and then by everything", "[game]") {
  const LabFixture lab;
  const auto folder = lab.folder();
  write_text(folder / "playbook.json", kPlaybook);
  write_text(folder / "answers.json", kAnswers);
  ::setenv("CAPSIZE_SEED", std::to_string(seed_of_frozen()).c_str(), 1);
  const std::vector<std::string> words = {capsize_program(), "--state", (folder / "state").string(), "run", "--sealed", "--answers", (folder / "answers.json").string(),
                                          "--variables", lab.file().string(), "--out", (folder / "out").string(), (folder / "playbook.json").string()};
  Spawned run(words, folder / "output");
  ::unsetenv("CAPSIZE_SEED");
  const auto injected = [&] {
    const auto records = journal_records(folder / "state");
    return std::any_of(records.begin(), records.end(), [](const Json& record) { return record.dump().find("\"undo\"") != std::string::npos; });
  };
  REQUIRE(eventually([&] { return injected() && !is_running(std::stoi(lab.variable("auth2_pid"))); }, std::chrono::seconds(30)));
  const Ran status = run_capsize({"--state", (folder / "state").string(), "status"}, folder);
  const Ran as_json = run_capsize({"--state", (folder / "state").string(), "--json", "status"}, folder);
  check_tells_nothing(status.out + status.err + as_json.out);
  CHECK(status.out.find("sealed: what is injected is told at the end of the run") != std::string::npos);
  check_tells_nothing(commands_below(run.pid()));
  check_tells_nothing(run.out() + run.err());
  check_tells_nothing(readable(folder / "out" / "timeline.jsonl"));
  CHECK(!Json::parse(read_text(folder / "out" / "playbook.json")).contains("faults"));
  CHECK(run.wait() == 1);
  INFO(run.out() << run.err());

  const Json verdict = Json::parse(read_text(folder / "out" / "verdict.json"));
  CHECK(verdict["residue"].empty());
  CHECK(verdict["sealed"]["name"] == "frozen");
  CHECK(verdict["faults"][0]["fault"] == "process.pause");
  CHECK(verdict["faults"][0]["undo"] == "undone");
  const Json& score = verdict["score"];
  INFO(score.dump(1));
  CHECK(score["felt"].is_number());
  CHECK(score["detected"]["seconds"].get<double>() == Approx(5).margin(1));
  CHECK(score["hypotheses"][0]["judged"] == "wrong");
  CHECK(score["right_hypothesis"]["text"] == "no, auth2 hangs");
  CHECK(score["mitigation"]["seconds"].get<double>() > score["right_hypothesis"]["seconds"].get<double>());
  CHECK(score["recovery"]["seconds"].get<double>() > 3);
  // The hash by another program than ours.
  write_text(folder / "opening", verdict["sealed"]["opening"].get<std::string>());
  const std::string commitment = verdict["sealed"]["commitment"];
  CHECK(run_to_end({"/usr/bin/sha256sum", (folder / "opening").string()}, folder / "sum").out.substr(0, 64) == commitment);
  CHECK(run.out().find("the SHA-256 of the choice is " + commitment) != std::string::npos);
  CHECK(run.out().find("it was frozen") != std::string::npos);
  CHECK(read_text(folder / "out" / "postmortem.md").find("## Corrective measures") != std::string::npos);
  CHECK(run_capsize({"judge", (folder / "out").string()}, folder).code == 1);
}

TEST_CASE("a game day that gives itself away, or has nothing to hide, is refused before anything is touched", "[game]") {
  const TestFolder folder;
  write_text(folder / "playbook.json", kPlaybook);
  const auto run = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"--state", (folder / "state").string(), "run", (folder / "playbook.json").string()});
    for (const char* setting : {"login_url=http://127.0.0.1:9/", "session_url=http://127.0.0.1:9/", "balancer_socket=/none", "backend=b"}) words.insert(words.end(), {"--set", setting});
    return run_capsize(words, folder.path());
  };
  CHECK(run({}).err.find("run it with --sealed") != std::string::npos);
  CHECK(run({"--sealed", "--seed", "7"}).err.find("set CAPSIZE_SEED in the environment") != std::string::npos);
  write_text(folder / "answers.json", R"({"answers": [{"to": "caus", "text": "x"}]})");
  const Ran wrong = run({"--sealed", "--answers", (folder / "answers.json").string()});
  CHECK(wrong.code == 65);
  CHECK(wrong.err.find("answers.json:1:21: /answers/0/to: the playbook has no question \"caus\"; did you mean \"cause\"?") != std::string::npos);
  CHECK(!std::filesystem::exists(folder / "state" / "runs"));
}

TEST_CASE("a sealed run whose timeline cannot be written again has told its playbook first, and is judged again as one that never told", "[game]") {
  const TestFolder folder;
  const SmallServer server([](const ServerRequest&) { return ServerReply{.status = 200, .body = R"({"token": "t"})"}; });
  const Spawned one({"/bin/sleep", "120"}, folder / "one"), two({"/bin/sleep", "120"}, folder / "two");
  Json playbook = {{"playbook", 1}, {"title", "a disk that is full"}, {"timing", {{"baseline", "2s"}, {"recovery", "15s"}, {"settle", "2s"}}}};
  playbook["probes"]["login"] = {{"probe", "login.http"}, {"url", server.url("/login")}, {"rate", "100/s"}};
  playbook["steady_state"] = Json::array({{{"measure", "login.success_ratio"}, {"at_least", "50%"}}});
  playbook["sealed"] = Json::array();
  for (const auto& [name, process] : {std::pair("first", &one), std::pair("second", &two)}) {
    playbook["targets"][name] = {{"type", "process"}, {"pid", std::to_string(process->pid())}};
    const Json fault = {{"fault", "process.pause"}, {"target", name}, {"for", "2s"}};
    playbook["sealed"].push_back({{"name", name}, {"cause", "One stands still."}, {"known_by", {name}}, {"faults", Json::array({fault})}});
  }
  write_text(folder / "playbook.json", playbook.dump());
  const auto out = folder / "out";
  Spawned run({capsize_program(), "--state", (folder / "state").string(), "run", "--sealed", "--out", out.string(), (folder / "playbook.json").string()}, folder / "output");
  REQUIRE(eventually([&] { return std::filesystem::exists(out / "timeline.jsonl"); }, std::chrono::seconds(30)));
  std::filesystem::create_directory(out / "timeline.jsonl.new");  // where the told timeline would be written
  run.wait();
  INFO(run.out() << run.err());
  const Json verdict = Json::parse(read_text(out / "verdict.json"));
  CHECK(verdict["sealed"]["matches"] == true);
  CHECK(verdict["problem"].get<std::string>().find("the timeline file lacks what was sealed") == 0);
  CHECK(Json::parse(read_text(out / "playbook.json"))["faults"].size() == 1);
  const std::string timeline = read_text(out / "timeline.jsonl");
  CHECK(timeline.find("\"event\":\"opened\"") != std::string::npos);
  CHECK(timeline.find("\"event\":\"planned\"") == std::string::npos);
  const Ran judged = run_capsize({"judge", out.string()}, folder.path());
  CHECK(judged.code == 4);
  CHECK(judged.out.find("the run was sealed, and ended before it told what it had done") != std::string::npos);
}

TEST_CASE("a line typed at the terminal is an answer, and the run does not wait for another", "[game]") {
  const TestFolder folder;
  const SmallServer server([](const ServerRequest&) { return ServerReply{.status = 200, .body = R"({"token": "t"})"}; });
  Json playbook = {{"playbook", 1}, {"title", "asked at a terminal"}, {"timing", {{"baseline", "5s"}}}};
  playbook["probes"]["login"] = {{"probe", "login.http"}, {"url", server.url("/login")}, {"rate", "20/s"}};
  playbook["steady_state"] = Json::array({{{"measure", "login.success_ratio"}, {"at_least", "50%"}}});
  playbook["steps"] = Json::array({{{"ask", "Who is there?"}, {"during", "baseline"}, {"within", "1h"}}, {{"ask", "Anybody else?"}, {"during", "baseline"}, {"within", "1h"}}});
  write_text(folder / "playbook.json", playbook.dump());

  UniqueFd terminal(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(terminal);
  REQUIRE((::grantpt(terminal.get()) == 0 && ::unlockpt(terminal.get()) == 0));
  const std::string name = ::ptsname(terminal.get());
  const std::string program = capsize_program(), file = (folder / "playbook.json").string(), out = (folder / "out").string(), state = (folder / "state").string();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    const int fd = ::open(name.c_str(), O_RDWR);
    ::ioctl(fd, TIOCSCTTY, 0);
    for (int to = 0; to < 3; ++to) ::dup2(fd, to);
    ::close_range(3, ~0u, 0);
    ::execl(program.c_str(), program.c_str(), "--state", state.c_str(), "run", "--out", out.c_str(), file.c_str(), nullptr);
    ::_exit(127);
  }
  const auto timeline = [&] { return read_text(folder / "out" / "timeline.jsonl"); };
  CHECK(eventually([&] { return timeline().find(R"("question":"q2")") != std::string::npos; }, std::chrono::seconds(30)));
  CHECK(::write(terminal.get(), "it is me\n", 9) == 9);
  CHECK(eventually([&] { return timeline().find("it is me") != std::string::npos; }, std::chrono::seconds(30)));
  // The screen is read to its end: nobody who types is kept from leaving.
  std::string screen;
  char buffer[4096];
  for (ssize_t count; (count = ::read(terminal.get(), buffer, sizeof buffer)) > 0;) screen.append(buffer, static_cast<std::size_t>(count));
  int status = 0;
  ::waitpid(pid, &status, 0);
  INFO(screen);
  CHECK(WIFEXITED(status));
  CHECK((WEXITSTATUS(status) == 0 || screen.find("could not keep up") != std::string::npos));  // judged as steady, unless this machine stood still
  CHECK(screen.find("QUESTION q1: Who is there? (answer within 60 min)") != std::string::npos);
  const Json verdict = Json::parse(read_text(folder / "out" / "verdict.json"));
  CHECK(verdict["questions"][0]["answers"][0]["text"] == "it is me");
  CHECK(verdict["questions"][1]["unanswered"] == "the run ended before anybody answered");
}
