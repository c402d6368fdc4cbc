// One run's undo journal on disk: every undo is in it, synced, before its apply. Whoever acts on a journal holds its flock.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/unique_fd.h"
#include "injector/undo/journal_text.h"
#include "injector/undo/state_dir.h"

namespace capsize {

inline constexpr std::string_view kJournalSuffix = ".journal";
inline constexpr std::string_view kFinishedSuffix = ".done";       // all of it undone with nobody to tell; read once by who asks, then removed
inline constexpr std::string_view kAcceptedSuffix = ".accepted";   // damaged, and an operator has looked; kept for people
inline constexpr std::size_t kMaxJournalBytes = std::size_t{64} << 20;
inline constexpr std::size_t kMaxRecordBytes = std::size_t{256} << 10;

void check_run_id(const std::string& run);  // throws Error::refused for what cannot be part of a file name

// All journals of a folder, by run id, sorted. Throws Error when the folder cannot be read.
std::vector<std::string> journal_runs(const StateDir& state, std::string_view suffix = kJournalSuffix);

// Looks without acting. Total: what cannot be read, or is not to be trusted, comes back as damage. Missing: nothing.
std::optional<JournalContents> read_journal(const StateDir& state, const std::string& run, std::string_view suffix = kJournalSuffix);
bool journal_locked(const StateDir& state, const std::string& run);  // does someone act on it right now?

class Journal {
 public:
  // Makes, locks and syncs a new one. Throws Error: then nothing is there.
  static Journal create(const StateDir& state, const JournalRun& run);
  // Opens one to act on it; nothing when there is none (any more). Not locked yet. Throws Error for what is not to be trusted.
  static std::optional<Journal> open(const StateDir& state, const std::string& run);

  // Takes the flock and reads what is there. False: someone else acts on it, or it is gone; tell them apart with `gone`.
  bool try_lock();
  bool gone() const;

  const JournalContents& contents() const { return contents_; }
  const std::string& run() const { return run_; }

  // Synced when it returns. Throws Error: the step is not in the journal, and must not be applied.
  void add_step(JournalStep step);
  // False: it could not be written (a full disk); known in memory all the same.
  bool record_result(const StepId& id, const UndoResult& result, const std::string& at);
  bool record_accepted(const StepId& id, const std::string& because, const std::string& at);

  void remove();                          // nothing outstanding; throws Error
  void set_aside(std::string_view suffix);  // renamed, for people and for who asks; throws Error

 private:
  Journal(StateDir state, std::string run, UniqueFd file);
  void append(const std::string& line);
  bool try_append(const std::string& line);
  void reserve(std::size_t more);
  void sync_folder();
  std::string name(std::string_view suffix = kJournalSuffix) const;
  std::string where() const;

  StateDir state_;
  std::string run_;
  UniqueFd file_;
  JournalContents contents_;
  std::size_t size_ = 0;
  std::size_t reserved_ = 0;
  bool broken_ = false;  // a sync failed, or a torn record could not be cut off: never written again
};

}  // namespace capsize
