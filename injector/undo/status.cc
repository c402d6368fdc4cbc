#include "injector/undo/status.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr Duration kPause = std::chrono::milliseconds(20);
constexpr auto kKeepFinished = std::chrono::hours(1);

Holder holder_of(const StateDir& state, const std::string& run, const JournalContents& contents, const std::string& boot) {
  const bool locked = journal_locked(state, run);
  if (contents.run && contents.run->boot_id == boot) {
    const Liveness agent = liveness(contents.run->agent);
    if (agent == Liveness::alive || (agent == Liveness::unknown && locked)) return Holder::in_progress;
    if (liveness(contents.run->guard) == Liveness::alive) return Holder::reverting;
  }
  return locked ? Holder::reverting : Holder::nobody;
}

Error busy(const std::string& run, const JournalStatus& status) {
  if (status.holder == Holder::in_progress) {
    return Error(ErrorKind::unavailable, fmt::format("run {} is in progress (agent: process {})", run, status.contents.run ? status.contents.run->agent.pid : 0),
                 "end it with: capsize stop " + run);
  }
  const int guard = status.contents.run ? status.contents.run->guard.pid : 0;
  return Error(ErrorKind::residue, fmt::format("run {} is being undone by its guard (process {}), which has not finished", run, guard),
               fmt::format("look again with capsize status; if it stays so, end process {} and run capsize revert {}", guard, run));
}

JournalStatus status_of(const StateDir& state, const std::string& run, const std::string& boot, JournalContents contents) {
  JournalStatus status;
  status.run = run;
  status.path = (state.undo_path() / (run + std::string(kJournalSuffix))).string();
  status.contents = std::move(contents);
  status.holder = holder_of(state, run, status.contents, boot);
  return status;
}

// The journal, locked, with nobody else left to act on it; nothing when there is none (any more).
Task<std::optional<Journal>> take(const StateDir& state, std::string run, Clock& clock, std::string boot, Duration patience) {
  const TimePoint end = clock.now() + patience;
  for (;;) {
    auto contents = read_journal(state, run);
    if (!contents) co_return std::nullopt;
    const JournalStatus status = status_of(state, run, boot, std::move(*contents));
    if (status.holder == Holder::in_progress) throw busy(run, status);
    if (status.holder == Holder::nobody) {
      auto journal = Journal::open(state, run);
      if (!journal) co_return std::nullopt;
      if (journal->try_lock()) co_return journal;
    }
    if (clock.now() >= end) throw busy(run, status);
    co_await clock.sleep(kPause);
  }
}

}  // namespace

std::string_view to_string(Holder holder) {
  switch (holder) {
    case Holder::in_progress: return "in_progress";
    case Holder::reverting: return "reverting";
    case Holder::nobody: break;
  }
  return "nobody";
}

bool is_sealed(const JournalStatus& status) {
  return status.holder == Holder::in_progress && status.run.substr(0, status.run.find('@')).ends_with(kSealedSuffix);
}

Json to_json(const JournalStatus& status) {
  Json steps = Json::array();
  const std::vector<UndoReport> reports = is_sealed(status) ? std::vector<UndoReport>() : reports_of(status.contents);
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const JournalStep& step = status.contents.steps[i];
    Json json = {{"step", step.id}, {"undo", to_json(step.undo)}, {"lasts", to_string(step.lasts)}, {"at", step.at}, {"outstanding", step.outstanding()}};
    if (step.result || !step.accepted.empty()) json["result"] = to_json(reports[i].result);
    steps.push_back(std::move(json));
  }
  Json json = {{"run", status.run}, {"path", status.path}, {"holder", to_string(status.holder)}, {"outstanding", status.contents.outstanding()}};
  json["steps"] = std::move(steps);
  json["sealed"] = is_sealed(status);
  json["damage"] = status.contents.damage;
  if (status.contents.run) {
    json["began"] = status.contents.run->began;
    json["agent_pid"] = status.contents.run->agent.pid;
    json["guard_pid"] = status.contents.run->guard.pid;
  }
  return json;
}

std::vector<JournalStatus> list_journals(const StateDir& state, const std::string& boot) {
  std::vector<JournalStatus> list;
  for (const std::string& run : journal_runs(state)) {
    auto contents = read_journal(state, run);
    if (contents) list.push_back(status_of(state, run, boot, std::move(*contents)));
  }
  return list;
}

std::vector<std::string> journals_of(const StateDir& state, const std::string& run) {
  std::vector<std::string> runs;
  for (std::string& name : journal_runs(state)) {
    if (name == run || name.starts_with(run + "@")) runs.push_back(std::move(name));
  }
  return runs;
}

Task<std::vector<UndoReport>> revert_run(StateDir state, std::string run, Clock& clock, RevertOptions options, Duration patience) {
  check_run_id(run);
  auto journal = co_await take(state, run, clock, options.boot_id, patience);
  std::vector<UndoReport> reports;
  if (!journal) {
    const auto finished = read_journal(state, run, kFinishedSuffix);
    if (finished) reports = reports_of(*finished);
    if (finished) unlinkat(state.undo_fd(), (run + std::string(kFinishedSuffix)).c_str(), 0);
    co_return reports;
  }
  std::map<StepId, UndoReport> now;
  const auto done = co_await revert_journal(*journal, clock, options);
  for (const UndoReport& report : done) now[report.step] = report;
  for (UndoReport report : reports_of(journal->contents())) reports.push_back(now.contains(report.step) ? now[report.step] : report);
  if (now.contains("journal")) reports.push_back(now["journal"]);
  if (!journal->contents().outstanding()) journal->remove();
  co_return reports;
}

Task<> accept_run(StateDir state, std::string run, std::string because, Clock& clock) {
  check_run_id(run);
  const std::string boot = boot_id();
  const Duration at_once = Duration::zero();
  auto journal = co_await take(state, run, clock, boot, at_once);
  if (!journal) throw Error(ErrorKind::unavailable, fmt::format("run {} has no undo journal in {}", run, state.undo_path().string()), "see capsize status");
  if (journal->contents().damaged()) {
    journal->set_aside(kAcceptedSuffix);
    co_return;
  }
  std::vector<StepId> owed;
  for (const JournalStep& step : journal->contents().steps) {
    if (step.outstanding()) owed.push_back(step.id);
  }
  for (const StepId& id : owed) journal->record_accepted(id, because, iso8601(clock.wall()));
  journal->remove();
}

void remove_old_finished(const StateDir& state, Clock& clock) {
  for (const std::string& run : journal_runs(state, kFinishedSuffix)) {
    const std::string name = run + std::string(kFinishedSuffix);
    struct stat status = {};
    if (fstatat(state.undo_fd(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const auto age = std::chrono::duration_cast<std::chrono::seconds>(clock.wall().time_since_epoch()) - std::chrono::seconds(status.st_mtim.tv_sec);
    if (age > kKeepFinished) unlinkat(state.undo_fd(), name.c_str(), 0);
  }
}

}  // namespace capsize
