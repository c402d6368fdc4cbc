// The disks of this machine, as cgroups throttle them: whole ones, by "major:minor".
#pragma once
#include <string>
#include <vector>

namespace capsize {

struct Disk {
  std::string device;  // "254:0"
  std::string name;    // "vda"
  friend bool operator==(const Disk&, const Disk&) = default;
};

// All that hold anything, but no memory that looks like one. Thread: any.
std::vector<Disk> all_disks(const std::string& sys = "/sys");

// The one that holds `path`, a file, a folder or a block device. Throws Error: unavailable (no such path; no disk below it, as tmpfs, NFS or overlay).
Disk disk_of(const std::string& path, const std::string& sys = "/sys");

}  // namespace capsize
