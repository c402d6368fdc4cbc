// What /proc says of all processes: who there is, in which cgroups, and with which arguments.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>

#include "injector/base/error.h"
#include "injector/targets/proc_file.h"
#include "injector/targets/process.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxCgroupFile = 64 * 1024;
constexpr std::size_t kMaxArguments = 256 * 1024;

std::optional<std::uint64_t> inode_of(const std::string& file) {
  struct stat entry = {};
  if (::stat(file.c_str(), &entry) != 0) return std::nullopt;
  return entry.st_ino;
}

}  // namespace

std::map<std::string, std::string> parse_cgroups(std::string_view text) {
  std::map<std::string, std::string> out;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos || second + 1 >= line.size() || line[second + 1] != '/') continue;
    out[std::string(line.substr(first + 1, second - first - 1))] = line.substr(second + 1);
  }
  return out;
}

std::vector<int> ProcFs::pids() const {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(root_.c_str()), ::closedir);
  if (!folder) throw system_error(errno, "the list of processes " + root_, "mount /proc");
  std::vector<int> out;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(folder.get());
    if (entry == nullptr && errno != 0) throw system_error(errno, "the list of processes " + root_);
    if (entry == nullptr) break;
    if (const auto pid = parse_pid(entry->d_name)) out.push_back(*pid);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::map<std::string, std::string> ProcFs::cgroups(int pid) const { return parse_cgroups(read_file(path(pid, "cgroup"), kMaxCgroupFile).text); }

bool OpenFiles::gone() const { return error == ENOENT || error == ESRCH; }

bool OpenFiles::holds_socket(std::uint64_t inode) const {
  return inode != 0 && std::any_of(socket_of.begin(), socket_of.end(), [inode](const auto& one) { return one.second == inode; });
}

OpenFiles ProcFs::open_files(int pid) const {
  constexpr std::string_view kSocket = "socket:[";
  const std::string folder = path(pid, "fd");
  const std::unique_ptr<DIR, int (*)(DIR*)> files(::opendir(folder.c_str()), ::closedir);
  OpenFiles out;
  if (!files) {
    out.error = errno;
    return out;
  }
  while (const dirent* entry = ::readdir(files.get())) {
    const std::string_view name = entry->d_name;
    int number = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), number).ec != std::errc()) continue;
    char target[64] = {};
    const ssize_t length = ::readlink((folder + "/" + entry->d_name).c_str(), target, sizeof target - 1);
    if (length < 0 && (errno == ENOENT || errno == ESRCH)) continue;  // closed meanwhile
    out.partly = out.partly || length < 0;
    std::uint64_t& inode = out.socket_of[number];
    const std::string_view link(target, length < 0 ? 0 : static_cast<std::size_t>(length));
    if (link.starts_with(kSocket)) std::from_chars(link.data() + kSocket.size(), link.data() + link.size(), inode);
  }
  return out;
}

std::optional<std::uint64_t> ProcFs::namespace_of(int pid, std::string_view kind) const { return inode_of(path(pid, "ns/") + std::string(kind)); }

std::optional<std::uint64_t> ProcFs::own_namespace(std::string_view kind) const { return inode_of(root_ + "/self/ns/" + std::string(kind)); }

std::optional<std::vector<std::string>> ProcFs::arguments(int pid) const {
  const FileRead file = read_file(path(pid, "cmdline"), kMaxArguments);
  if (file.error != 0 || file.text.size() >= kMaxArguments) return std::nullopt;
  std::vector<std::string> out;
  std::string_view text = file.text;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find('\0'));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    out.emplace_back(one);
  }
  if (!out.empty()) out.erase(out.begin());
  return out;
}

}  // namespace capsize
