// The host as a doctor walks through it: its processes and its network namespaces, found once, and what the checks were told to look at.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/doctor/symptom.h"
#include "injector/net/traffic.h"
#include "injector/targets/process.h"

namespace capsize {

struct SeenProcess {
  int pid = 0;
  std::uint64_t start_ticks = 0;     // since boot
  std::string name;                  // comm
  char state = '?';
  int tracer = 0;                    // 0: none
  bool has_terminal = false;
  bool kernel_thread = false;
  std::string program;               // last part of the path of its program; empty: not ours to see
  std::vector<std::string> words;    // its command line
  std::string preload;               // LD_PRELOAD of its environment
  std::string cgroup;                // its path in the cgroup 2 hierarchy, else in the first that names one
  std::string folder;                // its working directory
  std::uint64_t network = 0;         // inode of its network namespace; 0: it has ended meanwhile, or ...
  bool hidden = false;               // ... it is not ours to see
};
std::string describe(const SeenProcess& process);            // "process 123 (nginx)"
std::string container_of(const std::string& cgroup_path);    // the first 12 digits of a container's id in the path; empty: none
std::string systemd_unit_of(const std::string& cgroup_path); // "nginx.service"; empty: none

// One network namespace to look at.
struct NetworkPlace {
  NetworkNamespace where;   // path empty: our own
  std::string name;         // "network namespace /run/netns/blue", "network namespace of process 123 (nginx), container 0123456789ab"; empty: our own
  std::string enter;        // what a command is prefixed with to run there: "nsenter --net=/run/netns/blue "; empty: our own
};

bool still_there(const NetworkPlace& place);  // false: it ended while we looked, which is nobody's fault

struct DoctorOptions {
  std::vector<std::string> haproxy_sockets;  // those to ask beside the ones that are found
  std::filesystem::path state;               // of capsize
};

struct Surroundings {
  Clock& clock;
  DoctorOptions options;
  std::vector<SeenProcess> processes;
  std::vector<NetworkPlace> networks;  // our own first

  const SeenProcess* process(int pid) const;
};

// Looks around. What could not be looked at goes to `examination`. Throws Error when /proc is not there.
Surroundings look_around(Clock& clock, DoctorOptions options, Examination& examination);

struct MountLine {
  std::string root, path, type, source, options;
};
std::vector<MountLine> parse_mounts(std::string_view mountinfo);  // total
std::vector<MountLine> read_mounts();                             // those that we see
inline constexpr std::size_t kSmallFile = 64u << 10;
inline constexpr std::size_t kLongList = 16u << 20;  // of a file that grows with the host: cut short it would hide what is behind
std::optional<std::string> read_file(const std::filesystem::path& path, std::size_t most = kSmallFile);  // nothing: it cannot be read

}  // namespace capsize
