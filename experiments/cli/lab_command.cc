// capsize lab up | down | status
#include <fmt/format.h>

#include "experiments/cli/commands.h"
#include "experiments/lab/lab.h"
#include "injector/base/error.h"
#include "injector/base/param_types.h"

namespace capsize {
namespace {

struct LabFlags {
  std::string profile = "as-it-was";
  int port_base = 0;
  std::string dir;
  int servers = 3;
  int slots = 10;
  std::string service_time = "100ms";
  bool no_database = false;
};

std::filesystem::path lab_dir(const LabFlags& flags, const CliContext& context) { return flags.dir.empty() ? context.state_dir() / "lab" : std::filesystem::path(flags.dir); }

void print_lab(const Json& info, const std::filesystem::path& dir) {
  fmt::print("The \"{}\" lab is up.\n", info.value("profile", ""));
  fmt::print("  {:<18} {}\n", "file", (dir / "lab.json").string());
  const Json variables = info.value("variables", Json::object());
  for (const auto& [name, value] : variables.items()) fmt::print("  {:<18} {}\n", name, value.get<std::string>());
  fmt::print("\nRun a playbook on it:  capsize run --variables {} PLAYBOOK\nTake it down:          capsize lab down\n", (dir / "lab.json").string());
}

void up(const LabFlags& flags, const CliContext& context) {
  LabOptions options;
  options.profile = flags.profile;
  options.port_base = flags.port_base;
  options.dir = lab_dir(flags, context);
  options.servers = flags.servers;
  options.slots = flags.slots;
  options.database = !flags.no_database;
  const auto service_time = parse_duration(flags.service_time);
  if (const auto* mistake = std::get_if<Mistake>(&service_time)) throw Error(ErrorKind::refused, "--service-time: " + mistake->fact, mistake->remedy);
  options.service_time = std::get<Duration>(service_time);
  const Json info = lab_up(options);
  if (context.json) fmt::print("{}\n", info.dump());
  else print_lab(info, options.dir);
}

int status(const LabFlags& flags, const CliContext& context) {
  const Json found = lab_status(lab_dir(flags, context));
  const bool is_up = found.value("up", false);
  if (context.json) {
    fmt::print("{}\n", found.dump());
  } else if (!is_up) {
    fmt::print("No lab is up.  Start one:  capsize lab up --profile as-it-was\n");
  } else {
    fmt::print("The \"{}\" lab is up; its frontend {}.\n", found.value("profile", ""), found["frontend"].value("answering", false) ? "answers" : "does not answer");
    for (const Json& process : found["processes"]) fmt::print("  {:<12} pid {:<8} {}\n", process.value("name", ""), process.value("pid", 0), process.value("state", ""));
  }
  return is_up ? 0 : 1;
}

}  // namespace

void add_lab(CLI::App& app, CliContext& context) {
  auto* lab = app.add_subcommand("lab", "a login service to practise on: HAProxy in front of authentication servers that ask a PostgreSQL, on loopback, without privileges");
  lab->require_subcommand(1);
  auto flags = std::make_shared<LabFlags>();
  auto* up_command = lab->add_subcommand("up", "start it; it stays until `lab down`");
  up_command->add_option("--profile", flags->profile, "as-it-was (the outage's configuration) or hardened")->check(CLI::IsMember({"as-it-was", "hardened"}))->capture_default_str();
  up_command->add_option("--port-base", flags->port_base, "port of the frontend; the servers follow, then the database (default: free ones)");
  up_command->add_option("--servers", flags->servers, "how many authentication servers")->capture_default_str();
  up_command->add_option("--slots", flags->slots, "logins that a server works on at once")->capture_default_str();
  up_command->add_option("--service-time", flags->service_time, "time a login takes in its slot")->capture_default_str();
  up_command->add_flag("--no-database", flags->no_database, "users made up by the servers, instead of a PostgreSQL that they ask on each login");
  auto* down_command = lab->add_subcommand("down", "end it and everything it started");
  auto* status_command = lab->add_subcommand("status", "is it up, and does it answer? exit 0 when up, 1 when not");
  for (CLI::App* command : {up_command, down_command, status_command}) command->add_option("--dir", flags->dir, "its folder (default: lab/ of the state folder)");
  up_command->callback([flags, &context] { up(*flags, context); });
  status_command->callback([flags, &context] { context.exit_code = status(*flags, context); });
  down_command->callback([flags, &context] {
    const bool ended = lab_down(lab_dir(*flags, context));
    if (context.json) fmt::print("{}\n", Json({{"ended", ended}}).dump());
    else fmt::print("{}\n", ended ? "The lab is down." : "No lab was up.");
  });
  auto* serve = lab->add_subcommand("serve", "the supervisor itself: internal")->group("");
  serve->prefix_command()->fallthrough(false);
  serve->callback([serve, &context] { context.exit_code = lab_serve_main(serve->remaining()); });
}

}  // namespace capsize
