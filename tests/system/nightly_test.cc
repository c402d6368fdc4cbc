// What a nightly job relies on: the lock, the files, the webhook and the history, of the whole command line against a small login service.
#include <sqlite3.h>

#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <mutex>

#include "tests/system/machine.h"
#include "tests/system/small_server.h"

using namespace capsize;
using capsize::testing::ServerReply;
using capsize::testing::ServerRequest;
using capsize::testing::SmallServer;

namespace {

// Lets everybody in, and keeps what is posted to /hook.
class Service {
 public:
  Service() : server_([this](const ServerRequest& request) { return answer(request); }) {}
  std::string url(const std::string& target) const { return server_.url(target); }
  std::vector<Json> posted() const {
    const std::lock_guard hold(mutex_);
    return posted_;
  }

 private:
  ServerReply answer(const ServerRequest& request) {
    if (request.target == "/refuses") return {.status = 403, .body = "no_text"};
    if (request.target == "/hangs") return {.status = 200, .after = std::chrono::seconds(30)};
    if (request.target != "/hook") return {.status = 200, .body = R"({"token": "t"})"};
    const std::lock_guard hold(mutex_);
    posted_.push_back(Json::parse(request.body));
    return {.status = 200, .body = "ok"};
  }

  mutable std::mutex mutex_;
  std::vector<Json> posted_;
  SmallServer server_;
};

// What the run itself warned of, not the reading of the playbook.
std::vector<std::string> warnings(const Ran& ran) {
  std::vector<std::string> out;
  std::istringstream lines(ran.err);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("capsize: ")) out.push_back(line);
  }
  return out;
}

using Words = std::vector<std::string>;

class Bench {
 public:
  // A playbook without faults; its one target is this very process.
  std::string playbook(const std::string& name, const std::string& baseline) const {
    Json json = {{"playbook", 1}, {"title", "a night & its <end>"}, {"timing", {{"baseline", baseline}}}};
    json["targets"]["server"] = {{"type", "process"}, {"pid", ::getpid()}};
    json["probes"]["login"] = {{"probe", "login.http"}, {"url", service.url("/login")}, {"rate", "40/s"}};
    json["steady_state"] = Json::array({{{"measure", "login.success_ratio"}, {"at_least", "50%"}}});
    json["hypothesis"] = Json::array({{{"measure", "login.success_ratio"}, {"during", "baseline"}, {"at_least", "50%"}}});
    write_text(folder / (name + ".json"), json.dump());
    return (folder / (name + ".json")).string();
  }
  std::vector<std::string> words(const std::string& name, const std::string& playbook_file, const std::string& hook = "/hook") const {
    return {"--state", (folder / "state").string(), "run", playbook_file, "--out", (folder / name).string(), "--junit", (folder / (name + ".xml")).string(),
            "--metrics", (folder / (name + ".prom")).string(), "--webhook", service.url(hook)};
  }
  std::string metrics(const std::string& name) const { return read_text(folder / (name + ".prom")); }
  boost::property_tree::ptree suite(const std::string& name) const {
    boost::property_tree::ptree tree;
    boost::property_tree::read_xml((folder / (name + ".xml")).string(), tree);
    return tree.get_child("testsuites.testsuite");
  }
  Json history() const {
    const Ran ran = run_capsize({"--state", (folder / "state").string(), "history", "--json"}, folder.path());
    INFO(ran.err);
    REQUIRE(ran.code == 0);
    return Json::parse(ran.out).at("playbooks");
  }

  TestFolder folder;
  Service service;
};

}  // namespace

