// The guard: a tiny process in a session of its own that outlives the agent for as long as it takes to undo what the agent injected.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "injector/targets/process_identity.h"
#include "injector/undo/reverter.h"

namespace capsize {

// The guard as a host sees it.
class Guard {
 public:
  virtual ~Guard() = default;
  virtual ProcessIdentity identity() const = 0;
  // Hands over a duplicate of a connection; returns when the guard holds it. Throws Error.
  virtual Task<> share(int fd) = 0;
  // Nothing is left to undo: the guard goes. Without it, the guard undoes what the journal owes as soon as this process is gone.
  virtual void goodbye() = 0;
  // Called once when the guard is dead, silent for kGuardLease, or was told to end: undo everything now.
  std::function<void(std::string because)> on_lost;
};

using StartGuard = std::function<Task<std::unique_ptr<Guard>>(const StateDir& state, std::string run)>;

// Starts `command... --run RUN` (by default this very program's `guard`) and waits until it is ready. Throws Error. Thread: control.
StartGuard guard_process(Clock& clock, std::vector<std::string> command = {"/proc/self/exe", "guard"});

// The guard's own main(): `capsize guard --run RUN`, with the descriptors of guard_wire.h. Returns its exit code.
int guard_main(int argc, char** argv, FindOp find = find_op);

}  // namespace capsize
