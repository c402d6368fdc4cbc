#include "injector/cgroup/disks.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

std::string first_word(const fs::path& file) {
  std::ifstream in(file);
  std::string out;
  in >> out;
  return out;
}

}  // namespace

std::vector<Disk> all_disks(const std::string& sys) {
  std::vector<Disk> out;
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(fs::path(sys) / "block", problem)) {
    const std::string name = entry.path().filename().string();
    const std::string size = first_word(entry.path() / "size");
    if (size.empty() || size == "0" || name.starts_with("ram") || name.starts_with("zram")) continue;
    const std::string device = first_word(entry.path() / "dev");
    if (!device.empty()) out.push_back({device, name});
  }
  std::sort(out.begin(), out.end(), [](const Disk& a, const Disk& b) { return a.name < b.name; });
  return out;
}

Disk disk_of(const std::string& path, const std::string& sys) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) throw system_error(errno, "the path " + printable(path), "name a file or folder that the process uses");
  const dev_t number = S_ISBLK(info.st_mode) ? info.st_rdev : info.st_dev;
  fs::path folder = fs::path(sys) / "dev/block" / fmt::format("{}:{}", major(number), minor(number));
  std::error_code problem;
  folder = fs::canonical(folder, problem);
  if (problem) {
    throw Error(ErrorKind::unavailable, fmt::format("{} is on no disk of this machine (device {}:{}): a file system in memory, of the network, or laid over others", printable(path), major(number), minor(number)),
                "name a path on a disk, or leave \"path\" out");
  }
  if (fs::exists(folder / "partition", problem)) folder = folder.parent_path();  // only whole disks can be throttled
  return {first_word(folder / "dev"), folder.filename().string()};
}

}  // namespace capsize
