#include "injector/targets/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <memory>

#include "injector/targets/proc_file.h"

namespace capsize {
namespace {

constexpr long kPidfsMagic = 0x50494446;
constexpr std::size_t kMaxProcFile = 64 * 1024;
constexpr std::size_t kMaxPidFile = 64;
constexpr std::size_t kMaxMachineStat = 1024 * 1024;  // a line a processor and a number an interrupt
constexpr int kMaxAncestors = 1000;
constexpr std::uint64_t kKernelThreadFlag = 0x00200000;  // PF_KTHREAD
constexpr std::int64_t kStaleAfterSeconds = 60;          // clocks are set, and services write their pid file late
constexpr std::uint64_t kStopSignals = (1ULL << (SIGSTOP - 1)) | (1ULL << (SIGTSTP - 1)) | (1ULL << (SIGTTIN - 1)) | (1ULL << (SIGTTOU - 1));

template <class Number>
bool take_number(std::string_view& text, Number& value, int base = 10) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (result.ec != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(result.ptr - text.data()));
  return true;
}

// The value of "Key:\tvalue" in a status file; its first line is the name, in which the kernel escapes newlines.
std::optional<std::string_view> status_value(std::string_view text, std::string_view key) {
  const std::string start = "\n" + std::string(key) + ":";
  const auto at = text.find(start);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + start.size());
  text = text.substr(0, text.find('\n'));
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  return text;
}

int open_pidfd(int pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

bool still_there(int pidfd) { return ::syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0 || errno != ESRCH; }

std::optional<std::uint64_t> pidfs_inode(int pidfd) {
  struct statfs filesystem = {};
  struct stat status = {};
  if (::fstatfs(pidfd, &filesystem) != 0 || filesystem.f_type != kPidfsMagic || ::fstat(pidfd, &status) != 0) return std::nullopt;
  return status.st_ino;
}

// A process that capsize moved for a while is still itself.
bool same_cgroups(const std::map<std::string, std::string>& then, const std::map<std::string, std::string>& now) {
  if (then.empty()) return true;  // nothing was known
  return std::all_of(then.begin(), then.end(), [&](const auto& entry) {
    const auto found = now.find(entry.first);
    return found != now.end() && (found->second == entry.second || found->second.find("/capsize") != std::string::npos || entry.second.find("/capsize") != std::string::npos);
  });
}

Error no_such_process(int pid) { return Error(ErrorKind::unavailable, fmt::format("there is no process {}", pid), "look up the pid again: the process may have been restarted"); }

}  // namespace

std::optional<ProcStat> parse_proc_stat(std::string_view text) {
  ProcStat out;
  const auto open = text.find('(');
  const auto close = text.rfind(')');  // the name may hold anything; nothing behind it holds a parenthesis
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
  out.comm = text.substr(open + 1, close - open - 1);
  std::string_view head = text.substr(0, open);
  if (!take_number(head, out.pid)) return std::nullopt;
  std::string_view rest = text.substr(close + 1);
  if (rest.size() < 2 || rest[0] != ' ') return std::nullopt;
  out.state = rest[1];
  rest.remove_prefix(2);
  if (!take_number(rest, out.parent)) return std::nullopt;
  std::int64_t skipped = 0;
  for (int field = 5; field <= 8; ++field) {
    if (!take_number(rest, skipped)) return std::nullopt;
  }
  if (!take_number(rest, out.flags)) return std::nullopt;
  std::uint64_t counter = 0;
  for (int field = 10; field <= 15; ++field) {
    if (!take_number(rest, counter)) return std::nullopt;
    if (field >= 14) out.cpu_ticks += counter;
  }
  for (int field = 16; field <= 19; ++field) {
    if (!take_number(rest, skipped)) return std::nullopt;
  }
  if (!take_number(rest, out.threads) || !take_number(rest, skipped) || !take_number(rest, out.start_ticks)) return std::nullopt;
  return out;
}

