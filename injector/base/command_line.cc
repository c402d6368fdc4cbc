#include "injector/base/command_line.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "injector/base/error.h"

namespace capsize {
namespace {

bool can_be_executed(const std::string& file) {
  std::error_code problem;
  return std::filesystem::is_regular_file(file, problem) && ::access(file.c_str(), X_OK) == 0;
}

}  // namespace

Rule<std::vector<std::string>> command_line() {
  return {[](const std::vector<std::string>& words) -> std::optional<Mistake> {
            if (words.size() > 64) return Mistake{"a command of more than 64 words", "put it in a script, and name the script"};
            if (words.empty() || words.front().empty()) return Mistake{"a command without a name", "write the program first, as [\"ssh\", \"edge-1\"]"};
            return std::nullopt;
          },
          nullptr};
}

void require_program(const std::string& program) {
  if (program.find('/') != std::string::npos) {
    if (can_be_executed(program)) return;
  } else if (const char* path = std::getenv("PATH")) {
    std::istringstream folders(path);
    for (std::string folder; std::getline(folders, folder, ':');) {
      if (can_be_executed(folder + "/" + program)) return;
    }
  }
  throw Error(ErrorKind::unavailable, program + " cannot be executed", "see whether it is installed here and may be run; a name without a slash is looked up in PATH");
}

}  // namespace capsize
