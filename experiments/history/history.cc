#include "experiments/history/history.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <cerrno>

#include "injector/base/error.h"
#include "injector/base/unique_fd.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTables = R"(
CREATE TABLE IF NOT EXISTS runs (
  run TEXT PRIMARY KEY, playbook TEXT NOT NULL, title TEXT, outcome TEXT NOT NULL, exit_code INTEGER, because TEXT, started TEXT, ended TEXT,
  version TEXT, shape TEXT, folder TEXT, without_faults INTEGER, recovered INTEGER, recovery_seconds REAL, residue INTEGER);
CREATE INDEX IF NOT EXISTS runs_of_a_playbook ON runs (playbook, started, run);
CREATE TABLE IF NOT EXISTS measures (
  run TEXT NOT NULL, position INTEGER NOT NULL, expectation TEXT, measure TEXT, during TEXT, kind TEXT, holds TEXT, value REAL, low REAL, high REAL,
  PRIMARY KEY (run, position));
)";

Error broken(const fs::path& file, sqlite3* database, int code) {
  const char* remedy = "see whether the disk is full, or move the file away: a new one is begun";
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) remedy = "another process holds it: look again when it is done";
  return Error(ErrorKind::unavailable, fmt::format("the history {}: {}", file.string(), database ? sqlite3_errmsg(database) : sqlite3_errstr(code)), remedy);
}

// One SQL statement with its values; finalised with the object.
class Statement {
 public:
  Statement(const fs::path& file, sqlite3* database, const char* sql) : file_(file), database_(database) {
    const int code = sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr);
    if (code != SQLITE_OK) throw broken(file_, database_, code);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& text(const std::string& value) { return bound(sqlite3_bind_text(statement_, ++next_, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT)); }
  Statement& number(std::int64_t value) { return bound(sqlite3_bind_int64(statement_, ++next_, value)); }
  Statement& real(std::optional<double> value) { return bound(value ? sqlite3_bind_double(statement_, ++next_, *value) : sqlite3_bind_null(statement_, ++next_)); }
  Statement& flag(std::optional<bool> value) { return bound(value ? sqlite3_bind_int(statement_, ++next_, *value ? 1 : 0) : sqlite3_bind_null(statement_, ++next_)); }

  bool step() {  // whether there is a row
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) throw broken(file_, database_, code);
    column_ = 0;
    return code == SQLITE_ROW;
  }
  std::string text() {
    const int column = column_++;
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return bytes == nullptr ? "" : std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
  }
  int number() { return sqlite3_column_int(statement_, column_++); }
  std::optional<double> real() {
    const int column = column_++;
    return sqlite3_column_type(statement_, column) == SQLITE_NULL ? std::nullopt : std::optional(sqlite3_column_double(statement_, column));
  }
  std::optional<bool> flag() {
    const int column = column_++;
    return sqlite3_column_type(statement_, column) == SQLITE_NULL ? std::nullopt : std::optional(sqlite3_column_int(statement_, column) != 0);
  }

 private:
  Statement& bound(int code) {
    if (code != SQLITE_OK) throw broken(file_, database_, code);
    return *this;
  }

  const fs::path& file_;
  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
  int next_ = 0;
  int column_ = 0;
};

// What is not committed is as if it had never been.
class Transaction {
 public:
  explicit Transaction(sqlite3* database) : database_(database) {}
  ~Transaction() {
    if (database_ != nullptr && sqlite3_get_autocommit(database_) == 0) sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

 private:
  sqlite3* database_;
};

}  // namespace

fs::path history_file(const fs::path& state) { return state / "history.sqlite"; }

void History::Close::operator()(sqlite3* database) const { sqlite3_close(database); }

History::History(const fs::path& file, int flags) : file_(file) {
  sqlite3* made = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &made, flags | SQLITE_OPEN_NOFOLLOW, nullptr);
  database_.reset(made);
  if (code != SQLITE_OK) throw broken(file_, database_.get(), code);
  sqlite3_busy_timeout(database_.get(), kHistoryPatience);
  Statement version(file_, database_.get(), "PRAGMA user_version");
  const int format = version.step() ? version.number() : 0;
  if (format > kHistoryFormat) throw Error(ErrorKind::unavailable, fmt::format("the history {} was written by a newer capsize (format {}, this one knows {})", file.string(), format, kHistoryFormat), "use that one, or move the file away");
}

