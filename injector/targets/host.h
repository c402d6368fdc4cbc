// A whole machine as a target: it has no parameters, "host" of the target says which. And what the kernel says of a machine's processors,
// memory, disks and file systems. The parsers are total: nothing for what is not of that form.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "injector/base/spec.h"

namespace capsize {

struct HostTarget {};
const AnySpec& host_target_spec();

struct CpuTicks {  // of all processors together, since boot
  std::uint64_t busy = 0;   // whoever it was, a hypervisor's other guests (steal) included
  std::uint64_t idle = 0;
  int processors = 0;       // online
  friend bool operator==(const CpuTicks&, const CpuTicks&) = default;
};
std::optional<CpuTicks> parse_cpu_ticks(std::string_view proc_stat);

struct HostMemory {  // bytes
  std::uint64_t total = 0;
  std::uint64_t available = 0;  // what can be had without swapping, as the kernel estimates it
  std::uint64_t swap_total = 0;
  friend bool operator==(const HostMemory&, const HostMemory&) = default;
};
std::optional<HostMemory> parse_meminfo(std::string_view meminfo);
HostMemory memory_of_host();  // throws Error

// "RssAnon:   1024 kB" of /proc/PID/status, "read_bytes: 4096" of /proc/PID/io: the number behind a key, as it stands there.
std::optional<std::uint64_t> number_after(std::string_view text, std::string_view key);

struct DiskTicks {
  std::string name;
  std::uint64_t busy_ms = 0;  // with at least one request under way, since boot
  friend bool operator==(const DiskTicks&, const DiskTicks&) = default;
};
std::optional<DiskTicks> parse_disk_ticks(std::string_view diskstats, unsigned major, unsigned minor);

struct FileSystemSpace {
  std::uint64_t device = 0;        // st_dev: the same for two paths on one file system
  std::uint64_t used = 0;          // bytes
  std::uint64_t available = 0;     // bytes, to those without privilege
  bool in_memory = false;          // tmpfs: what fills it is the machine's memory
  bool read_only = false;
  bool writable = false;           // by us
};
// Of the file system that `path` is on. Throws Error: unavailable (not there), privilege.
FileSystemSpace file_system_space(const std::string& path);

std::string whole_file(const std::string& path);  // empty: not there, or not ours to read
std::string show_bytes(std::uint64_t bytes);      // "1.5 GiB", for people

// A path of a fault's parameters: absolute, at most 4000 bytes, without a zero byte.
Rule<std::string> absolute_path();

}  // namespace capsize
