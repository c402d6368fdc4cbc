// Starts a program with exactly the descriptors it is meant to have, in a session of its own, out of reach of a terminal's Ctrl-C.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/task.h"
#include "injector/base/unique_fd.h"

namespace capsize {

struct SpawnRequest {
  std::vector<std::string> command;  // looked up in PATH; "/proc/self/exe" is this very program
  std::map<int, int> descriptors;    // the child's number from ours; 0, 1 and 2 are /dev/null when not named, all others are closed
  bool from_root = false;            // in /, so as to keep no mount busy
  std::map<std::string, std::string> environment = {};  // beside our own, in place of what has the same name
};

struct Child {
  int pid = -1;
  UniqueFd pidfd;
};

struct Ended {
  enum class By { exit, signal, unknown } by = By::unknown;
  int number = 0;  // the exit code, or the signal
};
std::string describe(const Ended& ended);  // "exit code 1", "signal 9"

Child spawn(const SpawnRequest& request);         // throws Error
std::optional<Ended> reap(const Child& child);    // nothing: it has not ended; does not wait
Ended how_it_ended(const Child& child);           // of one that has ended; does not reap
void kill_child(const Child& child);              // SIGKILL, through the pidfd
void kill_group(const Child& child);              // SIGKILL to it and what it has started, but for what has left its process group; before it was reaped
Task<> wait_for_end(int pidfd);                   // cancellable; does not reap

// Both ends closed on exec. Throws Error.
struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
Pipe make_pipe();

}  // namespace capsize
