// The flags by which every command that reads a playbook gets its variables, and by which one that draws lots gets its chance.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiments/cli/commands.h"
#include "experiments/playbook.h"

namespace capsize {

struct PlaybookFlags {
  std::vector<std::string> set;      // --set name=value
  std::string variables;             // --variables FILE: a JSON object "variables", as lab.json has
  std::map<std::string, Json> lab;   // of `run --lab`

  void add_to(CLI::App& command);
  PlaybookOptions options() const;   // throws Error
};

// Reads and checks; prints every problem on stderr (with --json: on stdout) and throws nothing for them: an empty result is exit 65.
std::optional<Playbook> read_or_complain(const std::string& file, const PlaybookFlags& flags, const CliContext& context);

// What --seed asked for; 0, which is nothing: one by chance. Never 0.
std::uint64_t chosen_seed(std::uint64_t asked);

// "name=value" as a variable's value: JSON where the whole of it is a number, true or false, else text. Throws Error without '='.
std::pair<std::string, std::string> split_assignment(const std::string& text);

}  // namespace capsize
