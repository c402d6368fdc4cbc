// What an undo journal says. Pure: bytes to meaning and back. One record a line: CRC-32 as 8 hex digits, a space, a JSON object.
// Cannot tell is not the same as different, and neither is empty: what is not whole is `damage`, never silently less.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/op_type.h"
#include "injector/targets/process_identity.h"

namespace capsize {

inline constexpr int kJournalFormat = 1;

struct JournalRun {
  std::string run;
  std::string boot_id;
  ProcessIdentity agent;  // who injects
  ProcessIdentity guard;  // who undoes when the agent dies
  std::string began;      // wall time, ISO 8601
};

struct JournalStep {
  StepId id;
  Op undo;
  Lasts lasts = Lasts::persistent;  // what the apply's type says
  Duration lifetime = {};
  std::string at;                    // wall time, ISO 8601
  std::optional<UndoResult> result;  // of the last attempt
  std::string accepted;              // why an operator took over; empty: nobody did
  bool outstanding() const;
};

struct JournalContents {
  std::optional<JournalRun> run;   // nothing: cut off before its first record was whole, so nothing was ever applied
  std::vector<JournalStep> steps;  // oldest first
  std::string damage;              // what is wrong with it; empty: whole
  std::size_t good_bytes = 0;      // of whole records; what follows is the cut-off last one
  std::uint64_t records = 0;

  bool damaged() const { return !damage.empty(); }
  bool outstanding() const;  // is anything owed, or unknown?
  JournalStep* find(const StepId& id);
  const JournalStep* find(const StepId& id) const;
};

// A cut-off last record was never acted upon and is left out. Anything else that is not whole is damage; steps that can be read are
// given all the same, because their undo is safe.
JournalContents parse_journal(std::string_view bytes);

// Lines, with their end. `number` is the place of the record in the journal, from 0.
std::string run_record(std::uint64_t number, const JournalRun& run);
std::string step_record(std::uint64_t number, const JournalStep& step);
std::string done_record(std::uint64_t number, const StepId& id, const UndoResult& result, const std::string& at);
std::string accepted_record(std::uint64_t number, const StepId& id, const std::string& because, const std::string& at);

Lasts lasts_from(std::string_view word);  // throws Error::bug

}  // namespace capsize
