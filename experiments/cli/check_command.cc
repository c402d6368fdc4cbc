// capsize check PLAYBOOK... | plan PLAYBOOK
#include <fmt/format.h>

#include "experiments/cli/control.h"
#include "experiments/cli/playbook_flags.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

void print_left_out(const Playbook& playbook) {
  for (const auto& [probe, expectations] : playbook.left_out) fmt::print("  left out: the probe {} (its \"only_if\" is empty), and {} expectation{} about it\n", probe, expectations, expectations == 1 ? "" : "s");
}

int check(const std::vector<std::string>& files, const PlaybookFlags& flags, const CliContext& context) {
  int code = 0;
  Json out = Json::array();
  for (const std::string& file : files) {
    const PlaybookResult result = read_playbook_file(file, flags.options());
    const bool good = result.playbook.has_value();
    if (!good) code = kExitBadPlaybook;
    if (context.json) {
      out.push_back({{"file", file}, {"ok", good}, {"problems", result.diagnostics.json(file)}});
      continue;
    }
    fmt::print(stderr, "{}", result.diagnostics.text(file));
    if (good) fmt::print("{}: good\n", printable(file));
    if (good) print_left_out(*result.playbook);
    else fmt::print(stderr, "{}: {} mistake{}\n", printable(file), result.diagnostics.errors(), result.diagnostics.errors() == 1 ? "" : "s");
  }
  if (context.json) fmt::print("{}\n", Json({{"playbooks", out}}).dump());
  return code;
}

void print_op(const char* label, const Json& op) { fmt::print("      {:<6} {} {}\n", label, op.value("op", ""), printable(op.value("args", Json::object()).dump(), 2000)); }

void print_faults(const Json& faults) {
  for (const Json& fault : faults) {
    fmt::print("\n  {} on \"{}\" ({}){}\n", fault.value("fault", ""), printable(fault.value("target", "")), printable(fault["target_params"].dump(), 1000),
               fault.value("host", "").empty() ? " on this machine" : fmt::format(" on host \"{}\"", printable(fault.value("host", ""))));
    fmt::print("    from {:.3g} s for {:.3g} s after the start of the fault phase\n", fault.value("at", 0.0), fault.value("for", 0.0));
    fmt::print("    {}\n", printable(fault.value("summary", ""), 1000));
    fmt::print("    proved by {}\n", fault["observe"].value("op", ""));
    if (!fault["allowed"].empty()) fmt::print("    beyond the default blast radius ({}), because: {}\n", fault["allowed"].dump(), printable(fault.value("reason", "")));
    for (std::size_t i = 0; i < fault["steps"].size(); ++i) {
      fmt::print("    step {}\n", i);
      print_op("apply", fault["steps"][i]["apply"]);
      print_op("undo", fault["steps"][i]["undo"]);
    }
  }
}

void print_plan(const Json& plan) {
  fmt::print("{}\n", printable(plan.value("title", "")));
  print_faults(plan["faults"]);
  const Json sealed = plan.value("sealed", Json::array());
  if (plan["faults"].empty() && sealed.empty()) fmt::print("  no faults: nothing would be changed\n");
  for (const Json& cause : sealed) {
    fmt::print("\nsealed, one of {}: {}: {}\n", sealed.size(), printable(cause.value("name", "")), printable(cause.value("cause", ""), 1000));
    print_faults(cause["faults"]);
  }
  fmt::print("\nNothing was changed.\n");
}

int plan(const std::string& file, const PlaybookFlags& flags, std::uint64_t seed, const CliContext& context) {
  const auto playbook = read_or_complain(file, flags, context);
  if (!playbook) return kExitBadPlaybook;
  SystemClock clock;
  StopSource stop;
  World world = real_world(clock, context, "plan");
  Json plan;
  const auto work = [&]() -> Task<> {
    const auto prepared = co_await prepare(*playbook, world, seed, Purpose::look);
    plan = plan_json(*playbook, *prepared);
    co_await prepared->close();
  };
  run_control(stop, work);
  if (context.json) fmt::print("{}\n", plan.dump(2, ' ', false, Json::error_handler_t::replace));
  else print_plan(plan);
  return 0;
}

}  // namespace

void add_check(CLI::App& app, CliContext& context) {
  struct Flags {
    std::vector<std::string> files;
    std::string file;
    PlaybookFlags variables;
    std::uint64_t seed = 1;
  };
  auto flags = std::make_shared<Flags>();
  auto* check_command = app.add_subcommand("check", "find every mistake of playbooks at once, with place and remedy; sends nothing anywhere");
  check_command->add_option("PLAYBOOK", flags->files, "playbooks (JSON)")->required();
  flags->variables.add_to(*check_command);
  check_command->callback([flags, &context] { context.exit_code = check(flags->files, flags->variables, context); });

  auto* plan_command = app.add_subcommand("plan", "resolve targets, print every step and its undo; looks only, changes nothing");
  plan_command->add_option("PLAYBOOK", flags->file, "the playbook (JSON)")->required();
  flags->variables.add_to(*plan_command);
  plan_command->add_option("--seed", flags->seed, "what a run with this seed would choose by chance");
  plan_command->callback([flags, &context] { context.exit_code = plan(flags->file, flags->variables, flags->seed, context); });
}

}  // namespace capsize
