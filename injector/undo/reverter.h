// Carries out the outstanding undos of a journal, newest first: the host's own way, the guard's and `capsize revert`'s.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/host/host.h"
#include "injector/undo/journal.h"

namespace capsize {

using FindOp = std::function<const OpType*(std::string_view)>;

inline constexpr Duration kUndoLimit = std::chrono::seconds(10);  // of one attempt of one undo

struct RevertOptions {
  FindOp find = find_op;
  std::string boot_id;         // of now; another one in the journal means that the machine was restarted
  Duration limit = kUndoLimit;
  int attempts = 5;            // of one undo in a row while it fails, with pauses of 0.1, 0.2, 0.4 ... up to 2 s
  Duration persist = {};       // goes over what failed again until this has passed
  bool again = false;          // also what was undone already: an unread command may have been carried out since
};

// One undo with its limit and attempts. Never throws for what the world says. `find` must know the op, else `failed`.
Task<UndoResult> undo_op(Op undo, RevertOptions options, OpContext context);

// All that is outstanding in a locked journal, newest first; one that fails or is refused does not stop the others. Results are recorded.
// Of a damaged journal what can be read is undone, and one more report (step "journal") says that the rest is unknown.
// `journal` must outlive the call. Not to be cancelled.
Task<std::vector<UndoReport>> revert_journal(Journal& journal, Clock& clock, RevertOptions options);

// The reports of what a journal already says, oldest first.
std::vector<UndoReport> reports_of(const JournalContents& contents);
bool any_left(const std::vector<UndoReport>& reports);  // is one refused or failed?

}  // namespace capsize
