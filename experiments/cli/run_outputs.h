// What a run leaves for other programs beside its own folder: a line of the history, a file for a CI server, one for a monitoring system,
// a word to a chat. Written when everything has been undone and judged; whatever goes wrong with it is a line of warning, never another exit code.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "experiments/cli/commands.h"
#include "injector/base/json.h"

namespace capsize {

struct FinishedRun {
  Json playbook;  // as run
  std::vector<Json> events;
  Json verdict;
  std::filesystem::path folder;
};

// A line on stderr; one that cannot be printed is no error.
void warn(const std::string& what, const std::string& problem);

struct RunOutputs {
  std::string junit;       // --junit FILE
  std::string metrics;     // --metrics FILE
  std::string webhook;     // --webhook URL, or CAPSIZE_WEBHOOK
  std::string webhook_ca;  // --webhook-ca FILE

  void add_to(CLI::App& command);
  // Before anything is touched: throws Error where a file could not be written.
  void check() const;
  void write(const CliContext& context, const std::string& playbook_file, const FinishedRun& run) const;
  // The run ended without a verdict: with this exit code, because of that.
  void write_no_run(const std::string& playbook_file, int code, const std::string& because) const;
};

}  // namespace capsize
