// A limit put on processes through a cgroup, and taken back: on the cgroup they have to themselves, or on one of ours that they are moved to.
// Everything that the undo needs is chosen when it is planned.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "injector/cgroup/cgroup_folder.h"
#include "injector/cgroup/hierarchy.h"
#include "injector/targets/process.h"

namespace capsize {

struct LimitChange {
  std::string file;  // "cpu.max"
  std::string key;   // of a file with a line for each device: "8:0"; empty: the file is one value
  std::string was;
  std::string set;
  friend bool operator==(const LimitChange&, const LimitChange&) = default;
};

// What it is now; for a device without a line, what that means ("0", "rbps=max ..."). Nothing: there is no such file.
std::optional<std::string> read_limit(const CgroupFolder& cgroup, const LimitChange& change);
void write_limit(const CgroupFolder& cgroup, const LimitChange& change, const std::string& value);  // throws Error
std::string value_for(const LimitChange& change, const std::string& content);  // of one device within the content of the file

// Where processes are moved to, and from.
struct CgroupMove {
  CgroupRef parent;  // of ours
  std::string name;  // of ours: "capsize-" and what tells it from all others
  CgroupRef from;
  CgroupRef ours() const { return {parent.folder + "/" + name, 0}; }
  friend bool operator==(const CgroupMove&, const CgroupMove&) = default;
};

struct LimitStep {
  std::vector<TargetProcess> processes;  // at least one, all of them in one cgroup
  Controller controller = Controller::cpu;
  CgroupRef cgroup;                 // the one they have to themselves; unless they are moved
  bool whole = false;               // whoever is in that cgroup is meant: it is a container's, or was selected itself
  std::optional<CgroupMove> move;
  std::vector<CgroupRef> enable;    // version 2, topmost first: whose cgroup.subtree_control lacks the controller
  std::vector<LimitChange> changes;
  CgroupRef limited() const { return move ? move->ours() : cgroup; }
};
Json to_json(const LimitStep& step);
LimitStep limit_step_from_json(const Json& json);  // throws Error::bug

inline constexpr std::string_view kOurCgroup = "capsize-";

std::string describe(const std::vector<TargetProcess>& processes);  // "process 12 (nginx)", "processes 12 (nginx), 13 (nginx) and 4 more"

// Those of `pids` that are neither among `processes` nor descended from one of them.
std::vector<int> strangers_among(const std::vector<int>& pids, const std::vector<TargetProcess>& processes, const ProcFs& proc);

// Of the cgroups below `parent` but `besides`, the first that a controller switched off would take something from; empty: none.
std::string who_needs(Controller controller, const CgroupFolder& parent, const std::string& besides);

}  // namespace capsize
