// The append-only record of a run: the only thing a verdict may read. One JSON object per event, each with "t" (seconds since the start
// of the run, to the millisecond) and "event":
//
//   run       run, title, seed, version, started (wall), playbook (as run, variables filled in, secrets not), without_faults
//   phase     phase: "baseline" | "fault" | "revert" | "recovery" | "escape" | "end"; because; of "escape", watched_until: up to where the recovery was judged
//   window    probe, window: what the probe handed over (probes/probe.h)
//   planned   fault (index), summary, intended, steps, allowed, reason
//   injecting fault: its first change to a machine is about to be made
//   injected  fault, detail: all of them are
//   effect    fault, effect: {intended, measured, bites, because}; the last one counts
//   undo      fault, step, state, because, remedy, detail; the last one of a step counts
//   undone    every fault is undone and read back: the recovery clock starts here; ok: false where an undo was refused or failed
//   escape    share: of the login load, from now on
//   stop      kind: "operator" | "guardrail" | "not_steady" | "error" | "lost"; because
//   gate      holds: "yes" | "no" | "unknown", findings: the steady state over the baseline
//   lateness  probe, and how well the generator kept its schedule (in windows of login probes, too)
//   notice    what, because: anything else a reader should know
//   seal      commitment (SHA-256), causes (how many): of a sealed run, which is chosen and hidden
//   opened    choice (index in "sealed"), name, cause, commitment, opening: it is told
//   note      text; from: "room" where a person said it unasked
//   ask       question, text, within (seconds), scores, answerable
//   answer    question, text, after (seconds since it was asked)
//   unanswered  question, because
#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/json.h"
#include "injector/base/unique_fd.h"

namespace capsize {

class Timeline {
 public:
  // In memory only.
  explicit Timeline(Clock& clock);
  // Also appends each event to `file` as it happens. Throws Error when the file cannot be made.
  Timeline(Clock& clock, const std::filesystem::path& file);

  TimePoint start() const { return start_; }
  double now_seconds() const;

  // Adds "t" and "event". A disk that is full is noted once (see write_problem) and never stops a run or an undo.
  void add(std::string event, Json fields = Json::object());

  const std::vector<Json>& events() const { return events_; }
  const std::string& write_problem() const { return write_problem_; }
  std::string text() const;  // the bytes of timeline.jsonl

  std::function<void(const Json& event)> on_event;  // told of each event after it is recorded

  // What of an event the file and on_event get before unveil(); nothing: none of it. Empty: everything. Set before the first event.
  std::function<std::optional<Json>(const Json& event)> veil;
  // Everything may be seen from now on: the file is written again, whole or not at all (see write_problem). Does not call on_event.
  void unveil();

 private:
  void show(const Json& event);

  Clock& clock_;
  TimePoint start_;
  std::vector<Json> events_;
  std::filesystem::path path_;
  UniqueFd file_;
  std::string write_problem_;
};

// Reads a timeline, up to its last whole line. Throws Error when the file cannot be read or its first event is not "run".
std::vector<Json> read_timeline(const std::filesystem::path& file);

}  // namespace capsize
