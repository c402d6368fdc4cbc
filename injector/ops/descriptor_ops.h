// The ops on the limit of open descriptors of a process.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "injector/op_type.h"

namespace capsize {

// {"identities", "spare", "connect"} -> {"processes": [limits, how many are open and free, the limit that would spare so many, and with
// "connect" whether the process takes a connection: "accepted", "not accepted", "not tried"]}
OpType process_descriptors();
// args: {"identity", "was", "hard", "set", "since_ticks"}: the soft limit, in numbers of descriptors
OpType process_limit_descriptors();
OpType process_restore_descriptors();

struct DescriptorLimits {
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
};
std::optional<DescriptorLimits> descriptor_limits_of(int pid);  // nothing: gone. Throws Error when it may not be seen

// The limit under which a process with these open can open `spare` more: a new one gets the lowest free number, and must be below the limit. Pure.
std::uint64_t limit_that_spares(const std::set<int>& open, std::uint64_t spare);
std::uint64_t free_below(const std::set<int>& open, std::uint64_t limit);  // pure

}  // namespace capsize
