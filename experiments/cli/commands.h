// The subcommands of `capsize`. Each file of this folder adds its own; main.cc turns what they throw into exit codes.
#pragma once
#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace capsize {

// What every subcommand has.
struct CliContext {
  bool json = false;          // --json: facts as JSON on stdout
  std::string state;          // --state DIR, else CAPSIZE_STATE, else the default folder
  int exit_code = 0;          // what the chosen subcommand came to
  std::filesystem::path state_dir() const;
};

void add_run(CLI::App& app, CliContext& context);       // run
void add_check(CLI::App& app, CliContext& context);     // check, plan
void add_undo(CLI::App& app, CliContext& context);      // status, revert, stop
void add_verdict(CLI::App& app, CliContext& context);   // judge, report
void add_history(CLI::App& app, CliContext& context);   // history
void add_describe(CLI::App& app, CliContext& context);  // describe, schema, docs
void add_lab(CLI::App& app, CliContext& context);       // lab up|down|status
void add_inject(CLI::App& app, CliContext& context);    // inject, probe
void add_doctor(CLI::App& app, CliContext& context);    // doctor

// agent and guard, which are not for people: their exit code, or nothing when the words are for the parser.
std::optional<int> internal_command(int argc, char** argv);

}  // namespace capsize