std::optional<ProcStatus> parse_proc_status(std::string_view text) {
  const auto state = status_value(text, "State");
  const auto group = status_value(text, "Tgid");
  const auto tracer = status_value(text, "TracerPid");
  if (!state || state->empty() || !group || !tracer) return std::nullopt;
  ProcStatus out;
  out.state = state->front();
  std::string_view number = *group;
  if (!take_number(number, out.thread_group)) return std::nullopt;
  number = *tracer;
  if (!take_number(number, out.tracer)) return std::nullopt;
  for (const char* key : {"SigPnd", "ShdPnd"}) {
    auto mask = status_value(text, key);
    std::uint64_t bits = 0;
    if (!mask || !take_number(*mask, bits, 16)) return std::nullopt;
    out.stop_pending = out.stop_pending || (bits & kStopSignals) != 0;
    out.pending |= bits;
  }
  for (const auto& [key, bits] : {std::pair{"SigCgt", &out.caught}, {"SigIgn", &out.ignored}}) {
    auto mask = status_value(text, key);
    if (mask && !take_number(*mask, *bits, 16)) return std::nullopt;
  }
  const auto seccomp = status_value(text, "Seccomp");
  out.filtered = seccomp && *seccomp != "0";
  return out;
}

std::string ProcFs::path(int pid, std::string_view entry) const { return fmt::format("{}/{}/{}", root_, pid, entry); }

std::optional<ProcStat> ProcFs::stat(int pid) const {
  const FileRead file = read_file(path(pid, "stat"), kMaxProcFile);
  if (file.gone()) return std::nullopt;
  if (file.error != 0) throw system_error(file.error, fmt::format("process {}: {}", pid, path(pid, "stat")));
  auto parsed = parse_proc_stat(file.text);
  if (!parsed) throw Error(ErrorKind::unavailable, fmt::format("process {}: {} has a form that is not known", pid, path(pid, "stat")));
  return parsed;
}

std::optional<ProcStatus> ProcFs::status(int pid) const {
  const FileRead file = read_file(path(pid, "status"), kMaxProcFile);
  if (file.gone()) return std::nullopt;
  if (file.error != 0) throw system_error(file.error, fmt::format("process {}: {}", pid, path(pid, "status")));
  auto parsed = parse_proc_status(file.text);
  if (!parsed) throw Error(ErrorKind::unavailable, fmt::format("process {}: {} has a form that is not known", pid, path(pid, "status")));
  return parsed;
}

std::vector<ThreadLook> ProcFs::threads(int pid) const {
  const std::string folder = path(pid, "task");
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir(folder.c_str()), ::closedir);
  if (!tasks && errno == ENOENT) return {};
  if (!tasks) throw system_error(errno, fmt::format("process {}: {}", pid, folder));
  std::vector<ThreadLook> out;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(tasks.get());
    if (entry == nullptr && errno != 0 && errno != ENOENT) throw system_error(errno, fmt::format("process {}: {}", pid, folder));
    if (entry == nullptr) return out;
    const auto tid = parse_pid(entry->d_name);
    if (!tid) continue;
    const FileRead file = read_file(fmt::format("{}/{}/status", folder, *tid), kMaxProcFile);
    if (file.gone()) continue;
    if (file.error != 0) throw system_error(file.error, fmt::format("process {}: the state of its thread {}", pid, *tid));
    const auto status = parse_proc_status(file.text);
    if (!status) throw Error(ErrorKind::unavailable, fmt::format("process {}: the state of its thread {} has a form that is not known", pid, *tid));
    out.push_back({*tid, status->state, status->tracer, status->stop_pending});
  }
}

std::vector<int> ProcFs::ancestors(int pid) const {
  std::vector<int> out;
  for (int child = pid; static_cast<int>(out.size()) < kMaxAncestors;) {
    const auto look = stat(child);
    if (!look || look->parent < 1) break;
    out.push_back(look->parent);
    child = look->parent;
  }
  return out;
}

std::optional<ExeFile> ProcFs::exe(int pid) const {
  struct stat file = {};
  if (::stat(path(pid, "exe").c_str(), &file) != 0) return std::nullopt;
  std::string target(4096, '\0');
  const ssize_t length = ::readlink(path(pid, "exe").c_str(), target.data(), target.size());
  target.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
  return ExeFile{file.st_dev, file.st_ino, printable(target, 4096)};
}

