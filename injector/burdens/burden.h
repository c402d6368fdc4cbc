// A burden: something that capsize itself does to a whole machine for as long as one process of its own lives, the bearer (`capsize
// burden`). All of it is in that process: threads, memory, files without a name. So one SIGKILL ends it whole, nothing of it can be left
// behind, and the kernel sends that SIGKILL when the agent is gone, however the agent ended. (Only a command that a playbook names is a
// process beside it, in a pid namespace that ends with the bearer.)
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "injector/base/json.h"

namespace capsize {

class Burden {
 public:
  virtual ~Burden() = default;
  // Takes it up, whole; may take seconds. Calls `begun` when it is certain that it can. Returns what the apply reports. Throws Error.
  virtual Json take_up(const std::function<void()>& begun) = 0;
  // Called every 200 ms from then on: the machine goes on changing.
  virtual void follow() {}
};

// Each from its order, the JSON that host.burden was given; what is not one throws Error::bug. Thread: the bearer's first.
std::unique_ptr<Burden> cpu_burden(const Json& order);      // {"cpus": [0, 1], "share": 0.5}
std::unique_ptr<Burden> memory_burden(const Json& order);   // {"bytes": n} or {"leave": n}; "floor": n never to be left less than
std::unique_ptr<Burden> disk_burden(const Json& order);     // {"path", "leave": n, "floor": n}
std::unique_ptr<Burden> io_burden(const Json& order);       // {"path", "reads": true, "writes": true, "bytes_per_second", "workers", "block", "file_bytes", "seed"}
std::unique_ptr<Burden> clock_burden(const Json& order);    // {"command": [...], "shift": seconds, "library"}

// What a program is started with so that it sees that clock, beside what it has anyway.
std::map<std::string, std::string> clock_environment(const std::string& library, double shift);

std::unique_ptr<Burden> burden_of(const Json& order);       // by its "burden": "cpu", "memory", "disk", "io", "clock"

}  // namespace capsize
