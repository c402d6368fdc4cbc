#include "injector/net/cgroup_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

std::string cgroup2_mount() {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(" - cgroup2 ") == std::string::npos) continue;
    std::istringstream words(line);
    std::string id, parent, device, root, path;
    words >> id >> parent >> device >> root >> path;
    return path;
  }
  throw Error(ErrorKind::unavailable, "no cgroup 2 hierarchy is mounted here", "select by user, address or port, or mount -t cgroup2");
}

}  // namespace

std::string cgroup_folder(const std::string& path) {
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '/');) {
    if (part == "." || part == "..") throw Error(ErrorKind::refused, printable(path) + " is not the plain path of a cgroup", "write it as /proc/PID/cgroup does, behind \"0::\"");
  }
  const std::string mount = cgroup2_mount();
  std::string folder = mount + "/" + path;
  std::error_code problem;
  if (std::filesystem::is_directory(folder, problem)) return folder;
  throw Error(ErrorKind::unavailable, fmt::format("no cgroup {} is below {}", printable(path), mount), "look for it in /proc/PID/cgroup of the process that is meant, without the leading \"0::/\"");
}

}  // namespace capsize
