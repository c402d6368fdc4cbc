// Where a limit on processes goes: to the cgroup that they have to themselves, or to one of ours that they are moved to. Pure: decided from
// what the look `cgroup.look` says of those that are in one cgroup.
#pragma once
#include <map>
#include <string>

#include "injector/cgroup/limit_step.h"

namespace capsize {

struct Placement {
  LimitStep step;                            // without its changes
  int version = 2;
  std::map<std::string, std::string> values; // the present limits of the cgroup that they are in; empty: its controller is off there
  bool fresh = false;                        // the limits go to a cgroup that has none yet: ours, or one whose controller is off
  std::string words;                         // "by their own cgroup /web.service, in which are 3 processes"
};

// `look`: of one group, of the answer of cgroup.look. `nonce`: of that answer. `index`: tells the cgroups of one plan apart.
// Throws Error: unavailable (no such controller, out of reach), privilege, changed.
Placement place_limits(const Json& look, Controller controller, const std::string& nonce, std::size_t index);

}  // namespace capsize
