// The runs that were: what is kept of one, what is said of several, and that the file never breaks what it is beside.
#include "experiments/history/history.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "experiments/history/history_text.h"
#include "injector/base/error.h"
#include "report_checks.h"
#include "report_samples.h"
#include "tests/injector/scratch_dir.h"

using namespace capsize;

namespace {

RunRecord record(const Sample& sample, const std::string& run, const std::string& started = "2026-11-22T22:00:00.000Z") {
  RunRecord out = record_of("/somewhere/favourite.json", sample.playbook, sample.verdict, "/runs/" + run);
  out.run = run;
  out.started = started;
  return out;
}

// Nightly runs that recovered within these seconds.
std::vector<RunRecord> nights(const std::vector<double>& recoveries) {
  std::vector<RunRecord> out;
  for (std::size_t i = 0; i < recoveries.size(); ++i) {
    RunRecord one = record(held_sample(), "night-" + std::to_string(i), "2026-11-" + std::to_string(10 + i) + "T22:00:00.000Z");
    one.recovery_seconds = recoveries[i];
    out.push_back(std::move(one));
  }
  return out;
}

std::vector<std::string> texts(const std::vector<Change>& all) {
  std::vector<std::string> out;
  for (const Change& change : all) out.push_back(change.text());
  return out;
}

MeasureRecord success(double value, double low, double high, const std::string& holds = "yes") {
  return {"login.success_ratio at least 95% during fault", "login.success_ratio", "fault", "ratio", holds, value, low, high};
}

RunRecord with(std::vector<MeasureRecord> measures) {
  RunRecord out;
  out.outcome = "held";
  out.measures = std::move(measures);
  return out;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("a run is kept with its outcome, recovery and every measure of its verdict", "[history]") {
  const Sample sample = refuted_sample();
  const RunRecord kept = record_of("/somewhere/favourite.json", sample.playbook, sample.verdict, "/runs/x");
  CHECK(kept.playbook == "favourite");
  CHECK(kept.run == sample.verdict["run"].get<std::string>());
  CHECK(kept.outcome == "refuted");
  CHECK(kept.exit_code == 1);
  CHECK(kept.recovered == true);
  CHECK(kept.recovery_seconds == sample.verdict["recovery"]["seconds"].get<double>());
  CHECK(kept.residue == 0);
  CHECK(kept.measures.size() == sample.verdict["findings"].size() - 1 + sample.verdict["steady_state"].size());  // recovery_time has its place
  for (std::size_t i = 0, at = 0; i < sample.verdict["findings"].size(); ++i) {
    const Json& finding = sample.verdict["findings"][i];
    if (finding["evidence"]["measure"] == "recovery_time") continue;
    CHECK(kept.measures[at].expectation == finding["expectation"].get<std::string>());
    CHECK(kept.measures[at].holds == finding["holds"].get<std::string>());
    CHECK(kept.measures[at++].value == finding["evidence"]["value"].get<double>());
  }
  CHECK(record(residue_sample(), "r").residue == 1);
  CHECK(!record(inconclusive_sample(), "r").recovered);
}

TEST_CASE("the shape of a playbook is its faults, expectations and timing, not where its targets are", "[history]") {
  const Sample sample = held_sample();
  Json moved = sample.playbook;
  moved["targets"]["balancer"]["socket"] = "/elsewhere.sock";
  Json changed = sample.playbook;
  changed["faults"][0]["share"] = "81%";
  const auto shape = [&](const Json& playbook) { return record_of("p.json", playbook, sample.verdict, "").shape; };
  CHECK(shape(sample.playbook).size() == 16);
  CHECK(shape(moved) == shape(sample.playbook));
  CHECK(shape(changed) != shape(sample.playbook));
}

TEST_CASE("what comes out of the file is what went in, oldest first, playbook by playbook", "[history]") {
  const ScratchDir folder;
  History history = History::open_or_make(folder / "h.sqlite");
  std::vector<RunRecord> put;
  int hour = 10;
  for (const auto& [name, sample] : all_samples()) put.push_back(record(sample, name, "2026-11-22T" + std::to_string(hour++) + ":00:00.000Z"));
  for (auto one = put.rbegin(); one != put.rend(); ++one) history.add(*one);
  CHECK(history.last("favourite", 100) == put);
  CHECK(history.last("favourite", 2) == std::vector<RunRecord>(put.end() - 2, put.end()));
  RunRecord other = put[0];
  other.playbook = "another";
  other.run = "other";
  history.add(other);
  CHECK(history.playbooks() == Words{"another", "favourite"});
  history.add(other);  // again: once is enough
  auto again = History::open_existing(folder / "h.sqlite");
  REQUIRE(again);
  CHECK(again->last("another", 10) == std::vector<RunRecord>{other});
  CHECK(again->last("none", 10).empty());
}

TEST_CASE("a history is its owner's alone, and no file is no runs", "[history]") {
  const ScratchDir folder;
  CHECK(!History::open_existing(folder / "h.sqlite"));
  CHECK(!std::filesystem::exists(folder / "h.sqlite"));
  History::open_or_make(folder / "h.sqlite").add(nights({1})[0]);
  struct stat info = {};
  REQUIRE(::stat((folder / "h.sqlite").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777u) == 0600u);
}

TEST_CASE("a history that is no database, is a link, or was written by a newer capsize is an error with a remedy", "[history]") {
  const ScratchDir folder;
  write_file(folder / "text", std::string(5000, 'x'));
  std::filesystem::create_symlink(folder / "text", folder / "link");
  const auto problem = [&](const std::string& name) -> std::string {
    try {
      History::open_or_make(folder / name).add(nights({1})[0]);
      return "";
    } catch (const Error& error) {
      CHECK(!error.remedy().empty());
      return error.fact();
    }
  };
  CHECK(problem("text").find("not a database") != std::string::npos);
  CHECK(!problem("link").empty());
  CHECK(file_text(folder / "text") == std::string(5000, 'x'));
  CHECK(problem("good").empty());
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open((folder / "good").c_str(), &raw) == SQLITE_OK);
  CHECK(sqlite3_exec(raw, "PRAGMA user_version = 2", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(raw);
  CHECK(problem("good").find("newer capsize") != std::string::npos);
}

TEST_CASE("a history that another process holds is an error after a second, and nothing is half written", "[history]") {
  const ScratchDir folder;
  History history = History::open_or_make(folder / "h.sqlite");
  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open((folder / "h.sqlite").c_str(), &other) == SQLITE_OK);
  CHECK(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr) == SQLITE_OK);
  CHECK_THROWS_AS(history.add(nights({1})[0]), Error);
  CHECK(sqlite3_exec(other, "COMMIT", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(other);
  CHECK(history.playbooks().empty());
  history.add(nights({1})[0]);
  CHECK(history.last("favourite", 10).size() == 1);
}

TEST_CASE("two nights alike have no changes, a worse one has its outcome, recovery and measures", "[history]") {
  CHECK(changes(record(held_sample(), "a"), record(held_sample(), "b")).empty());
  const auto worse = changes(record(held_sample(), "a"), record(refuted_sample(), "b"));
  REQUIRE(worse.size() >= 3);
  CHECK(worse[0].text() == "outcome: held, now refuted (worse)");
  CHECK(worse[1].what == "recovery time");
  CHECK(worse[1].worse == true);
  CHECK(worse[2].what == "login.success_ratio at least 95% during fault");
  CHECK(worse[2].before.substr(0, 4) == "held");
  CHECK(worse[2].now.substr(0, 6) == "missed");
  const auto better = changes(record(refuted_sample(), "a"), record(held_sample(), "b"));
  CHECK(better[0].text() == "outcome: refuted, now held (better)");
}

TEST_CASE("a value has changed when its interval left that of before, not when chance moved it", "[history]") {
  CHECK(changes(with({success(0.99, 0.98, 0.995)}), with({success(0.985, 0.975, 0.99)})).empty());
  CHECK(texts(changes(with({success(0.99, 0.98, 0.995)}), with({success(0.96, 0.95, 0.97)}))) == Words{"login.success_ratio at least 95% during fault: 99 %, now 96 % (worse)"});
  MeasureRecord lost{"login.wrongly_accepted at most 0 during run", "login.wrongly_accepted", "run", "count", "yes", 10, 10, 10};
  MeasureRecord more = lost;
  more.value = more.low = more.high = 12;
  CHECK(changes(with({lost}), with({more})).empty());  // less than a fifth
  more.value = more.low = more.high = 13;
  CHECK(changes(with({lost}), with({more})).at(0).worse == true);
  more.value = std::nullopt;
  more.holds = "unknown";
  CHECK(!changes(with({lost}), with({more})).at(0).worse.has_value());
}

TEST_CASE("a recovery has changed when it took a second and a fifth more or less", "[history]") {
  const auto change = [](double before, double now) {
    const auto runs = nights({before, now});
    return texts(changes(runs[0], runs[1]));
  };
  CHECK(change(3.2, 4.1).empty());
  CHECK(change(30, 34).empty());
  CHECK(change(3.2, 9.8) == Words{"recovery time: 3.2 s, now 9.8 s (worse)"});
  CHECK(change(9.8, 3.2) == Words{"recovery time: 9.8 s, now 3.2 s (better)"});
}

TEST_CASE("a playbook that asks something else is said to be another", "[history]") {
  RunRecord before = nights({3})[0];
  RunRecord now = before;
  before.shape = "other";
  before.version = "0.0.1";
  CHECK(texts(changes(before, now)) == Words{"the playbook: other faults, expectations or timing, now as it is", std::string("capsize: 0.0.1, now ") + CAPSIZE_VERSION});
  CHECK(trends({before}, now).empty());
}

TEST_CASE("a trend places the last run among at least five before it", "[history]") {
  const auto place = [](std::vector<double> recoveries) {
    auto runs = nights(recoveries);
    const RunRecord last = runs.back();
    runs.pop_back();
    return trends(runs, last).at(0).place;
  };
  CHECK(place({3, 3, 4, 3, 9}) == "few");
  CHECK(place({3, 3, 4, 3, 5, 9}) == "above");
  CHECK(place({3, 3, 4, 3, 5, 1}) == "below");
  CHECK(place({3, 3, 4, 3, 5, 5}) == "within");
  auto runs = nights({3, 3.2, 4, 3, 5, 9});
  const RunRecord last = runs.back();
  runs.pop_back();
  CHECK(trends(runs, last).at(0).text() == "recovery time: 9 s; in the 5 runs before: median 3.2 s, 3 s to 5 s: more than in any of them");
}

TEST_CASE("a run is compared with the one before that was done the same way", "[history]") {
  auto runs = nights({3, 3, 3});
  runs[1].without_faults = true;
  CHECK(run_before({"p", runs})->run == "night-0");
  CHECK(run_before({"p", {runs[0]}}) == nullptr);
  CHECK(run_before({"p", {runs[0], runs[1]}}) == nullptr);
}

TEST_CASE("the history is told as a table with what changed and the trend", "[history]") {
  auto runs = nights({3, 3.2, 4, 3, 5});
  RunRecord last = record(refuted_sample(), "last", "2026-11-20T22:00:00.000Z");
  runs.push_back(last);
  const std::string text = history_text({{"favourite", runs}}, 3);
  INFO(text);
  CHECK(text.find("the last 6 runs: 5 held, 1 refuted") != std::string::npos);
  CHECK(text.find("2026-11-12 22:00") == std::string::npos);  // only the last three
  CHECK(text.find("2026-11-13 22:00  held") != std::string::npos);
  CHECK(text.find("2026-11-20 22:00  refuted") != std::string::npos);
  CHECK(text.find("changed since night-4:\n    outcome: held, now refuted (worse)") != std::string::npos);
  CHECK(text.find("/runs/last/report.html") != std::string::npos);
  const Json json = history_json({{"favourite", runs}}, 3);
  CHECK(json["playbooks"][0]["runs"].size() == 3);
  CHECK(json["playbooks"][0]["since"] == "night-4");
  CHECK(json["playbooks"][0]["changes"][0]["worse"] == true);
  CHECK(json["playbooks"][0]["runs"][2]["recovery"]["recovered"] == true);
}

TEST_CASE("hostile text in the history stays printable", "[history]") {
  for (const std::string& text : hostile_texts()) {
    const Sample sample = hostile_sample(text);
    const std::string shown = history_text({{text, {record(sample, text), record(sample, text + "2")}}}, 5);
    INFO(text);
    CHECK(std::all_of(shown.begin(), shown.end(), [](char c) { return c == '\n' || static_cast<unsigned char>(c) >= 0x20; }));
  }
}
