// capsize describe [NAME] | schema | docs
#include <fmt/format.h>

#include "experiments/cli/commands.h"
#include "experiments/describe.h"
#include "experiments/reference_docs.h"
#include "experiments/schema.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

void print(const Description& description, const CliContext& context) {
  if (context.json) fmt::print("{}\n", description.json.dump(2));
  else fmt::print("{}", description.text);
}

int describe_one(const std::string& name, const CliContext& context) {
  const auto found = describe(name);
  if (const auto* mistake = std::get_if<Mistake>(&found)) {
    fmt::print(stderr, "capsize: {}; {}\n", mistake->fact, mistake->remedy);
    return kExitUsage;
  }
  print(std::get<Description>(found), context);
  return 0;
}

struct DocsFlags {
  std::string write;
  std::string check;
};

int docs(const DocsFlags& flags) {
  const auto problems = flags.write.empty() ? check_docs(flags.check) : write_docs(flags.write);
  for (const DocsProblem& problem : problems) fmt::print("{}: {}\n", problem.page, problem.what);
  return flags.write.empty() && !problems.empty() ? 1 : 0;
}

}  // namespace

void add_describe(CLI::App& app, CliContext& context) {
  auto name = std::make_shared<std::string>();
  auto* describe_command = app.add_subcommand("describe", "what faults, probes, targets and measures there are; or one of them, with an example");
  describe_command->add_option("NAME", *name, "as balancer.skew, login.http, haproxy, recovery_time");
  describe_command->callback([name, &context] {
    if (name->empty()) print(describe_all(), context);
    else context.exit_code = describe_one(*name, context);
  });

  app.add_subcommand("schema", "the JSON Schema (2020-12) of playbooks, for editors")->callback([] { fmt::print("{}\n", playbook_schema().dump(2)); });

  auto flags = std::make_shared<DocsFlags>();
  auto* docs_command = app.add_subcommand("docs", "the generated tables of the reference docs")->group("");
  docs_command->add_option("--write", flags->write, "bring the pages below this docs folder up to date");
  docs_command->add_option("--check", flags->check, "exit 1 when a page below this docs folder is not up to date");
  docs_command->require_option(1);
  docs_command->callback([flags, &context] { context.exit_code = docs(*flags); });
}

}  // namespace capsize
