// Which cgroup hierarchy serves a controller for a process here: version 1, version 2, or both beside each other as in a hybrid setup.
// A process is in one cgroup of every hierarchy; a controller is served by one hierarchy alone.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace capsize {

enum class Controller { cpu, memory, io };
std::string_view to_string(Controller controller);        // "cpu", "memory", "io"
Controller controller_from(std::string_view word);        // throws Error::bug
std::string_view name_in(Controller controller, int version);  // what version 1 calls "blkio" version 2 calls "io"

struct CgroupMount {
  int version = 2;
  std::string root;     // the cgroup that is mounted there: "/" unless it is a part of the hierarchy, as in a container
  std::string path;     // where: "/sys/fs/cgroup/cpu"
  std::vector<std::string> controllers;  // version 1 only: version 2 says so in its file cgroup.controllers
};
std::vector<CgroupMount> parse_cgroup_mounts(std::string_view mountinfo);  // total

struct CgroupPlace {  // of one process, for one controller
  int version = 2;
  std::string mount;   // the folder of the topmost cgroup in sight: "/sys/fs/cgroup/cpu"
  std::string path;    // as /proc/PID/cgroup has it: "/system.slice/web.service"
  std::string folder;  // of that cgroup: "/sys/fs/cgroup/cpu/system.slice/web.service"
  bool topmost() const { return folder == mount; }
};

struct PlaceAnswer {
  std::optional<CgroupPlace> place;
  std::string missing;  // why there is none, as a sentence
};

// Pure. `proc_cgroup`: the text of /proc/PID/cgroup. `root_controllers`: what cgroup.controllers of a mount of version 2 says.
PlaceAnswer place_of(Controller controller, const std::vector<CgroupMount>& mounts, std::string_view proc_cgroup,
                     const std::function<std::vector<std::string>(const std::string& mount)>& root_controllers);

// The same, of a process of this machine, from /proc. Thread: any.
PlaceAnswer find_place(Controller controller, int pid);

std::vector<std::string> words_of(std::string_view text, char between = ' ');  // without empty ones

}  // namespace capsize
