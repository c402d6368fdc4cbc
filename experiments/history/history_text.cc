#include "experiments/history/history_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "experiments/report/words.h"
#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

constexpr std::size_t kColumns = 3;  // measures in the table
constexpr std::size_t kMaxWidth = 48;

using Row = std::vector<std::string>;

std::string when(const std::string& iso) { return iso.size() < 16 || iso[10] != 'T' ? iso : iso.substr(0, 10) + " " + iso.substr(11, 5); }

std::string recovery(const RunRecord& run) {
  if (run.without_faults) return "no fault";
  if (run.recovered == true) return plain_seconds(run.recovery_seconds.value_or(0));
  return run.recovered == false ? "none" : "-";
}

// Of the hypothesis, in the order of the last run's playbook.
std::vector<MeasureRecord> columns(const RunRecord& last) {
  std::vector<MeasureRecord> out;
  for (const MeasureRecord& one : last.measures) {
    if (one.measure.empty() || one.during == "baseline" || out.size() == kColumns) continue;
    const bool known = std::any_of(out.begin(), out.end(), [&](const MeasureRecord& other) { return other.measure == one.measure && other.during == one.during; });
    if (!known) out.push_back(one);
  }
  return out;
}

std::string cell(const RunRecord& run, const MeasureRecord& column) {
  for (const MeasureRecord& one : run.measures) {
    if (one.measure == column.measure && one.during == column.during && one.value) return plain_value(one.kind, *one.value) + (one.holds == "no" ? " !" : one.holds == "unknown" ? " ?" : "");
  }
  return "-";
}

std::string table(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line = " ";
    for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format(" {:<{}} ", row[i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string counts(const std::vector<RunRecord>& runs) {
  std::map<std::string, int> by_outcome;
  for (const RunRecord& run : runs) ++by_outcome[run.outcome];
  std::string out;
  for (const char* outcome : {"held", "refuted", "unrecovered", "inconclusive", "invalid", "aborted", "residue"}) {
    if (by_outcome.count(outcome) > 0) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", by_outcome[outcome], outcome);
  }
  return out;
}

std::string show(const PlaybookHistory& history, std::size_t shown) {
  const RunRecord& last = history.runs.back();
  std::string out = fmt::format("{}  {}\n  {}: {}\n\n", printable(history.playbook), printable(last.title), history.runs.size() == 1 ? "1 run" : fmt::format("the last {} runs", history.runs.size()), counts(history.runs));
  const auto measures = columns(last);
  std::vector<Row> rows = {{"started (UTC)", "outcome", "recovery"}};
  for (const MeasureRecord& one : measures) rows[0].push_back(printable(measure_words(one.measure) + ", " + one.during, kMaxWidth));
  const std::size_t first = history.runs.size() - std::min(shown, history.runs.size());
  for (std::size_t i = first; i < history.runs.size(); ++i) {
    const RunRecord& run = history.runs[i];
    Row row = {printable(when(run.started)), printable(run.outcome), recovery(run)};
    for (const MeasureRecord& one : measures) row.push_back(cell(run, one));
    rows.push_back(std::move(row));
  }
  out += table(rows);
  if (const RunRecord* before = run_before(history)) {
    const auto changed = changes(*before, last);
    out += fmt::format("\n  {} since {}{}\n", changed.empty() ? "nothing changed" : "changed", printable(before->run), changed.empty() ? "" : ":");
    for (const Change& change : changed) out += "    " + printable(change.text(), 400) + "\n";
  }
  const std::vector<RunRecord> earlier(history.runs.begin(), history.runs.end() - 1);
  bool any = false;
  for (const MeasureTrend& trend : trends(earlier, last)) {
    if (trend.place == "few") continue;
    out += fmt::format("{}    {}\n", any ? "" : "\n  the last run among the earlier ones:\n", printable(trend.text(), 400));
    any = true;
  }
  out += fmt::format("\n  its report: {}\n", printable(last.folder + "/report.html", 1000));
  return out;
}

}  // namespace

const RunRecord* run_before(const PlaybookHistory& history) {
  for (std::size_t i = history.runs.size() - 1; i-- > 0;) {
    if (history.runs[i].without_faults == history.runs.back().without_faults) return &history.runs[i];
  }
  return nullptr;
}

std::string history_text(const std::vector<PlaybookHistory>& histories, std::size_t shown) {
  std::string out;
  for (const PlaybookHistory& history : histories) out += (out.empty() ? "" : "\n") + show(history, shown);
  return out;
}

Json history_json(const std::vector<PlaybookHistory>& histories, std::size_t shown) {
  Json out = Json::array();
  for (const PlaybookHistory& history : histories) {
    const RunRecord& last = history.runs.back();
    Json one = {{"playbook", history.playbook}, {"title", last.title}, {"runs", Json::array()}, {"since", nullptr}, {"changes", Json::array()}, {"trends", Json::array()}};
    const std::size_t first = history.runs.size() - std::min(shown, history.runs.size());
    for (std::size_t i = first; i < history.runs.size(); ++i) one["runs"].push_back(to_json(history.runs[i]));
    if (const RunRecord* before = run_before(history)) {
      one["since"] = before->run;
      for (const Change& change : changes(*before, last)) one["changes"].push_back(to_json(change));
    }
    const std::vector<RunRecord> earlier(history.runs.begin(), history.runs.end() - 1);
    for (const MeasureTrend& trend : trends(earlier, last)) one["trends"].push_back(to_json(trend));
    out.push_back(std::move(one));
  }
  return {{"playbooks", std::move(out)}};
}

}  // namespace capsize
