// A process as a target: how a playbook names it, how it is known again for certain, and what /proc says of its threads.
// A pid alone is reused, and so, within a clock tick, is a pid with its start time: nothing is ever done to a pid, only to a TargetProcess
// that was proven to be the same right before. "Cannot tell" is neither "same" nor "different".
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/spec.h"
#include "injector/base/unique_fd.h"

namespace capsize {

struct Pid {
  int value = 0;
  friend bool operator==(const Pid&, const Pid&) = default;
};
template <>
struct ParamTraits<Pid> {  // 1234, or "1234" as a variable gives it
  static std::string name();
  static Parsed<Pid> parse(const Json& json);
  static Json schema();
  static Json show(const Pid& value);
};

struct ExeFile {  // the program a process runs, still right when the file has been replaced or deleted
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::string path;  // for people
  friend bool operator==(const ExeFile&, const ExeFile&) = default;
};

struct TargetProcess {
  std::string boot_id;
  int pid = 0;
  std::uint64_t start_ticks = 0;              // since boot
  std::optional<std::uint64_t> pidfs_inode;   // never reused within a boot; none: the kernel is older than 6.9
  std::uint64_t pid_namespace = 0;            // where `pid` means this process; 0: unknown
  std::optional<ExeFile> exe;                 // none: not ours to see
  std::string comm;                           // for people; a process may change its own
  std::map<std::string, std::string> cgroups = {};  // hierarchy ("" is version 2) -> path; empty: unknown
  friend bool operator==(const TargetProcess&, const TargetProcess&) = default;
};
Json to_json(const TargetProcess& process);
TargetProcess target_process_from_json(const Json& json);  // throws Error::bug for what is not one
std::string describe(const TargetProcess& process);        // "process 123 (haproxy)"

// What /proc/PID/stat and /proc/PID/status say. The parsers are total: nothing for what is not of that form.
struct ProcStat {
  int pid = 0;
  std::string comm;  // raw: blanks, parentheses, newlines
  char state = '?';
  int parent = 0;
  std::uint64_t flags = 0;
  std::uint64_t cpu_ticks = 0;  // user and system time of all threads, also of ended ones
  std::uint64_t threads = 0;    // exact, where a listing of /proc/PID/task misses threads that others make way for meanwhile
  std::uint64_t start_ticks = 0;
};
std::optional<ProcStat> parse_proc_stat(std::string_view text);

struct ProcStatus {
  char state = '?';
  int thread_group = 0;
  int tracer = 0;             // 0: none, or one of another pid namespace
  bool stop_pending = false;  // a SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU is on its way
  std::uint64_t pending = 0;  // masks: bit 0 is signal 1
  std::uint64_t caught = 0;
  std::uint64_t ignored = 0;
  bool filtered = false;      // its system calls pass a seccomp filter
};
std::optional<ProcStatus> parse_proc_status(std::string_view text);

// What /proc/PID/cgroup says: hierarchy ("" is version 2, "cpu,cpuacct", "name=systemd") -> path.
std::map<std::string, std::string> parse_cgroups(std::string_view text);

std::optional<int> parse_pid(std::string_view text);  // digits alone, 1 to 4194304

struct ThreadLook {
  int tid = 0;
  char state = '?';
  int tracer = 0;
  bool stop_pending = false;
};

// What /proc/PID/fd says.
struct OpenFiles {
  int error = 0;                                // errno, where it cannot be listed
  bool partly = false;                          // some of it is out of sight
  std::map<int, std::uint64_t> socket_of = {};  // each descriptor: the inode of its socket; 0: it is none
  bool gone() const;
  bool holds_socket(std::uint64_t inode) const;
};

enum class Proof { yes, no, cannot_tell };
std::string_view to_string(Proof answer);

struct Sameness {
  Proof answer = Proof::cannot_tell;
  std::string because;
  UniqueFd pidfd;  // of the process, when `answer` is yes: what is done through it can meet no other
};

// Reads a /proc. Another root, without pidfds, is for tests. Thread: any; every call reads afresh.
class ProcFs {
 public:
  explicit ProcFs(std::string root = "/proc", bool pidfds = true) : root_(std::move(root)), pidfds_(pidfds) {}

  // All throw Error: unavailable (no such process), refused (`pid` is a thread, not a process), privilege.
  TargetProcess identify(int pid) const;
  std::optional<ProcStat> stat(int pid) const;        // nothing: gone
  std::optional<ProcStatus> status(int pid) const;    // nothing: gone
  std::vector<ThreadLook> threads(int pid) const;     // empty: gone; those that end meanwhile are left out
  std::vector<int> ancestors(int pid) const;          // parent first; ends at pid 1 or where a parent is out of sight
  int pid_from_file(const std::string& path) const;   // also refuses one that is older than the process of that number

  std::vector<int> pids() const;                                        // of all processes, in order
  std::map<std::string, std::string> cgroups(int pid) const;            // empty: gone, or out of sight
  OpenFiles open_files(int pid) const;
  // The inode of one of its namespaces: "net", "pid", "mnt"; nothing: gone, or out of sight, as errno says.
  std::optional<std::uint64_t> namespace_of(int pid, std::string_view kind) const;
  std::optional<std::uint64_t> own_namespace(std::string_view kind) const;
  std::optional<std::vector<std::string>> arguments(int pid) const;     // without the program's name; nothing: out of sight, or too long

  Sameness same_process(const TargetProcess& process) const;  // never throws Error
  std::optional<ExeFile> exe(int pid) const;
  std::string path(int pid, std::string_view entry) const;
  const std::string& root() const { return root_; }

 private:
  std::string boot_id() const;
  Sameness same_by_times(const TargetProcess& process, UniqueFd pidfd) const;

  std::string root_;
  bool pidfds_;
};

bool is_kernel_thread(const ProcStat& look);

// Whether what is known of two looks is one process: the same boot, number, start, pidfs inode and pid namespace.
bool same_identity(const TargetProcess& one, const TargetProcess& other);

// Why nothing may be done to `pid`, as a sentence; empty: it may be a target. capsize, its ancestors, other capsize processes, pid 1
// and kernel threads are never targets.
std::string never_a_target(int pid, const ProcFs& proc);

}  // namespace capsize
