// Runs a program to its end and keeps what it says, within bounds of time and size. No shell.
#pragma once
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/task.h"

namespace capsize {

inline constexpr std::size_t kMaxProgramOutput = 256 * 1024;  // of each of stdout and stderr; more cannot be written by the program

struct ProgramResult {
  bool ended = false;    // within the limit; else it has been killed
  bool succeeded = false;
  std::string how;       // "exit code 1", "signal 9", "no end within 10s"
  std::string out;
  std::string err;
};

// `command` is looked up in PATH; stdin is /dev/null. Throws Error when it cannot be started. Cancelling kills it. Thread: the coroutine's own.
Task<ProgramResult> run_program(Clock& clock, std::vector<std::string> command, Duration limit);

}  // namespace capsize
