// A command as a playbook gives it: its words, the program first. It is executed as it stands: no shell reads it.
#pragma once
#include <string>
#include <vector>

#include "injector/base/spec.h"

namespace capsize {

Rule<std::vector<std::string>> command_line();

// Throws Error::unavailable when no such program can be executed: its name is looked up in PATH when it has no slash.
void require_program(const std::string& program);

}  // namespace capsize
