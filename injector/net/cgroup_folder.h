// Where a cgroup that a playbook names is in the file system: its inode there is the id that the kernel knows a socket's cgroup by.
#pragma once
#include <string>

namespace capsize {

// `path`: below the cgroup 2 mount. Throws Error: refused (not a plain path), unavailable (no such cgroup, or no cgroup 2 here).
std::string cgroup_folder(const std::string& path);

}  // namespace capsize
