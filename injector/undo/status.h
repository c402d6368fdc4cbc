// What is still injected on this machine, by whom it is held, and how a person takes it away: `capsize status` and `capsize revert`.
#pragma once
#include <string>
#include <vector>

#include "injector/undo/reverter.h"

namespace capsize {

enum class Holder {
  nobody,       // the run is dead: outstanding until somebody reverts it
  in_progress,  // its agent is alive
  reverting,    // its agent is dead; its guard, or a `capsize revert`, is at work
};
std::string_view to_string(Holder holder);

struct JournalStatus {
  std::string run;
  std::string path;
  Holder holder = Holder::nobody;
  JournalContents contents;
};
// Of a sealed run (its id ends so) that is in progress: its steps would tell what it hides from the people who look for it. They are told
// as soon as its agent is dead.
inline constexpr std::string_view kSealedSuffix = "-sealed";
bool is_sealed(const JournalStatus& status);
Json to_json(const JournalStatus& status);  // without the steps where it is sealed

// Every journal of the folder, sorted by run. `boot_id` is that of now. Looks only. Throws Error when the folder cannot be read.
std::vector<JournalStatus> list_journals(const StateDir& state, const std::string& boot_id);
// The journals of a run: its own, and those named RUN@HOST. Empty: there are none.
std::vector<std::string> journals_of(const StateDir& state, const std::string& run);

// Undoes what a dead run owes. Waits `patience` for its guard, and says what the guard has done when it was faster. Empty: nothing is owed
// and nothing is known. Throws Error when the run is in progress, when its guard is still at work, or when the journal is not to be trusted.
Task<std::vector<UndoReport>> revert_run(StateDir state, std::string run, Clock& clock, RevertOptions options, Duration patience = std::chrono::seconds(10));

// An operator has looked and takes over what is there: the journal no longer counts. A damaged one is set aside, not deleted.
// Throws Error when somebody acts on it.
Task<> accept_run(StateDir state, std::string run, std::string because, Clock& clock);

void remove_old_finished(const StateDir& state, Clock& clock);  // journals that a guard finished more than an hour ago

}  // namespace capsize