TEST_CASE("a second run on a target that is held ends with 69 and says by whom, each run leaves its files, its word and its line", "[nightly]") {
  const Bench bench;
  const std::string playbook = bench.playbook("night", "60s");
  auto words = bench.words("first", playbook);
  words.insert(words.begin(), capsize_program());
  Spawned first(words, bench.folder / "output");
  REQUIRE(eventually([&] { return read_text(bench.folder / "first" / "timeline.jsonl").find("\"window\"") != std::string::npos; }));

  const Ran second = run_capsize(bench.words("second", playbook), bench.folder.path());
  INFO(second.out << second.err);
  CHECK(second.code == 69);
  CHECK(second.err.find("target \"server\" is held by the run ") != std::string::npos);
  CHECK(second.err.find("capsize stop ") != std::string::npos);
  CHECK(!std::filesystem::exists(bench.folder / "second"));
  CHECK(bench.suite("second").get<int>("<xmlattr>.errors") == 1);
  CHECK(bench.metrics("second").find("capsize_run_exit_code{playbook=\"night\"} 69\n") != std::string::npos);

  first.signal(SIGTERM);
  CHECK(first.wait() == 5);
  CHECK(bench.suite("first").get<int>("<xmlattr>.failures") == 1);
  CHECK(bench.suite("first").get<std::string>("<xmlattr>.name") == "a night & its <end>");
  CHECK(bench.metrics("first").find("capsize_run_outcome{playbook=\"night\",outcome=\"aborted\"} 1\n") != std::string::npos);

  const Ran third = run_capsize(bench.words("third", bench.playbook("night", "1s")), bench.folder.path());
  INFO(third.out << third.err);
  CHECK(third.code == 0);
  CHECK(warnings(third).empty());
  CHECK(bench.suite("third").get<int>("<xmlattr>.failures") == 0);
  CHECK((std::filesystem::status(bench.folder / "third.prom").permissions() & std::filesystem::perms::others_read) != std::filesystem::perms::none);

  const auto posted = bench.service.posted();
  REQUIRE(posted.size() == 3);
  CHECK(posted[0].at("capsize").at("exit_code") == 69);
  CHECK(posted[1].at("capsize").at("outcome") == "aborted");
  CHECK(posted[2].at("text").get<std::string>().starts_with("capsize: night: Held: "));

  const Json history = bench.history();
  REQUIRE(history.size() == 1);
  CHECK(history[0].at("playbook") == "night");
  CHECK(history[0].at("runs").size() == 2);  // one that never began is no run
  CHECK(history[0].at("changes")[0].at("text") == "outcome: aborted, now held (better)");
}

TEST_CASE("a webhook that refuses or hangs, a history that is held and a folder that is gone are warnings: the verdict stands", "[nightly]") {
  const Bench bench;
  const std::string playbook = bench.playbook("night", "1s");
  const Ran refused = run_capsize(bench.words("refused", playbook, "/refuses"), bench.folder.path());
  INFO(refused.out << refused.err);
  CHECK(refused.code == 0);
  CHECK(warnings(refused) == Words{"capsize: warning: --webhook: the webhook at 127.0.0.1 answered 403"});

  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open((bench.folder / "state/history.sqlite").c_str(), &other) == SQLITE_OK);
  CHECK(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr) == SQLITE_OK);
  const SystemClock clock;
  const TimePoint begun = clock.now();
  const Ran hung = run_capsize(bench.words("hung", playbook, "/hangs"), bench.folder.path());
  CHECK(clock.now() - begun < std::chrono::seconds(20));
  sqlite3_close(other);
  CHECK(hung.code == 0);
  REQUIRE(warnings(hung).size() == 2);
  CHECK(warnings(hung)[0].starts_with("capsize: warning: the run is missing in the history: "));
  CHECK(warnings(hung)[1] == "capsize: warning: --webhook: the webhook at 127.0.0.1 did not answer within 5 s");
  CHECK(bench.history()[0].at("runs").size() == 1);

  const Ran nowhere = run_capsize({"--state", (bench.folder / "state").string(), "run", playbook, "--junit", (bench.folder / "none" / "x.xml").string()}, bench.folder.path());
  CHECK(nowhere.code == 69);  // before anything was done
  CHECK(nowhere.err.find("--junit: there is no folder") != std::string::npos);
}
