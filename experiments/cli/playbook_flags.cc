#include "experiments/cli/playbook_flags.h"

#include <fmt/format.h>

#include <fstream>
#include <random>
#include <sstream>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr std::streamsize kMaxVariablesFile = 1 << 20;

std::map<std::string, Json> variables_of(const std::string& file) {
  std::ifstream in(file);
  if (!in) throw Error(ErrorKind::unavailable, fmt::format("cannot read {}", file), "name the lab.json of `capsize lab up`, or a file {\"variables\": {...}}");
  std::string text(static_cast<std::size_t>(kMaxVariablesFile), '\0');
  in.read(text.data(), kMaxVariablesFile);
  text.resize(static_cast<std::size_t>(in.gcount()));
  const Json json = Json::parse(text, nullptr, false, true);
  if (!json.is_object() || !json.contains("variables") || !json["variables"].is_object()) {
    throw Error(ErrorKind::refused, fmt::format("{} has no object \"variables\"", file), "name the lab.json of `capsize lab up`, or a file {\"variables\": {...}}");
  }
  return json["variables"].get<std::map<std::string, Json>>();
}

}  // namespace

std::pair<std::string, std::string> split_assignment(const std::string& text) {
  const std::size_t at = text.find('=');
  if (at == std::string::npos || at == 0) throw Error(ErrorKind::refused, fmt::format("\"{}\" is not an assignment", printable(text)), "write name=value");
  return {text.substr(0, at), text.substr(at + 1)};
}

std::uint64_t chosen_seed(std::uint64_t asked) {
  if (asked != 0) return asked;
  std::random_device random;
  return (std::uint64_t{random()} << 16 | (random() & 0xffffu)) | 1u;
}

void PlaybookFlags::add_to(CLI::App& command) {
  command.add_option("--set", set, "name=value: overrides a variable of the playbook; may be repeated")->take_all()->expected(1, -1)->allow_extra_args(false);
  command.add_option("--variables", variables, "file with values for variables that the playbook has, as the lab.json of `capsize lab up`");
}

PlaybookOptions PlaybookFlags::options() const {
  PlaybookOptions options;
  options.environment = from_environment;
  options.offer = lab;
  if (!variables.empty()) options.offer.merge(variables_of(variables));
  for (const std::string& assignment : set) {
    const auto [name, value] = split_assignment(assignment);
    options.set[name] = value;
  }
  return options;
}

std::optional<Playbook> read_or_complain(const std::string& file, const PlaybookFlags& flags, const CliContext& context) {
  PlaybookResult result = read_playbook_file(file, flags.options());
  if (context.json && !result.diagnostics.ok()) fmt::print("{}\n", Json({{"problems", result.diagnostics.json(file)}}).dump());
  else fmt::print(stderr, "{}", result.diagnostics.text(file));
  return std::move(result.playbook);
}

}  // namespace capsize
