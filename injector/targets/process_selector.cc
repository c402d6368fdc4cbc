#include "injector/targets/process_selector.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <set>

#include "injector/netlink/sock_diag.h"

namespace capsize {
namespace {

using Criterion = ProcessCriterion;

constexpr std::size_t kNamed = 3;

bool same_root(int pid, const ProcFs& proc) {
  const auto theirs = proc.namespace_of(pid, "mnt");
  return theirs && theirs == proc.own_namespace("mnt");
}

// By the file, not by its name: a name may lead to another file by now, or in another container. A program that was replaced since it was
// started is still the one that was at this path.
Criterion runs(const std::string& exe, const std::optional<std::vector<std::string>>& arguments, const ProcFs& proc) {
  struct stat file = {};
  const bool there = ::stat(exe.c_str(), &file) == 0;
  return [exe, arguments, there, file, &proc](int pid) {
    struct stat theirs = {};
    if (::stat(proc.path(pid, "exe").c_str(), &theirs) != 0) return errno == ENOENT || errno == ESRCH ? Proof::no : when_out_of_sight(pid, proc);
    const bool same_file = there && theirs.st_dev == file.st_dev && theirs.st_ino == file.st_ino;
    if (!same_file) {
      const auto program = proc.exe(pid);
      if (!program || program->path != exe + " (deleted)" || !same_root(pid, proc)) return Proof::no;
    }
    if (!arguments) return Proof::yes;
    const auto given = proc.arguments(pid);
    if (!given) return when_out_of_sight(pid, proc);
    return *given == *arguments ? Proof::yes : Proof::no;
  };
}

AddressBlock block_of(const std::string& host) {
  auto parsed = parse_address_block(host);
  if (const auto* mistake = std::get_if<Mistake>(&parsed)) throw Error(ErrorKind::refused, mistake->fact, mistake->remedy);
  return std::get<AddressBlock>(parsed);
}

bool is_wildcard(const AddressBlock& address) {
  return std::all_of(address.bytes.begin(), address.bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

// Where no socket listens at the address itself, one that listens at every address does.
std::set<std::uint64_t> listening_sockets(const ListenPoint& point) {
  std::set<std::uint64_t> exact;
  std::set<std::uint64_t> every;
  for (const TcpSocket& socket : list_tcp_sockets({}, {TcpState::listen})) {
    if (socket.local_port != point.port || socket.inode == 0) continue;
    if (point.host.empty() || socket.local == block_of(point.host)) exact.insert(socket.inode);
    else if (is_wildcard(socket.local) && (socket.local.v6 || !block_of(point.host).v6)) every.insert(socket.inode);
  }
  return exact.empty() ? every : exact;
}

Criterion holds_socket(std::set<std::uint64_t> inodes, const ProcFs& proc) {
  return [inodes = std::move(inodes), &proc](int pid) {
    if (inodes.empty()) return Proof::no;
    const OpenFiles files = proc.open_files(pid);
    if (files.error != 0) return files.gone() ? Proof::no : when_out_of_sight(pid, proc);
    if (std::any_of(files.socket_of.begin(), files.socket_of.end(), [&](const auto& one) { return inodes.count(one.second) > 0; })) return Proof::yes;
    return files.partly ? when_out_of_sight(pid, proc) : Proof::no;
  };
}

Criterion within_cgroup(const std::string& path, const ProcFs& proc) {
  return [path, &proc](int pid) {
    const auto theirs = proc.cgroups(pid);
    if (theirs.empty()) return when_out_of_sight(pid, proc);
    return is_in_cgroup(theirs, path) ? Proof::yes : Proof::no;
  };
}

// As far as it can be seen.
bool is_in_another_pid_namespace(int pid, const ProcFs& proc) {
  const auto theirs = proc.namespace_of(pid, "pid");
  const auto ours = proc.own_namespace("pid");
  return theirs && ours && *theirs != *ours;
}

// A unit of that name in a container is another unit, also while that of the machine does not run.
Criterion of_unit(const std::string& unit, const ProcFs& proc) {
  std::set<std::string> paths;
  for (const int pid : proc.pids()) {
    const std::string path = unit_path(proc.cgroups(pid), unit);
    if (!path.empty() && !is_in_another_pid_namespace(pid, proc)) paths.insert(path);
  }
  if (paths.size() > 1) {
    throw Error(ErrorKind::refused, fmt::format("there are {} units {}: {} and {}", paths.size(), printable(unit, 80), printable(*paths.begin()), printable(*paths.rbegin())), "write \"cgroup\" with the one that is meant");
  }
  const std::string only = paths.empty() ? "" : *paths.begin();
  return [unit, only, &proc](int pid) {
    const bool meant = !only.empty() && unit_path(proc.cgroups(pid), unit) == only;
    return meant && !is_in_another_pid_namespace(pid, proc) ? Proof::yes : Proof::no;
  };
}

[[noreturn]] void cannot_tell(const std::vector<int>& unseen, const std::string& that, const ProcFs& proc) {
  std::string names;
  for (std::size_t i = 0; i < std::min(unseen.size(), kNamed); ++i) {
    const auto look = proc.stat(unseen[i]);
    names += fmt::format("{}{} ({})", i == 0 ? "" : ", ", unseen[i], look ? printable(look->comm, 64) : "gone");
  }
  if (unseen.size() > kNamed) names += fmt::format(" and {} more", unseen.size() - kNamed);
  throw Error(ErrorKind::privilege, fmt::format("processes {}: whether they are among those can be told only with CAP_SYS_PTRACE: {}", that, names),
              "run capsize there as root or with CAP_SYS_PTRACE, or name the process by \"pid\" or \"pid_file\"");
}

}  // namespace

Proof when_out_of_sight(int pid, const ProcFs& proc) {
  const auto look = proc.stat(pid);
  if (!look || look->state == 'Z' || look->state == 'X' || is_kernel_thread(*look)) return Proof::no;
  return Proof::cannot_tell;
}

std::vector<TargetProcess> processes_that(const std::string& that, const ProcFs& proc, const ProcessCriterion& matches) {
  std::vector<TargetProcess> out;
  std::vector<int> unseen;
  for (const int pid : proc.pids()) {
    const Proof first = matches(pid);
    if (first == Proof::cannot_tell && never_a_target(pid, proc).empty()) unseen.push_back(pid);
    if (first != Proof::yes) continue;
    std::optional<TargetProcess> process;
    try {
      process = proc.identify(pid);
    } catch (const Error& problem) {
      if (problem.kind() != ErrorKind::unavailable || proc.stat(pid)) throw;
      continue;  // it has ended meanwhile
    }
    const Proof second = matches(pid);
    if (second == Proof::no) continue;
    const Proof same = proc.same_process(*process).answer;
    if (second == Proof::yes && same == Proof::yes) out.push_back(std::move(*process));
    else if (same != Proof::no && never_a_target(pid, proc).empty()) unseen.push_back(pid);  // left out in silence, several would look like one
  }
  if (!unseen.empty()) cannot_tell(unseen, that, proc);
  return out;
}

std::string unit_path(const std::map<std::string, std::string>& cgroups, const std::string& unit) {
  const auto by_systemd = cgroups.find("name=systemd");
  const auto found = by_systemd != cgroups.end() && by_systemd->second != "/" ? by_systemd : cgroups.find("");
  if (found == cgroups.end()) return "";
  const std::string path = found->second + "/";
  const auto at = path.find("/" + unit + "/");
  return at == std::string::npos ? "" : path.substr(0, at + 1 + unit.size());
}

bool is_in_cgroup(const std::map<std::string, std::string>& cgroups, const std::string& path) {
  const std::string wanted = (path.starts_with('/') ? path : "/" + path) + (path.ends_with('/') ? "" : "/");
  return std::any_of(cgroups.begin(), cgroups.end(), [&](const auto& entry) { return (entry.second + "/").starts_with(wanted); });
}

SelectedProcesses select_processes(const ProcessParams& params, const ProcFs& proc) {
  if (params.arguments && !params.exe) throw Error(ErrorKind::refused, "\"arguments\" without \"exe\"", "add \"exe\": the program that was given them");
  SelectedProcesses out;
  if (params.pid || params.pid_file) {
    const int pid = params.pid ? params.pid->value : proc.pid_from_file(*params.pid_file);
    out.that = params.pid ? fmt::format("of number {}", pid) : "of " + printable(*params.pid_file);
    out.processes.push_back(proc.identify(pid));
    if (params.pid_file && proc.pid_from_file(*params.pid_file) != pid) {
      throw Error(ErrorKind::changed, fmt::format("pid file {} has changed while it was read", printable(*params.pid_file)), "plan again when the service has started");
    }
    return out;
  }
  Criterion matches;
  if (params.listens_on) {
    out.that = "that listen on " + ParamTraits<ListenPoint>::show(*params.listens_on).get<std::string>();
    matches = holds_socket(listening_sockets(*params.listens_on), proc);
  } else if (params.exe) {
    out.that = fmt::format("that run {}{}", printable(*params.exe), params.arguments ? " with these arguments" : "");
    matches = runs(*params.exe, params.arguments, proc);
  } else if (params.unit) {
    out.that = "of the unit " + printable(*params.unit, 80);
    matches = of_unit(*params.unit, proc);
  } else if (params.cgroup) {
    out.that = "of the cgroup " + printable(*params.cgroup);
    matches = within_cgroup(*params.cgroup, proc);
  } else {
    throw Error(ErrorKind::refused, "the target does not say which process", "add \"pid\", \"pid_file\", \"listens_on\", \"exe\", \"unit\" or \"cgroup\"");
  }
  out.processes = processes_that(out.that, proc, matches);
  return out;
}

}  // namespace capsize
