// What the history keeps of a run, and what it can say of several: what changed since the run before, and where a run stands among the
// earlier ones. Pure.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "injector/base/json.h"

namespace capsize {

struct MeasureRecord {  // one expectation of the hypothesis or, over the baseline, of the steady state
  std::string expectation;  // as the playbook has it: "login.success_ratio at least 95% during fault"
  std::string measure;      // "login.success_ratio"; empty: the run never came to it
  std::string during;       // "fault"
  std::string kind;         // as in evidence: "ratio" is 0 to 1, "duration" in seconds, "rate" per second, "count", "number"
  std::string holds;        // "yes", "no", "unknown"
  std::optional<double> value, low, high;  // low and high: the 95 % interval
  friend bool operator==(const MeasureRecord&, const MeasureRecord&) = default;
};

struct RunRecord {
  std::string run;
  std::string playbook;  // the playbook file's name without folder and ending: the same night after night
  std::string title, outcome, because;
  int exit_code = 70;
  std::string started, ended;  // ISO 8601
  std::string version;         // of capsize
  std::string shape;           // a digest of faults, expectations and timing: another one is another experiment
  std::string folder;          // of the run's files
  bool without_faults = false;
  std::optional<bool> recovered;
  std::optional<double> recovery_seconds;
  int residue = 0;             // undos that were refused or failed
  std::vector<MeasureRecord> measures;
  friend bool operator==(const RunRecord&, const RunRecord&) = default;
};

// `playbook_file` as given to `capsize run`; `playbook` as run.
RunRecord record_of(const std::string& playbook_file, const Json& playbook, const Json& verdict, const std::string& folder);
std::string playbook_key(const std::string& playbook_file);

struct Change {
  std::string what;         // "outcome", "recovery time", an expectation, ...
  std::string before, now;  // for people
  std::optional<bool> worse;  // nothing: neither better nor worse
  std::string text() const;   // "recovery time: 3.2 s, now 9.8 s"
  friend bool operator==(const Change&, const Change&) = default;
};
// What differs for more than chance: an outcome, an answer, a value whose 95 % interval left that of before; without intervals, one that
// moved by a fifth; a recovery that took a fifth and a second more or less. In that order.
std::vector<Change> changes(const RunRecord& before, const RunRecord& now);

struct MeasureTrend {
  std::string what;   // "recovery time", "login success ratio during the fault"
  std::string kind;
  double now = 0;
  double median = 0, least = 0, most = 0;  // of the runs before
  std::size_t runs = 0;                    // how many of them knew it
  // "above" or "below" all of them, which by chance alone happens once in runs + 1 nights each; "within"; "few": fewer than kTrendRuns.
  std::string place;
  std::string text() const;
};
inline constexpr std::size_t kTrendRuns = 5;
// Where `now` stands among those before it, of the same shape.
std::vector<MeasureTrend> trends(const std::vector<RunRecord>& before, const RunRecord& now);

Json to_json(const RunRecord& record);
Json to_json(const Change& change);
Json to_json(const MeasureTrend& trend);

}  // namespace capsize
