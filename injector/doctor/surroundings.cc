#include "injector/doctor/surroundings.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/netlink/network_namespace.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxNetworks = 2000;
constexpr std::uint64_t kKernelThreadFlag = 0x00200000;  // PF_KTHREAD

std::vector<std::string> split_at(std::string_view text, char separator) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string link_target(const std::string& path) {
  std::error_code problem;
  return std::filesystem::read_symlink(path, problem).string();
}

std::string preload_of(const std::string& environment) {
  constexpr std::string_view kName = "LD_PRELOAD=";
  for (const std::string& variable : split_at(environment, '\0')) {
    if (variable.starts_with(kName)) return variable.substr(kName.size());
  }
  return "";
}

std::string cgroup_path(const std::string& lines) {
  std::string first;
  for (const std::string& line : split_at(lines, '\n')) {
    const std::size_t at = line.find(':', line.find(':') + 1);
    if (at == std::string::npos) continue;
    const std::string path = line.substr(at + 1);
    if (line.starts_with("0::") && path != "/") return path;
    if (first.empty() && path != "/") first = path;
  }
  return first;
}

std::uint64_t inode_of(const std::string& path) {
  struct stat entry = {};
  return ::stat(path.c_str(), &entry) == 0 ? static_cast<std::uint64_t>(entry.st_ino) : 0;
}

bool has_terminal(const std::string& stat) {  // field 7, counted behind the name
  const std::size_t at = stat.rfind(')');
  if (at == std::string::npos) return false;
  const auto fields = split_at(std::string_view(stat).substr(at + 1), ' ');  // "", state, parent, group, session, terminal
  return fields.size() > 5 && fields[5] != "0";
}

std::optional<SeenProcess> see_process(int pid) {
  const std::string folder = fmt::format("/proc/{}/", pid);
  const auto stat_text = read_file(folder + "stat");
  const auto status_text = read_file(folder + "status");
  const auto stat = stat_text ? parse_proc_stat(*stat_text) : std::nullopt;
  if (!stat || !status_text) return std::nullopt;
  const auto status = parse_proc_status(*status_text);
  SeenProcess out;
  out.pid = pid;
  out.start_ticks = stat->start_ticks;
  out.name = stat->comm;
  out.state = stat->state;
  out.tracer = status ? status->tracer : 0;
  out.kernel_thread = (stat->flags & kKernelThreadFlag) != 0;
  if (out.kernel_thread) return out;
  out.has_terminal = has_terminal(*stat_text);
  const std::string program = link_target(folder + "exe");
  out.program = last_part(program.substr(0, program.find(" (deleted)")));
  out.words = split_at(read_file(folder + "cmdline").value_or(""), '\0');
  out.preload = preload_of(read_file(folder + "environ").value_or(""));
  out.cgroup = cgroup_path(read_file(folder + "cgroup").value_or(""));
  out.folder = link_target(folder + "cwd");
  out.network = inode_of(folder + "ns/net");
  out.hidden = out.network == 0 && (errno == EACCES || errno == EPERM);
  if (out.state == 'Z' && stat->threads > 1) {  // its first thread has ended, the others live on
    for (const ThreadLook& thread : ProcFs().threads(pid)) {
      if (thread.tid != pid) out.state = thread.state, out.tracer = thread.tracer;
    }
  }
  return out;
}

std::vector<SeenProcess> see_processes() {
  std::vector<SeenProcess> out;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", problem)) {
    const auto pid = parse_pid(entry.path().filename().string());
    if (!pid) continue;
    try {
      if (auto process = see_process(*pid)) out.push_back(std::move(*process));
    } catch (const Error&) {  // gone meanwhile
    }
  }
  if (problem) throw system_error(problem.value(), "/proc cannot be read", "run it where /proc is mounted");
  std::sort(out.begin(), out.end(), [](const SeenProcess& a, const SeenProcess& b) { return a.pid < b.pid; });
  return out;
}

// What cannot be entered is said once, not by every check.
bool may_enter(const NetworkPlace& place, Examination& examination) {
  try {
    in_network_namespace(place.where, [] {});
    return true;
  } catch (const Error& error) {
    if (still_there(place)) examination.unseen.push_back({place.name, error.fact(), "run it as root (CAP_SYS_ADMIN)"});
    return false;
  }
}

