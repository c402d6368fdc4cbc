// A run's folder and files (pinned; see docs/reports.md), and the list of runs in progress that `capsize stop` reads.
#pragma once
#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/playbook.h"
#include "injector/base/clock.h"
#include "injector/base/json.h"

namespace capsize {

// "20261122-221530-favourite-server-3f2a": sorts by time, tells the playbook, fits a file name.
std::string new_run_id(WallTime now, const std::string& playbook_file);

// Makes runs/<run>/ of the state folder, or `out`. Throws Error, also when `out` already holds a run.
std::filesystem::path make_run_folder(const std::filesystem::path& state, const std::string& run, const std::string& out);

// A run id, or the folder of one. Throws Error when there is none.
std::filesystem::path find_run_folder(const std::filesystem::path& state, const std::string& run_or_folder);

// Writes the whole file or none of it (a temporary name, then rename). `mode` is what it ends with, whatever the umask. Throws Error.
void write_whole(const std::filesystem::path& file, const std::string& text, mode_t mode = 0600);
Json read_json(const std::filesystem::path& file);  // throws Error

// verdict.json, report.html, junit.xml, report.md, and of a game day postmortem.md where there is none yet, from what is in the folder's memory. Throws Error.
void write_reports(const std::filesystem::path& folder, const Json& playbook, const std::vector<Json>& events, const Json& verdict);

// This process as the runner of `run`, for as long as the object lives.
class RunInProgress {
 public:
  RunInProgress(const std::filesystem::path& state, const std::string& run, const std::filesystem::path& folder);
  ~RunInProgress();
  RunInProgress(const RunInProgress&) = delete;
  RunInProgress& operator=(const RunInProgress&) = delete;

 private:
  std::filesystem::path file_;
};

// Those whose runner is alive: [{"run","folder","pid"}].
Json runs_in_progress(const std::filesystem::path& state);

// Asks the runner of `run` to revert and end (SIGTERM, after its identity was proven). Throws Error when there is no such run in progress.
void stop_run(const std::filesystem::path& state, const std::string& run);

}  // namespace capsize
