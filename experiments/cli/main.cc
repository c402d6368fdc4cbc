// capsize: tips a staging system over on purpose and proves that it rights itself.
#include <fmt/format.h>

#include <csignal>
#include <iostream>

#include "experiments/cli/commands.h"
#include "injector/base/diagnostics.h"
#include "injector/base/error.h"

namespace {

constexpr const char* kAbout =
    "Tips a staging system over on purpose and proves that it rights itself.\n"
    "\n"
    "  capsize describe                 what faults, probes, targets and measures there are\n"
    "  capsize check PLAYBOOK           every mistake at once, with its line and remedy\n"
    "  capsize plan PLAYBOOK            what it would do and how each step is undone; touches nothing\n"
    "  capsize run PLAYBOOK             baseline, fault, revert, recovery, verdict; Ctrl-C reverts\n"
    "  capsize history                  the runs that were, and what changed since the run before\n"
    "  capsize status                   what is injected on this machine now\n"
    "  capsize revert --all             undo what a crash left behind\n"
    "  capsize doctor                   what any chaos tool has left on this host, and how to undo it\n"
    "\n"
    "Exit codes of a run: 0 held, 1 refuted, 2 unrecovered, 3 inconclusive, 4 invalid, 5 aborted, 6 residue;\n"
    "64 command line, 65 playbook, 69 something is missing or unreachable, 70 a bug of ours, 77 a privilege is missing.";

int say(const capsize::Error& error, bool json) {
  if (json) {
    capsize::Json out = {{"error", capsize::to_json(error)}, {"exit_code", error.exit_code()}};
    fmt::print("{}\n", out.dump(-1, ' ', true, capsize::Json::error_handler_t::replace));
  }
  std::fputs(fmt::format("capsize: {}\n", capsize::printable(error.what(), 2000)).c_str(), stderr);
  return error.exit_code();
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  if (const auto code = capsize::internal_command(argc, argv)) return *code;
  capsize::CliContext context;
  CLI::App app(kAbout, "capsize");
  app.set_version_flag("--version", std::string("capsize ") + CAPSIZE_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  app.add_flag("--json", context.json, "print facts as JSON on stdout");
  app.add_option("--state", context.state, "folder of runs and undo journals (default: CAPSIZE_STATE, else /var/lib/capsize for root, else the XDG state folder)");
  capsize::add_run(app, context);
  capsize::add_check(app, context);
  capsize::add_undo(app, context);
  capsize::add_verdict(app, context);
  capsize::add_history(app, context);
  capsize::add_describe(app, context);
  capsize::add_lab(app, context);
  capsize::add_inject(app, context);
  capsize::add_doctor(app, context);
  try {
    app.parse(argc, argv);
    return context.exit_code;
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : capsize::kExitUsage;
  } catch (const capsize::Error& error) {
    return say(error, context.json);
  } catch (const std::exception& error) {
    return say(capsize::Error(capsize::ErrorKind::bug, std::string("unexpected: ") + error.what(), "this is a bug in capsize"), context.json);
  }
}
