// How a playbook selects processes, and which processes of this machine that is right now.
// A selector is exact: what cannot be told of a process is neither a match nor none, and then nothing is selected at all.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/spec.h"
#include "injector/targets/process.h"

namespace capsize {

struct ListenPoint {  // where a service listens: an address and a port, or a port of any address
  std::string host;   // an IP address; empty: any
  std::uint16_t port = 0;
  friend bool operator==(const ListenPoint&, const ListenPoint&) = default;
};
template <>
struct ParamTraits<ListenPoint> {  // "127.0.0.1:8443", "[::1]:8443", "8443", 8443
  static std::string name();
  static Parsed<ListenPoint> parse(const Json& json);
  static Json schema();
  static Json show(const ListenPoint& value);
};

struct HowMany {  // of those that match
  enum class Kind { exactly_one, one, all, share };
  Kind kind = Kind::exactly_one;  // several are an error
  Share share{0};
  friend bool operator==(const HowMany&, const HowMany&) = default;
};
template <>
struct ParamTraits<HowMany> {  // "one", "all", "50%"
  static std::string name();
  static Parsed<HowMany> parse(const Json& json);
  static Json schema();
  static Json show(const HowMany& value);
};

struct ProcessParams {  // exactly one of the first six
  std::optional<Pid> pid;
  std::optional<std::string> pid_file;
  std::optional<ListenPoint> listens_on;
  std::optional<std::string> exe;
  std::optional<std::string> unit;
  std::optional<std::string> cgroup;
  std::optional<std::vector<std::string>> arguments;  // with exe
  std::optional<HowMany> match;
};
const Spec<ProcessParams>& process_params();
const AnySpec& process_spec();

struct SelectedProcesses {
  std::vector<TargetProcess> processes;  // in the order of their pids; empty: none matches
  std::string that;                      // "that listen on 127.0.0.1:8443": behind "processes"
};
// All that match, also those that are never a target. Looks twice, so that a newcomer with the pid of one that matched is not taken for it.
// Throws Error: unavailable and refused as ProcFs::identify() and pid_from_file() do, privilege (cannot tell).
SelectedProcesses select_processes(const ProcessParams& params, const ProcFs& proc);

// The same with a question of the caller's: of every process, twice of those that match. `that` is for messages.
using ProcessCriterion = std::function<Proof(int pid)>;
std::vector<TargetProcess> processes_that(const std::string& that, const ProcFs& proc, const ProcessCriterion& matches);
// What a criterion answers when it may not look: a thread of the kernel and what has ended have neither program nor files nor namespaces.
Proof when_out_of_sight(int pid, const ProcFs& proc);

// The path of the unit in what /proc/PID/cgroup says; empty: the process is not of that unit. "/system.slice/nginx.service"
std::string unit_path(const std::map<std::string, std::string>& cgroups, const std::string& unit);
bool is_in_cgroup(const std::map<std::string, std::string>& cgroups, const std::string& path);  // or below it

}  // namespace capsize