std::string ProcFs::boot_id() const {
  std::string text = read_file(root_ + "/sys/kernel/random/boot_id", 64).text;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

TargetProcess ProcFs::identify(int pid) const {
  const auto seen = status(pid);
  if (!seen) throw no_such_process(pid);
  if (seen->thread_group != pid) {
    throw Error(ErrorKind::refused, fmt::format("{} is a thread of process {}, not a process", pid, seen->thread_group), fmt::format("write {}", seen->thread_group));
  }
  TargetProcess out;
  UniqueFd pidfd;
  if (pidfds_) {
    pidfd.reset(open_pidfd(pid));
    if (!pidfd && errno == ESRCH) throw no_such_process(pid);
    if (!pidfd) throw system_error(errno, fmt::format("process {} could not be opened", pid));
    out.pidfs_inode = pidfs_inode(pidfd.get());
  }
  const auto look = stat(pid);
  if (!look) throw no_such_process(pid);
  out.boot_id = boot_id();
  if (out.boot_id.empty()) throw Error(ErrorKind::unavailable, "the id of this boot cannot be read from " + root_ + "/sys/kernel/random/boot_id", "mount /proc");
  out.pid_namespace = own_namespace("pid").value_or(0);
  out.pid = pid;
  out.start_ticks = look->start_ticks;
  out.exe = exe(pid);
  out.cgroups = cgroups(pid);
  out.comm = printable(look->comm, 64);
  if (pidfd && !still_there(pidfd.get())) throw no_such_process(pid);  // what was read may be another's
  return out;
}

Sameness ProcFs::same_process(const TargetProcess& process) const {
  const std::string boot = boot_id();
  if (boot.empty()) return {Proof::cannot_tell, "the id of this boot cannot be read", {}};
  if (boot != process.boot_id) return {Proof::no, fmt::format("{} ended when the machine was restarted", describe(process)), {}};
  if (process.pid_namespace != 0 && own_namespace("pid") != process.pid_namespace) {
    return {Proof::cannot_tell, fmt::format("{} is one of another pid namespace: from here its number means another process", describe(process)), {}};
  }
  try {
    if (!pidfds_) return same_by_times(process, {});
    UniqueFd pidfd(open_pidfd(process.pid));
    const int error = pidfd ? 0 : errno;
    if (error == ESRCH) return {Proof::no, fmt::format("{} has ended", describe(process)), {}};
    if (error != 0) {
      const auto now = status(process.pid);
      if (now && now->thread_group != process.pid) return {Proof::no, fmt::format("{} has ended; a thread of process {} has its number now", describe(process), now->thread_group), {}};
      return {Proof::cannot_tell, fmt::format("{} could not be opened: {}", describe(process), std::strerror(error)), {}};
    }
    const auto inode = pidfs_inode(pidfd.get());
    if (!inode || !process.pidfs_inode) return same_by_times(process, std::move(pidfd));
    if (*inode != *process.pidfs_inode) return {Proof::no, fmt::format("{} has ended; another process has its number now", describe(process)), {}};
    return {Proof::yes, "", std::move(pidfd)};
  } catch (const Error& problem) {
    return {Proof::cannot_tell, problem.what(), {}};
  }
}

// For kernels without pidfs. Two processes of one number that were started within one tick differ in their program, if at all.
Sameness ProcFs::same_by_times(const TargetProcess& process, UniqueFd pidfd) const {
  const auto look = stat(process.pid);
  if (pidfd && !still_there(pidfd.get())) return {Proof::no, fmt::format("{} has ended", describe(process)), {}};
  if (!look && pidfd) return {Proof::cannot_tell, fmt::format("{} is not shown in {}", describe(process), root_), {}};
  if (!look) return {Proof::no, fmt::format("{} has ended", describe(process)), {}};
  if (look->start_ticks != process.start_ticks) return {Proof::no, fmt::format("{} has ended; another process has its number now", describe(process)), {}};
  if (look->state == 'Z' || look->state == 'X') return {Proof::no, fmt::format("{} has ended", describe(process)), {}};
  const auto program = exe(process.pid);
  if (!program || !process.exe) return {Proof::cannot_tell, fmt::format("{} started at the same tick, but its program cannot be seen", describe(process)), {}};
  if (program->device != process.exe->device || program->inode != process.exe->inode) {
    return {Proof::cannot_tell, fmt::format("{} started at the same tick, but runs {} now", describe(process), program->path), {}};
  }
  if (!same_cgroups(process.cgroups, cgroups(process.pid))) {
    return {Proof::cannot_tell, fmt::format("{} started at the same tick and runs the same program, but is in another cgroup now", describe(process)), {}};
  }
  return {Proof::yes, "", std::move(pidfd)};
}

int ProcFs::pid_from_file(const std::string& file_path) const {
  struct stat info = {};
  const std::string shown = printable(file_path, 200);
  if (::stat(file_path.c_str(), &info) != 0) throw system_error(errno, "pid file " + shown, "start the service, or name its pid");
  if (!S_ISREG(info.st_mode)) throw Error(ErrorKind::refused, "pid file " + shown + " is not a regular file", "name the file that the service writes its pid to");
  const FileRead file = read_file(file_path, kMaxPidFile, O_NONBLOCK | O_NOCTTY);
  if (file.error != 0) throw system_error(file.error, "pid file " + shown);
  const auto first = file.text.find_first_not_of(" \t\r\n");
  const auto last = file.text.find_last_not_of(" \t\r\n");
  const auto pid = first == std::string::npos ? std::nullopt : parse_pid(std::string_view(file.text).substr(first, last - first + 1));
  if (!pid) {
    throw Error(ErrorKind::unavailable, fmt::format("pid file {} holds \"{}\", which is not one process id", shown, printable(file.text, 40)), "name the pid instead");
  }
  const auto look = stat(*pid);
  if (!look) throw Error(ErrorKind::unavailable, fmt::format("pid file {} names process {}, which does not exist", shown, *pid), "start the service, or name its pid");
  const std::string text = read_file(root_ + "/stat", kMaxMachineStat).text;
  const auto at = text.find("\nbtime ");
  std::string_view value = at == std::string::npos ? std::string_view() : std::string_view(text).substr(at + 7);
  const std::int64_t ticks = std::max(1L, ::sysconf(_SC_CLK_TCK));
  std::int64_t boot_time = 0;
  const bool timed = take_number(value, boot_time);
  const std::int64_t started = boot_time + static_cast<std::int64_t>(look->start_ticks) / ticks;
  if (timed && started > info.st_mtime + kStaleAfterSeconds) {
    throw Error(ErrorKind::refused, fmt::format("pid file {} was written {} s before process {} was started: the number belongs to another process now", shown, started - info.st_mtime, *pid),
                "restart the service so that it writes the file anew, or name the pid");
  }
  return *pid;
}

bool is_kernel_thread(const ProcStat& look) { return (look.flags & kKernelThreadFlag) != 0; }

std::string never_a_target(int pid, const ProcFs& proc) {
  const int self = ::getpid();
  if (pid == 1) return "process 1 is the first process of this machine or container";
  if (pid == self) return fmt::format("process {} is capsize itself", pid);
  const auto ancestors = proc.ancestors(self);
  if (std::find(ancestors.begin(), ancestors.end(), pid) != ancestors.end()) return fmt::format("process {} is an ancestor of capsize: without it nobody would undo", pid);
  const auto look = proc.stat(pid);
  if (look && is_kernel_thread(*look)) return fmt::format("process {} ({}) is a thread of the kernel", pid, printable(look->comm, 64));
  const auto ours = proc.exe(self);
  const auto theirs = proc.exe(pid);
  const bool is_the_program = ours && (ours->path.ends_with("/capsize") || ours->path.ends_with("/capsize (deleted)"));  // not a test that links it
  if (is_the_program && theirs && theirs->device == ours->device && theirs->inode == ours->inode) return fmt::format("process {} is another capsize", pid);
  return "";
}

}  // namespace capsize
