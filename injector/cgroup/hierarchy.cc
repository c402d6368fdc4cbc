#include "injector/cgroup/hierarchy.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

std::string whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

bool contains(const std::vector<std::string>& words, std::string_view word) { return std::find(words.begin(), words.end(), word) != words.end(); }

// "/docker/1" is below "/docker", and "/dockerd" is not.
std::optional<std::string> below(const std::string& path, const std::string& root) {
  if (root == "/") return path == "/" ? "" : path;
  if (path == root) return "";
  return path.starts_with(root + "/") ? std::optional(path.substr(root.size())) : std::nullopt;
}

struct Membership {
  bool v1 = false;
  std::string path;
};

// Version 1 where it has the controller: a controller that is mounted there cannot be one of version 2 at the same time.
std::optional<Membership> membership(std::string_view proc_cgroup, std::string_view v1_name) {
  std::optional<Membership> unified;
  for (const std::string& line : words_of(proc_cgroup, '\n')) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) unified = Membership{false, line.substr(second + 1)};
    else if (contains(words_of(controllers, ','), v1_name)) return Membership{true, line.substr(second + 1)};
  }
  return unified;
}

std::optional<CgroupPlace> mounted_at(const CgroupMount& mount, const std::string& path) {
  const auto rest = below(path, mount.root);
  if (!rest) return std::nullopt;
  return CgroupPlace{mount.version, mount.path, path, mount.path + *rest};
}

}  // namespace

std::vector<std::string> words_of(std::string_view text, char between) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(between));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    std::string clean(word);
    while (!clean.empty() && clean.back() == '\n') clean.pop_back();
    if (!clean.empty()) out.push_back(std::move(clean));
  }
  return out;
}

std::string_view to_string(Controller controller) {
  switch (controller) {
    case Controller::cpu: return "cpu";
    case Controller::memory: return "memory";
    case Controller::io: break;
  }
  return "io";
}

Controller controller_from(std::string_view word) {
  for (const Controller controller : {Controller::cpu, Controller::memory, Controller::io}) {
    if (to_string(controller) == word) return controller;
  }
  throw Error(ErrorKind::bug, "no cgroup controller of ours is called " + printable(word, 40));
}

std::string_view name_in(Controller controller, int version) { return version == 1 && controller == Controller::io ? "blkio" : to_string(controller); }

std::vector<CgroupMount> parse_cgroup_mounts(std::string_view mountinfo) {
  std::vector<CgroupMount> out;  // 36 35 98:0 /root /path options optional... - type source superoptions
  for (const std::string& line : words_of(mountinfo, '\n')) {
    const auto fields = words_of(line);
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (dash - fields.begin() < 6 || fields.end() - dash < 4) continue;
    if (dash[1] == "cgroup2") out.push_back({2, fields[3], fields[4], {}});
    else if (dash[1] == "cgroup") out.push_back({1, fields[3], fields[4], words_of(dash[3], ',')});
  }
  return out;
}

PlaceAnswer place_of(Controller controller, const std::vector<CgroupMount>& mounts, std::string_view proc_cgroup,
                     const std::function<std::vector<std::string>(const std::string& mount)>& root_controllers) {
  const auto member = membership(proc_cgroup, name_in(controller, 1));
  const std::string_view name = to_string(controller);
  if (!member) return {{}, fmt::format("it is in no cgroup that could hold a limit of {}", name)};
  if (member->path.starts_with("/..")) return {{}, fmt::format("its cgroup ({}) is outside of what is in sight here", printable(member->path, 200))};
  bool hidden = false;
  for (const CgroupMount& mount : mounts) {
    if (member->v1 != (mount.version == 1) || (member->v1 && !contains(mount.controllers, name_in(controller, 1)))) continue;
    const auto place = mounted_at(mount, member->path);
    if (!place) hidden = true;
    else if (member->v1 || contains(root_controllers(mount.path), name)) return {place, ""};
  }
  if (hidden) return {{}, fmt::format("its cgroup {} is not below what is mounted here", printable(member->path, 200))};
  if (member->v1) return {{}, fmt::format("the hierarchy of the {} controller (version 1) is not mounted here", name_in(controller, 1))};
  return {{}, fmt::format("the kernel offers no {} controller here: no hierarchy of version 1 has it, and cgroup.controllers of version 2 does not name it", name)};
}

PlaceAnswer find_place(Controller controller, int pid) {
  const std::string membership = whole(fmt::format("/proc/{}/cgroup", pid));
  if (membership.empty()) return {{}, fmt::format("/proc/{}/cgroup cannot be read", pid)};
  return place_of(controller, parse_cgroup_mounts(whole("/proc/self/mountinfo")), membership, [](const std::string& mount) { return words_of(whole(mount + "/cgroup.controllers")); });
}

}  // namespace capsize
