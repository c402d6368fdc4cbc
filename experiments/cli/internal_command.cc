// capsize agent | guard | burden: the far ends of a run. Not for people, and kept from the command line's parser: what may run with root reads
// its few words by itself.
#include <cstring>

#include "experiments/cli/commands.h"
#include "injector/burdens/bearer.h"
#include "injector/host/agent.h"
#include "injector/undo/guard.h"

namespace capsize {

std::optional<int> internal_command(int argc, char** argv) {
  if (argc < 2) return std::nullopt;
  if (std::strcmp(argv[1], "agent") == 0) return agent_main(argc, argv);
  if (std::strcmp(argv[1], "guard") == 0) return guard_main(argc, argv);
  if (std::strcmp(argv[1], "burden") == 0) return bearer_main(argc, argv);
  return std::nullopt;
}

}  // namespace capsize
