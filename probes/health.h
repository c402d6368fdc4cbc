// Could the tester itself keep up? A slow system is never blamed on a slow tester, nor the other way round.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "probes/probe.h"

namespace capsize {

// Why the windows of a probe cannot be trusted, if so: past a bound of work that the tester did not, or not in time, send. Pure.
std::optional<std::string> generator_problem(const std::vector<const Window*>& windows);

}  // namespace capsize
