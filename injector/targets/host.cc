#include "injector/targets/host.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>
#include <vector>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxPathBytes = 4000;

std::optional<std::uint64_t> number(std::string_view word) {
  std::uint64_t value = 0;
  const auto result = std::from_chars(word.data(), word.data() + word.size(), value);
  if (word.empty() || result.ec != std::errc() || result.ptr != word.data() + word.size()) return std::nullopt;
  return value;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> out;
  while (!line.empty()) {
    const std::size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string_view::npos) break;
    line.remove_prefix(begin);
    const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
    out.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  return out;
}

// Takes the first line off `text`.
std::string_view next_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

}  // namespace

const AnySpec& host_target_spec() {
  static const auto spec = Spec<HostTarget>();
  return spec;
}

std::optional<CpuTicks> parse_cpu_ticks(std::string_view proc_stat) {
  constexpr std::size_t kIdle = 4, kIoWait = 5, kLastCounted = 8;  // the guests' time, behind these, is in user's already
  CpuTicks out;
  bool total = false;
  while (!proc_stat.empty()) {
    const auto words = words_of(next_line(proc_stat));
    if (words.empty() || words[0].substr(0, 3) != "cpu") continue;
    if (words[0] != "cpu") {
      ++out.processors;
      continue;
    }
    if (words.size() <= kIoWait) return std::nullopt;
    for (std::size_t i = 1; i < words.size() && i <= kLastCounted; ++i) {
      const auto ticks = number(words[i]);
      if (!ticks) return std::nullopt;
      (i == kIdle || i == kIoWait ? out.idle : out.busy) += *ticks;
    }
    total = true;
  }
  if (!total || out.processors == 0) return std::nullopt;
  return out;
}

std::optional<std::uint64_t> number_after(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const auto words = words_of(next_line(text));
    if (words.size() >= 2 && words[0].size() == key.size() + 1 && words[0].substr(0, key.size()) == key && words[0].back() == ':') return number(words[1]);
  }
  return std::nullopt;
}

std::optional<HostMemory> parse_meminfo(std::string_view meminfo) {
  const auto total = number_after(meminfo, "MemTotal");
  const auto available = number_after(meminfo, "MemAvailable");
  if (!total || !available || *total == 0) return std::nullopt;
  return HostMemory{*total * 1024, *available * 1024, number_after(meminfo, "SwapTotal").value_or(0) * 1024};
}

HostMemory memory_of_host() {
  const auto memory = parse_meminfo(whole_file("/proc/meminfo"));
  if (!memory) throw Error(ErrorKind::unavailable, "/proc/meminfo does not say how much memory is available", "a kernel since 3.14 with /proc mounted is needed");
  return *memory;
}

std::optional<DiskTicks> parse_disk_ticks(std::string_view diskstats, unsigned major, unsigned minor) {
  constexpr std::size_t kName = 2, kBusy = 12;
  while (!diskstats.empty()) {
    const auto words = words_of(next_line(diskstats));
    if (words.size() <= kBusy || number(words[0]) != major || number(words[1]) != minor) continue;
    const auto busy = number(words[kBusy]);
    if (!busy) return std::nullopt;
    return DiskTicks{std::string(words[kName]), *busy};
  }
  return std::nullopt;
}

FileSystemSpace file_system_space(const std::string& path) {
  struct stat entry = {};
  struct statfs kind = {};
  struct statvfs space = {};
  if (::stat(path.c_str(), &entry) != 0 || ::statfs(path.c_str(), &kind) != 0 || ::statvfs(path.c_str(), &space) != 0) {
    throw system_error(errno, path + " cannot be looked at", "name a folder that is on the file system that is meant");
  }
  if (!S_ISDIR(entry.st_mode)) throw Error(ErrorKind::unavailable, path + " is not a folder", "name a folder that is on the file system that is meant");
  FileSystemSpace out;
  constexpr long kZfs = 0x2fc12fc1;
  const bool shares_room = kind.f_type == BTRFS_SUPER_MAGIC || kind.f_type == kZfs;  // its parts have numbers of their own, and one room
  out.device = shares_room ? static_cast<std::uint64_t>(kind.f_type) : entry.st_dev;
  out.writable = ::access(path.c_str(), W_OK | X_OK) == 0;
  out.used = (space.f_blocks - space.f_bfree) * space.f_frsize;
  out.available = space.f_bavail * space.f_frsize;
  out.in_memory = kind.f_type == TMPFS_MAGIC || kind.f_type == RAMFS_MAGIC;
  out.read_only = (space.f_flag & ST_RDONLY) != 0;
  return out;
}

std::string whole_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return in ? out.str() : std::string();
}

std::string show_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

Rule<std::string> absolute_path() {
  return {[](const std::string& path) -> std::optional<Mistake> {
            if (!path.empty() && path.front() == '/' && path.size() <= kMaxPathBytes && path.find('\0') == std::string::npos) return std::nullopt;
            return Mistake{"\"" + printable(path, 60) + "\" is not an absolute path", "write the whole path of a folder, as \"/var/lib/app\""};
          },
          {{"pattern", "^/|\\$\\{"}, {"maxLength", kMaxPathBytes}}};
}

}  // namespace capsize
