// capsize status | revert [RUN] | stop RUN
#include <fmt/format.h>

#include "experiments/cli/commands.h"
#include "experiments/cli/control.h"
#include "experiments/cli/run_folder.h"
#include "injector/base/error.h"
#include "injector/undo/status.h"

namespace capsize {
namespace {

std::vector<JournalStatus> journals(const CliContext& context) {
  const auto state = StateDir::open_existing(context.state_dir());
  if (!state) return {};
  return list_journals(*state, boot_id());
}

void print_journal(const JournalStatus& journal) {
  fmt::print("{}  ({})\n", printable(journal.run), journal.holder == Holder::in_progress ? "in progress" : journal.holder == Holder::reverting ? "being reverted" : "its run is dead");
  if (is_sealed(journal)) fmt::print("  sealed: what is injected is told at the end of the run\n");
  for (const JournalStep& step : journal.contents.steps) {
    if (!step.outstanding() || is_sealed(journal)) continue;
    fmt::print("  {}  {}  since {}{}\n", printable(step.id), printable(step.undo.type), printable(step.at),
               step.result ? fmt::format(": {}: {}", to_string(step.result->state), printable(step.result->because)) : std::string());
  }
  if (journal.contents.damaged()) fmt::print("  the journal is damaged: {}\n", printable(journal.contents.damage));
}

bool owed(const JournalStatus& journal) { return journal.contents.outstanding(); }

// Exit 0: nothing is injected; 6: something is that nobody is about to undo; 5: a run is in progress.
int status(const CliContext& context) {
  const auto all = journals(context);
  const Json running = runs_in_progress(context.state_dir());
  int code = 0;
  Json listed = Json::array();
  for (const JournalStatus& journal : all) {
    listed.push_back(to_json(journal));
    if (owed(journal) && journal.holder == Holder::nobody) code = kExitResidue;
  }
  if (context.json) {
    fmt::print("{}\n", Json({{"clean", code == 0}, {"journals", listed}, {"in_progress", running}}).dump(-1, ' ', false, Json::error_handler_t::replace));
    return code;
  }
  for (const Json& run : running) fmt::print("run in progress: {}  (pid {}; stop it with: capsize stop {})\n", run.value("run", ""), run.value("pid", 0), run.value("run", ""));
  bool any = false;
  for (const JournalStatus& journal : all) {
    if (!owed(journal)) continue;
    if (!any) fmt::print("Injected on this machine now:\n");
    any = true;
    print_journal(journal);
    if (journal.holder == Holder::nobody) fmt::print("  undo it with:  capsize revert {}\n", printable(journal.run));
  }
  if (!any) fmt::print("Nothing is injected on this machine.\n");
  return code;
}

struct RevertFlags {
  std::string run;
  bool all = false;
  std::string accept;
};

void print_reports(const std::string& run, const std::vector<UndoReport>& reports) {
  if (reports.empty()) fmt::print("{}: nothing to undo\n", printable(run));
  for (const UndoReport& report : reports) {
    fmt::print("{}  {}: {}: {}\n", printable(run), printable(report.step), to_string(report.result.state), printable(report.result.because, 1000));
    if (!report.result.remedy.empty() && (report.result.state == UndoState::refused || report.result.state == UndoState::failed)) fmt::print("    {}\n", printable(report.result.remedy, 1000));
  }
}

std::vector<std::string> chosen_runs(const RevertFlags& flags, const CliContext& context) {
  std::vector<std::string> runs;
  if (!flags.run.empty() && !flags.all) {
    const auto state = StateDir::open_existing(context.state_dir());
    if (state) runs = journals_of(*state, flags.run);
    if (runs.empty()) runs.push_back(flags.run);
    return runs;
  }
  for (const JournalStatus& journal : journals(context)) {
    if (journal.holder != Holder::in_progress) runs.push_back(journal.run);
    else fmt::print(stderr, "{}: in progress, left alone; stop it with: capsize stop {}\n", printable(journal.run), printable(journal.run));
  }
  return runs;
}

int revert(const RevertFlags& flags, const CliContext& context) {
  if (flags.run.empty() && !flags.all) throw Error(ErrorKind::refused, "which run?", "name it, or write --all; `capsize status` lists them");
  if (!flags.accept.empty() && flags.all) throw Error(ErrorKind::refused, "--accept takes over what is there for one run", "name that run");
  SystemClock clock;
  StopSource stop;
  Json out = Json::array();
  bool left = false;
  const auto state = StateDir::open_existing(context.state_dir());
  const auto runs = chosen_runs(flags, context);
  const auto work = [&]() -> Task<> {
    for (const std::string& run : runs) {
      if (!state) continue;
      if (!flags.accept.empty()) {
        co_await accept_run(state->duplicate(), run, flags.accept, clock);
        if (!context.json) fmt::print("{}: what is there is accepted and no longer counts\n", printable(run));
        continue;
      }
      RevertOptions options;
      options.boot_id = boot_id();
      const auto reports = co_await revert_run(state->duplicate(), run, clock, options);
      left = left || any_left(reports);
      Json listed = Json::array();
      for (const UndoReport& report : reports) listed.push_back(to_json(report));
      out.push_back({{"run", run}, {"undos", listed}});
      if (!context.json) print_reports(run, reports);
    }
  };
  run_control(stop, work);
  if (context.json) fmt::print("{}\n", Json({{"clean", !left}, {"runs", out}}).dump(-1, ' ', false, Json::error_handler_t::replace));
  else if (runs.empty()) fmt::print("Nothing to undo on this machine.\n");
  return left ? kExitResidue : 0;
}

}  // namespace

void add_undo(CLI::App& app, CliContext& context) {
  auto* status_command = app.add_subcommand("status", "what is injected on this machine now; exit 0 nothing that is owed, 6 something a dead run left");
  status_command->callback([&context] { context.exit_code = status(context); });

  auto flags = std::make_shared<RevertFlags>();
  auto* revert_command = app.add_subcommand("revert", "undo what a dead run left on this machine; safe to repeat");
  revert_command->add_option("RUN", flags->run, "the run, as `capsize status` names it");
  revert_command->add_flag("--all", flags->all, "every run that is not in progress");
  revert_command->add_option("--accept", flags->accept, "do not undo: you looked, and take over what is there; say why");
  revert_command->callback([flags, &context] { context.exit_code = revert(*flags, context); });

  auto run = std::make_shared<std::string>();
  auto* stop_command = app.add_subcommand("stop", "the stop button: the run reverts and ends as aborted");
  stop_command->add_option("RUN", *run, "the run, as `capsize status` names it")->required();
  stop_command->callback([run, &context] {
    stop_run(context.state_dir(), *run);
    if (context.json) fmt::print("{}\n", Json({{"stopping", *run}}).dump());
    else fmt::print("{} is reverting\n", printable(*run));
  });
}

}  // namespace capsize
