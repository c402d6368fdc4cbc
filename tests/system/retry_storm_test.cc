// The retry storm of experiments/playbooks/retry-storm.json on the real lab. Minutes long, so only by name: system_tests "[slow]"
#include <csignal>

#include "tests/system/machine.h"

using namespace capsize;

namespace {

const std::string kStorm = std::string(CAPSIZE_SOURCE_DIR) + "/experiments/playbooks/retry-storm.json";

std::vector<std::string> words(const TestFolder& folder, const std::string& retries) {
  return {"--state", (folder / "state").string(), "run", "--lab", "as-it-was", "--set", "retries=" + retries, "--out", (folder / "out").string(), kStorm};
}

Json verdict_in(const TestFolder& folder) { return Json::parse(read_text(folder / "out" / "verdict.json")); }

}  // namespace

TEST_CASE("the retry storm on the lab is metastable and escapes at a smaller load", "[.][slow]") {
  const TestFolder folder;
  const Ran ran = run_capsize(words(folder, "2"), folder.path());
  INFO(ran.out << ran.err);
  CHECK(ran.code == 2);
  const Json recovery = verdict_in(folder)["recovery"];
  CHECK(recovery["kind"] == "metastable");
  CHECK(recovery["retry_amplification"]["baseline"].get<double>() < 1.1);
  CHECK(recovery["retry_amplification"]["after"].get<double>() > 2);
  CHECK(recovery["escape"]["escaped"] == true);
  CHECK(read_text(folder / "out" / "report.html").find("logins succeed") != std::string::npos);
}

TEST_CASE("the same playbook without retries recovers on the lab", "[.][slow]") {
  const TestFolder folder;
  const Ran ran = run_capsize(words(folder, "0"), folder.path());
  INFO(ran.out << ran.err);
  CHECK((ran.code == 0 || ran.code == 2));  // 2: later than expected
  CHECK(verdict_in(folder)["recovery"]["recovered"] == true);
  CHECK_FALSE(verdict_in(folder)["recovery"].contains("escape"));
}

TEST_CASE("an interrupt in the escape test ends the run at once, as unrecovered and with its reports", "[.][slow]") {
  const TestFolder folder;
  auto all = words(folder, "2");
  all.insert(all.begin(), capsize_program());
  Spawned run(all, folder / "output");
  REQUIRE(eventually([&] { return read_text(folder / "out" / "timeline.jsonl").find("\"event\":\"escape\"") != std::string::npos; }, std::chrono::seconds(120)));
  run.signal(SIGINT);
  CHECK(run.wait() == 2);
  INFO(run.out() << run.err());
  const Json verdict = verdict_in(folder);
  CHECK(verdict["recovery"]["kind"] == "metastable");
  CHECK(verdict["recovery"]["escape"]["escaped"].is_null());
  CHECK(verdict["phases"]["escape"]["to"].get<double>() - verdict["phases"]["escape"]["from"].get<double>() < 20);
}
