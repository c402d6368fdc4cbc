// Processes of the lab: starting one so that it cannot outlive us, knowing it again by pid and start time, ending it.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/json.h"

namespace capsize {

// A pid alone may mean another process tomorrow; with its start time it can't.
struct LabProcess {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  // clock ticks since boot, field 22 of /proc/PID/stat
  friend bool operator==(const LabProcess&, const LabProcess&) = default;
};

Json to_json(const LabProcess& process);
std::optional<LabProcess> lab_process_from_json(const Json& json);  // nothing for what is none

std::optional<LabProcess> find_lab_process(pid_t pid);  // nothing when there is none, or only a zombie

enum class LabProcessState { running, stopped, gone };  // stopped: by a signal or a tracer
std::string_view to_string(LabProcessState state);
LabProcessState state_of(const LabProcess& process);

struct LabUser {
  uid_t uid = 0;
  gid_t gid = 0;
};

struct LabCommand {
  std::vector<std::string> words;  // the first is a path
  int in = -1;                     // file descriptors; -1: /dev/null
  int out = -1;
  int err = -1;
  bool own_session = false;      // out of reach of the terminal's Ctrl-C
  bool dies_with_parent = false;  // SIGKILL when the thread that started it ends
  std::optional<LabUser> user;    // to become, with no other groups; in the folder / then, as ours may be closed to it
  int passed_on = -1;             // a descriptor above 2 that it gets under the same number
};

// Throws Error (unavailable) when it can't be executed, or can't become that user. No other descriptor of ours is passed on.
LabProcess start(const LabCommand& command);

// Sends `signal` to these very processes, whoever has their pids now. Returns whether any was there.
bool signal_all(const std::vector<LabProcess>& processes, int signal);

// Waits until all have ended; false when some have not by `deadline`. Reaps those that are our children.
bool wait_until_gone(const Clock& clock, const std::vector<LabProcess>& processes, TimePoint deadline);

}  // namespace capsize
