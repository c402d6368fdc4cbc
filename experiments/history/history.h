// The runs that were, in an SQLite file of the state folder: history.sqlite, tables `runs` and `measures`, which any SQL tool may read.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "experiments/history/run_record.h"

struct sqlite3;

namespace capsize {

inline constexpr int kHistoryFormat = 1;              // PRAGMA user_version
inline constexpr std::size_t kMaxHistoryRuns = 20'000;  // the oldest go
inline constexpr int kHistoryPatience = 1000;         // milliseconds that a lock of another process is waited for

std::filesystem::path history_file(const std::filesystem::path& state);

// All methods throw Error::unavailable: no room, locked by another process, damaged, or written by a newer capsize. Thread: one.
class History {
 public:
  // Makes the file, readable to its owner alone, where there is none.
  static History open_or_make(const std::filesystem::path& file);
  // For reading. Nothing: there is no file, so there were no runs.
  static std::optional<History> open_existing(const std::filesystem::path& file);

  void add(const RunRecord& record);  // a run that is there already is replaced
  std::vector<std::string> playbooks();  // in the order of their names
  std::vector<RunRecord> last(const std::string& playbook, std::size_t count);  // oldest first

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  History(const std::filesystem::path& file, int flags);
  void prepare_tables();
  void execute(const char* sql);
  void add_measures(const RunRecord& record);
  std::vector<MeasureRecord> measures_of(const std::string& run);

  std::filesystem::path file_;
  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace capsize
