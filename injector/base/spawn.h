// Starts a program with exactly the descriptors it is meant to have, in a session of its own, out of reach of a terminal's Ctrl-C.
#pragma once
#include <map>
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

Child spawn(const SpawnRequest& request);          // throws Error
bool reap(const Child& child, std::string& how);   // has it ended? `how`: "exit code 1", "signal 9"; does not wait
void kill_child(const Child& child);               // SIGKILL, through the pidfd
Task<> wait_for_end(int pidfd);                    // cancellable; does not reap

// Both ends closed on exec. Throws Error.
struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
Pipe make_pipe();

}  // namespace capsize