// Namespaces that a file keeps ("ip netns", Docker), then those that processes are in.
std::vector<NetworkPlace> find_networks(const std::vector<SeenProcess>& processes, Examination& examination) {
  std::vector<NetworkPlace> out;
  std::set<std::uint64_t> seen;
  out.push_back({{"", inode_of("/proc/thread-self/ns/net")}, "", ""});
  seen.insert(out[0].where.inode);
  const auto add = [&](const std::string& path, std::uint64_t inode, const std::string& name) {
    if (inode == 0 || out.size() == kMaxNetworks || !seen.insert(inode).second) return;
    out.push_back({{path, inode}, name, "nsenter --net=" + shell_word(path) + " "});
  };
  for (const MountLine& mount : read_mounts()) {
    if (mount.type == "nsfs" && mount.root.starts_with("net:[")) add(mount.path, inode_of(mount.path), "network namespace " + mount.path);
  }
  std::vector<std::string> hidden;
  for (const SeenProcess& process : processes) {
    if (process.kernel_thread || process.state == 'Z') continue;
    if (process.hidden) hidden.push_back(describe(process));
    const std::string container = container_of(process.cgroup);
    add(fmt::format("/proc/{}/ns/net", process.pid), process.network,
        "network namespace of " + describe(process) + (container.empty() ? "" : ", container " + container));
  }
  if (!hidden.empty()) {
    const std::string who = hidden.size() == 1 ? "the network namespace of " + hidden[0] : fmt::format("the network namespaces of {} processes, among them {}", hidden.size(), hidden[0]);
    examination.unseen.push_back({who, "the kernel does not let this user look", "run it as root (CAP_SYS_PTRACE)"});
  }
  const bool too_many = out.size() == kMaxNetworks;
  std::erase_if(out, [&](const NetworkPlace& place) { return !place.where.path.empty() && !may_enter(place, examination); });
  if (too_many) examination.unseen.push_back({fmt::format("network namespaces beyond the first {}", kMaxNetworks), "there are too many", ""});
  return out;
}

}  // namespace

std::string describe(const SeenProcess& process) { return fmt::format("process {} ({})", process.pid, printable(process.name, 64)); }

std::string container_of(const std::string& path) {
  constexpr std::size_t kIdDigits = 64;
  for (std::size_t begin = 0; begin + kIdDigits <= path.size(); ++begin) {
    const std::size_t end = std::min(path.find_first_not_of("0123456789abcdef", begin), path.size());
    if (end - begin == kIdDigits) return path.substr(begin, 12);
    begin = end;
  }
  return "";
}

std::string systemd_unit_of(const std::string& path) {
  const std::string name = last_part(path);
  for (const char* ending : {".service", ".scope", ".slice"}) {
    if (name.ends_with(ending)) return name;
  }
  return "";
}

bool still_there(const NetworkPlace& place) { return place.where.path.empty() || inode_of(place.where.path) == place.where.inode; }

const SeenProcess* Surroundings::process(int pid) const {
  const auto found = std::lower_bound(processes.begin(), processes.end(), pid, [](const SeenProcess& process, int wanted) { return process.pid < wanted; });
  return found != processes.end() && found->pid == pid ? &*found : nullptr;
}

Surroundings look_around(Clock& clock, DoctorOptions options, Examination& examination) {
  Surroundings out{clock, std::move(options), see_processes(), {}};
  out.networks = find_networks(out.processes, examination);
  examination.looked_at.push_back(fmt::format("{} processes", out.processes.size()));
  examination.looked_at.push_back(out.networks.size() == 1 ? "1 network namespace" : fmt::format("{} network namespaces", out.networks.size()));
  return out;
}

std::vector<MountLine> parse_mounts(std::string_view mountinfo) {
  // 36 35 98:0 /root /path options optional... - type source superoptions
  std::vector<MountLine> out;
  for (const std::string& line : split_at(mountinfo, '\n')) {
    const auto fields = split_at(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (dash - fields.begin() < 6 || fields.end() - dash < 4) continue;
    out.push_back({fields[3], fields[4], dash[1], dash[2], dash[3]});
  }
  return out;
}

std::vector<MountLine> read_mounts() { return parse_mounts(read_file("/proc/self/mountinfo", kLongList).value_or("")); }

std::optional<std::string> read_file(const std::filesystem::path& path, std::size_t most) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return std::nullopt;
  std::string out;
  char buffer[4096];
  while (out.size() < most) {
    const ssize_t count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::nullopt;
    if (count == 0) break;
    out.append(buffer, static_cast<std::size_t>(count));
  }
  return out;
}

}  // namespace capsize
