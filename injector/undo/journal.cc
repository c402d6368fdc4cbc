#include "injector/undo/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "injector/base/error.h"
#include "injector/base/param_types.h"

namespace capsize {
namespace {

constexpr std::size_t kReserveBytes = std::size_t{64} << 10;
constexpr std::size_t kReservePerStep = std::size_t{4} << 10;  // its done records; a result is bounded to about 1.5 KiB

std::string file_name(const std::string& run, std::string_view suffix) { return run + std::string(suffix); }

// Nothing: it is not there. Throws Error when it is not a plain file of ours that others cannot write.
std::optional<UniqueFd> open_trusted(const StateDir& state, const std::string& name, int flags) {
  UniqueFd file(openat(state.undo_fd(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  const std::string where = (state.undo_path() / name).string();
  if (!file) {
    if (errno == ENOENT) return std::nullopt;
    if (errno == ELOOP) throw Error(ErrorKind::refused, "undo journal " + where + " is a symbolic link: it is not ours");
    throw system_error(errno, "undo journal " + where);
  }
  struct stat status = {};
  if (fstat(file.get(), &status) != 0) throw system_error(errno, "undo journal " + where);
  if (!S_ISREG(status.st_mode) || status.st_nlink > 1) throw Error(ErrorKind::refused, "undo journal " + where + " is not a plain file with one name");
  if (status.st_uid != geteuid()) {
    throw Error(ErrorKind::refused, fmt::format("undo journal {} belongs to user {}, not to user {}", where, status.st_uid, geteuid()),
                "run capsize as its owner");
  }
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    throw Error(ErrorKind::refused, fmt::format("undo journal {} has mode {:04o}: others could have changed it", where, status.st_mode & 07777u),
                "read it; if it is right, chmod 600 it");
  }
  return file;
}

std::string read_all(int file, const std::string& where) {
  std::string bytes;
  char block[16384];
  for (;;) {
    const ssize_t count = pread(file, block, sizeof block, static_cast<off_t>(bytes.size()));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error(errno, "undo journal " + where);
    if (count == 0) return bytes;
    bytes.append(block, static_cast<std::size_t>(count));
    if (bytes.size() > kMaxJournalBytes) throw Error(ErrorKind::unavailable, fmt::format("undo journal {} is larger than {} bytes", where, kMaxJournalBytes));
  }
}

}  // namespace

void check_run_id(const std::string& run) {
  const auto parsed = parse_name(run);
  if (!std::holds_alternative<Name>(parsed) || run.front() == '.') {
    throw Error(ErrorKind::refused, "a run id may hold letters, digits and _ . : @ - and not begin with a dot; this one does not fit");
  }
}

std::vector<std::string> journal_runs(const StateDir& state, std::string_view suffix) {
  std::vector<std::string> runs;
  UniqueFd folder(openat(state.undo_fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) throw system_error(errno, "undo folder " + state.undo_path().string());
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(fdopendir(folder.get()), &closedir);
  if (!listing) throw system_error(errno, "undo folder " + state.undo_path().string());
  folder.release();
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(listing.get());
    if (!entry && errno != 0) throw system_error(errno, "undo folder " + state.undo_path().string());
    if (!entry) break;
    const std::string_view name(entry->d_name);
    if (name.size() > suffix.size() && name.ends_with(suffix)) runs.emplace_back(name.substr(0, name.size() - suffix.size()));
  }
  std::sort(runs.begin(), runs.end());
  return runs;
}

std::optional<JournalContents> read_journal(const StateDir& state, const std::string& run, std::string_view suffix) {
  const std::string name = file_name(run, suffix);
  try {
    const auto file = open_trusted(state, name, O_RDONLY);
    if (!file) return std::nullopt;
    return parse_journal(read_all(file->get(), (state.undo_path() / name).string()));
  } catch (const Error& problem) {
    JournalContents unread;
    unread.damage = problem.what();
    return unread;
  }
}

bool journal_locked(const StateDir& state, const std::string& run) {
  const UniqueFd file(openat(state.undo_fd(), file_name(run, kJournalSuffix).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  return file && flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

Journal::Journal(StateDir state, std::string run, UniqueFd file) : state_(std::move(state)), run_(std::move(run)), file_(std::move(file)) {}

std::string Journal::name(std::string_view suffix) const { return file_name(run_, suffix); }

std::string Journal::where() const { return "undo journal " + (state_.undo_path() / name()).string(); }

Journal Journal::create(const StateDir& state, const JournalRun& run) {
  check_run_id(run.run);
  const std::string name = file_name(run.run, kJournalSuffix);
  const std::string where = "undo journal " + (state.undo_path() / name).string();
  UniqueFd file(openat(state.undo_fd(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file && errno == EEXIST) {
    throw Error(ErrorKind::residue, fmt::format("run {} has an undo journal here already: {}", run.run, (state.undo_path() / name).string()),
                "run: capsize revert " + run.run);
  }
  if (!file) throw system_error(errno, where, "nothing was injected; make room for the journal or name another folder with CAPSIZE_STATE");
  Journal journal(state.duplicate(), run.run, std::move(file));
  try {
    if (flock(journal.file_.get(), LOCK_EX) != 0) throw system_error(errno, where);
    journal.reserve(kReserveBytes);
    journal.append(run_record(0, run));
    journal.sync_folder();
  } catch (const Error&) {
    unlinkat(state.undo_fd(), name.c_str(), 0);
    throw;
  }
  journal.contents_.run = run;
  return journal;
}

std::optional<Journal> Journal::open(const StateDir& state, const std::string& run) {
  check_run_id(run);
  auto file = open_trusted(state, file_name(run, kJournalSuffix), O_RDWR);
  if (!file) return std::nullopt;
  return Journal(state.duplicate(), run, std::move(*file));
}

bool Journal::gone() const {
  struct stat status = {};
  return fstat(file_.get(), &status) == 0 && status.st_nlink == 0;
}

bool Journal::try_lock() {
  if (flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK || errno == EINTR) return false;
    throw system_error(errno, where());
  }
  struct stat mine = {};
  struct stat named = {};
  const bool same = fstat(file_.get(), &mine) == 0 && fstatat(state_.undo_fd(), name().c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
                    mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
  if (!same) return false;  // finished by another, who removed or renamed it
  contents_ = parse_journal(read_all(file_.get(), where()));
  size_ = contents_.good_bytes;
  reserved_ = size_;
  if (!contents_.damaged() && static_cast<std::size_t>(mine.st_size) > size_ && ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) broken_ = true;
  return true;
}

void Journal::reserve(std::size_t more) {
  const std::size_t wanted = size_ + more + (contents_.steps.size() + 1) * kReservePerStep;
  if (wanted <= reserved_) return;
  const std::size_t target = std::max(wanted, reserved_ + kReserveBytes);
  const int result = fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(target));
  if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR) {
    throw system_error(errno, where(), "nothing was injected; make room for the journal or name another folder with CAPSIZE_STATE");
  }
  reserved_ = target;
}

void Journal::append(const std::string& line) {
  if (broken_ || contents_.damaged()) throw Error(ErrorKind::unavailable, where() + " is damaged: nothing is added to it");
  if (line.size() > kMaxRecordBytes) throw Error(ErrorKind::refused, fmt::format("{}: a record of {} bytes is longer than {}", where(), line.size(), kMaxRecordBytes));
  std::size_t written = 0;
  while (written < line.size()) {
    const ssize_t count = pwrite(file_.get(), line.data() + written, line.size() - written, static_cast<off_t>(size_ + written));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int code = count < 0 ? errno : ENOSPC;
      if (written > 0 && ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) broken_ = true;
      throw system_error(code, where(), "nothing was injected; make room for the journal or name another folder with CAPSIZE_STATE");
    }
    written += static_cast<std::size_t>(count);
  }
  if (fdatasync(file_.get()) != 0) {
    broken_ = true;  // what is on disk cannot be known any more, and a second try would lie
    throw system_error(errno, where() + " cannot be synced", "nothing was injected; look at the disk");
  }
  size_ += line.size();
  contents_.good_bytes = size_;
  ++contents_.records;
}

bool Journal::try_append(const std::string& line) {
  try {
    append(line);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void Journal::sync_folder() {
  if (fsync(state_.undo_fd()) != 0) throw system_error(errno, "undo folder " + state_.undo_path().string() + " cannot be synced");
}

void Journal::add_step(JournalStep step) {
  CAPSIZE_CHECK(contents_.find(step.id) == nullptr);
  const std::string line = step_record(contents_.records, step);
  reserve(line.size());
  append(line);
  contents_.steps.push_back(std::move(step));
}

bool Journal::record_result(const StepId& id, const UndoResult& result, const std::string& at) {
  JournalStep* step = contents_.find(id);
  CAPSIZE_CHECK(step != nullptr);
  const bool written = try_append(done_record(contents_.records, id, result, at));
  step->result = result;
  return written;
}

bool Journal::record_accepted(const StepId& id, const std::string& because, const std::string& at) {
  JournalStep* step = contents_.find(id);
  CAPSIZE_CHECK(step != nullptr);
  const bool written = try_append(accepted_record(contents_.records, id, because, at));
  step->accepted = because;
  return written;
}

void Journal::remove() {
  CAPSIZE_CHECK(!contents_.outstanding());
  fdatasync(file_.get());
  if (unlinkat(state_.undo_fd(), name().c_str(), 0) != 0 && errno != ENOENT) throw system_error(errno, where() + " cannot be removed");
  sync_folder();
}

void Journal::set_aside(std::string_view suffix) {
  fdatasync(file_.get());
  if (renameat(state_.undo_fd(), name().c_str(), state_.undo_fd(), name(suffix).c_str()) != 0) throw system_error(errno, where() + " cannot be renamed");
  sync_folder();
}

}  // namespace capsize
