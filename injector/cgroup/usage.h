// What a process, or all that is in a cgroup, uses of a controller, and how often a limit was met. Looks only.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "injector/cgroup/cgroup_folder.h"
#include "injector/cgroup/hierarchy.h"
#include "injector/targets/process.h"

namespace capsize {

// "key value" lines, as of cpu.stat, memory.stat and memory.events. Total: what is not of that form is left out.
std::map<std::string, std::uint64_t> parse_counters(std::string_view text);

// Of files with lines as "8:0 Read 123" (version 1) or "8:0 rbytes=123 wbytes=4" (version 2), by device.
struct IoCount {
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
};
using IoByDevice = std::map<std::string, IoCount>;
IoByDevice parse_io_counters(std::string_view text);  // total
IoCount sum_of(const IoByDevice& devices);

// The files that hold the limits of a controller; of those the cgroup has, what they say.
std::map<std::string, std::string> limits_of(const CgroupFolder& cgroup, Controller controller, int version);

struct CpuSample {
  std::optional<double> group_seconds;             // used by the cgroup ever; none: it does not count that
  std::map<int, std::uint64_t> ticks;              // by process, of those that were looked at
  std::uint64_t periods = 0;
  std::uint64_t throttled = 0;
};
CpuSample sample_cpu(const std::optional<CgroupFolder>& cgroup, const std::vector<int>& pids, const ProcFs& proc);
// Of one core, between two samples; a process that ended in between counts for nothing, one that was made counts whole.
double share_between(const CpuSample& first, const CpuSample& second, double window_seconds);

struct MemoryUse {
  std::uint64_t bytes = 0;
  std::uint64_t fixed = 0;      // of them not to be had back without swap: anonymous, shared, the kernel's own
  std::uint64_t hits = 0;       // how often the limit was met
  std::uint64_t kills = 0;      // by the kernel, for want of memory
  friend bool operator==(const MemoryUse&, const MemoryUse&) = default;
};
MemoryUse memory_of(const CgroupFolder& cgroup, int version);
std::optional<MemoryUse> memory_of_process(int pid, const ProcFs& proc);  // resident; nothing: gone
MemoryUse memory_from(int version, const std::map<std::string, std::string>& files);  // pure: of the contents of those files
std::uint64_t free_swap();

IoByDevice io_of(const CgroupFolder& cgroup, int version);

}  // namespace capsize
