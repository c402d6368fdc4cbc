// What /proc says of all processes: who there is, in which cgroups, and with which arguments.
#include <dirent.h>

#include <algorithm>
#include <memory>

#include "injector/base/error.h"
#include "injector/targets/proc_file.h"
#include "injector/targets/process.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxCgroupFile = 64 * 1024;
constexpr std::size_t kMaxArguments = 256 * 1024;

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
