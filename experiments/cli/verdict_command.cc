// capsize judge RUN | report RUN
#include <fmt/format.h>
#include <unistd.h>

#include "experiments/cli/commands.h"
#include "experiments/cli/run_folder.h"
#include "experiments/report/terminal.h"
#include "experiments/timeline.h"
#include "experiments/verdict.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

struct Recorded {
  std::filesystem::path folder;
  Json playbook;
  std::vector<Json> events;
  Json verdict;
};

// Judged again from what was recorded, not read from verdict.json: the same timeline gives the same verdict, whoever asks.
Recorded judge_again(const std::string& run, const CliContext& context) {
  Recorded recorded;
  recorded.folder = find_run_folder(context.state_dir(), run);
  recorded.playbook = read_json(recorded.folder / "playbook.json");
  recorded.events = read_timeline(recorded.folder / "timeline.jsonl");
  const PlaybookResult result = read_playbook(recorded.playbook.dump(), PlaybookOptions{});
  if (!result.playbook) throw Error(ErrorKind::unavailable, fmt::format("{} is no longer a playbook", (recorded.folder / "playbook.json").string()), result.diagnostics.text("playbook.json"));
  recorded.verdict = judge(*result.playbook, recorded.events);
  return recorded;
}

}  // namespace

void add_verdict(CLI::App& app, CliContext& context) {
  auto run = std::make_shared<std::string>();
  auto* judge_command = app.add_subcommand("judge", "judge a recorded run again, from its timeline alone; its exit code is the verdict's");
  judge_command->add_option("RUN", *run, "a run, or its folder")->required();
  judge_command->callback([run, &context] {
    const Recorded recorded = judge_again(*run, context);
    if (context.json) fmt::print("{}\n", recorded.verdict.dump(2, ' ', false, Json::error_handler_t::replace));
    else fmt::print("{}", verdict_text(summarize(recorded.playbook, recorded.events, recorded.verdict), recorded.folder.string(), ::isatty(STDOUT_FILENO) == 1));
    context.exit_code = recorded.verdict.value("exit_code", kExitBug);
  });

  auto* report_command = app.add_subcommand("report", "write verdict.json, report.html, report.md and junit.xml of a recorded run again, and postmortem.md where it is missing");
  report_command->add_option("RUN", *run, "a run, or its folder")->required();
  report_command->callback([run, &context] {
    const Recorded recorded = judge_again(*run, context);
    write_reports(recorded.folder, recorded.playbook, recorded.events, recorded.verdict);
    if (context.json) fmt::print("{}\n", Json({{"folder", recorded.folder.string()}}).dump());
    else fmt::print("{}\n", (recorded.folder / "report.html").string());
  });
}

}  // namespace capsize