History History::open_or_make(const fs::path& file) {
  const fs::path real = fs::weakly_canonical(file.parent_path()) / file.filename();  // SQLITE_OPEN_NOFOLLOW wants no link on the whole way
  {
    const UniqueFd made(::open(real.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!made) throw system_error(errno, "the history " + real.string(), "make the state folder writable");
  }
  History history(real, SQLITE_OPEN_READWRITE);
  history.prepare_tables();
  return history;
}

std::optional<History> History::open_existing(const fs::path& file) {
  std::error_code ignored, error;
  const fs::path real = fs::weakly_canonical(file.parent_path(), ignored) / file.filename();
  const fs::file_status there = fs::status(real, error);
  if (there.type() == fs::file_type::none) throw system_error(error.value(), "the history " + real.string(), "run it as who ran the runs");
  if (!fs::exists(there) || fs::file_size(real, ignored) == 0) return std::nullopt;
  return History(real, SQLITE_OPEN_READWRITE);  // a run that was killed may have left something to roll back
}

void History::execute(const char* sql) {
  const int code = sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) throw broken(file_, database_.get(), code);
}

void History::prepare_tables() {
  const Transaction transaction(database_.get());
  execute("BEGIN IMMEDIATE");
  execute(kTables);
  execute(fmt::format("PRAGMA user_version = {}", kHistoryFormat).c_str());
  execute("COMMIT");
}

void History::add(const RunRecord& record) {
  const Transaction transaction(database_.get());
  execute("BEGIN IMMEDIATE");
  Statement run(file_, database_.get(), "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  run.text(record.run).text(record.playbook).text(record.title).text(record.outcome).number(record.exit_code).text(record.because).text(record.started).text(record.ended);
  run.text(record.version).text(record.shape).text(record.folder).flag(record.without_faults).flag(record.recovered).real(record.recovery_seconds).number(record.residue);
  run.step();
  add_measures(record);
  Statement old(file_, database_.get(), "DELETE FROM runs WHERE run IN (SELECT run FROM runs ORDER BY started DESC, run DESC LIMIT -1 OFFSET ?)");
  old.number(kMaxHistoryRuns).step();
  execute("DELETE FROM measures WHERE run NOT IN (SELECT run FROM runs)");
  execute("COMMIT");
}

void History::add_measures(const RunRecord& record) {
  Statement(file_, database_.get(), "DELETE FROM measures WHERE run = ?").text(record.run).step();
  std::int64_t position = 0;
  for (const MeasureRecord& one : record.measures) {
    Statement row(file_, database_.get(), "INSERT INTO measures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    row.text(record.run).number(position++).text(one.expectation).text(one.measure).text(one.during).text(one.kind).text(one.holds).real(one.value).real(one.low).real(one.high);
    row.step();
  }
}

std::vector<std::string> History::playbooks() {
  std::vector<std::string> out;
  Statement names(file_, database_.get(), "SELECT DISTINCT playbook FROM runs ORDER BY playbook");
  while (names.step()) out.push_back(names.text());
  return out;
}

std::vector<MeasureRecord> History::measures_of(const std::string& run) {
  std::vector<MeasureRecord> out;
  Statement rows(file_, database_.get(), "SELECT expectation, measure, during, kind, holds, value, low, high FROM measures WHERE run = ? ORDER BY position");
  rows.text(run);
  while (rows.step()) {
    MeasureRecord one;
    for (std::string* field : {&one.expectation, &one.measure, &one.during, &one.kind, &one.holds}) *field = rows.text();
    for (std::optional<double>* field : {&one.value, &one.low, &one.high}) *field = rows.real();
    out.push_back(std::move(one));
  }
  return out;
}

std::vector<RunRecord> History::last(const std::string& playbook, std::size_t count) {
  std::vector<RunRecord> out;
  Statement rows(file_, database_.get(), "SELECT * FROM runs WHERE playbook = ? ORDER BY started DESC, run DESC LIMIT ?");
  rows.text(playbook).number(static_cast<std::int64_t>(count));
  while (rows.step()) {
    RunRecord one;
    for (std::string* field : {&one.run, &one.playbook, &one.title, &one.outcome}) *field = rows.text();
    one.exit_code = rows.number();
    for (std::string* field : {&one.because, &one.started, &one.ended, &one.version, &one.shape, &one.folder}) *field = rows.text();
    one.without_faults = rows.flag().value_or(false);
    one.recovered = rows.flag();
    one.recovery_seconds = rows.real();
    one.residue = rows.number();
    out.insert(out.begin(), std::move(one));
  }
  for (RunRecord& one : out) one.measures = measures_of(one.run);
  return out;
}

}  // namespace capsize
