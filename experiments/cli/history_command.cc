// capsize history [PLAYBOOK]
#include <fmt/format.h>

#include "experiments/cli/commands.h"
#include "experiments/history/history.h"
#include "experiments/history/history_text.h"
#include "injector/base/diagnostics.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr std::size_t kTrendOver = 100;  // runs that the last one is compared with

struct HistoryFlags {
  std::string playbook;
  std::size_t last = 10;
};

int history(const HistoryFlags& flags, const CliContext& context) {
  const auto file = history_file(context.state_dir());
  auto runs = History::open_existing(file);
  std::vector<PlaybookHistory> histories;
  if (runs) {
    const std::string wanted = playbook_key(flags.playbook);
    for (const std::string& playbook : runs->playbooks()) {
      if (!wanted.empty() && playbook != wanted) continue;
      auto last = runs->last(playbook, std::max(flags.last, kTrendOver));
      if (!last.empty()) histories.push_back({playbook, std::move(last)});
    }
  }
  if (histories.empty() && !flags.playbook.empty()) {
    throw Error(ErrorKind::unavailable, fmt::format("there is no run of \"{}\" in the history {}", printable(flags.playbook), file.string()), "see `capsize history`, or name the state folder with --state");
  }
  if (context.json) fmt::print("{}\n", history_json(histories, flags.last).dump(2, ' ', false, Json::error_handler_t::replace));
  else if (histories.empty()) fmt::print("No run has ended here yet ({}).\n", file.string());
  else fmt::print("{}", history_text(histories, flags.last));
  return 0;
}

}  // namespace

void add_history(CLI::App& app, CliContext& context) {
  auto flags = std::make_shared<HistoryFlags>();
  auto* command = app.add_subcommand("history", "the runs that were: outcomes, recovery times, key measures, and what changed since the run before");
  command->add_option("PLAYBOOK", flags->playbook, "of this playbook only: its file, or the file's name without .json");
  command->add_option("--last", flags->last, "so many runs of each playbook (default 10)")->check(CLI::Range(1, 1000));
  command->callback([flags, &context] { context.exit_code = history(*flags, context); });
}

}  // namespace capsize
