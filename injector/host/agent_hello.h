// The first words of a far end: the agent's hello, whatever a login shell prints around it, and what to tell a person when no agent is
// heard. Pure; agent_link.cc reads and waits.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "injector/base/error.h"

namespace capsize {

// The hello in this line of the far end's stdout, also behind a greeting that was printed without an end of line; nothing: there is none.
std::optional<Json> hello_in(std::string_view line);

// A line of a far end's stderr or stdout as a person is shown it: one line, no control characters, no frames of @.
std::string plain_words(std::string_view line);

struct NoAgent {
  std::string command;  // as it was started
  std::string fact;     // "did not become an agent: exit code 255"
  std::string said;     // on its stderr
  std::string printed;  // on its stdout, where the hello was to come
};

// Always `unavailable`: nothing was touched. The remedy is the one for what the far end said, as far as it is known.
Error no_agent(const NoAgent& found);

}  // namespace capsize
