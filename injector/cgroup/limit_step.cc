#include "injector/cgroup/limit_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxChanges = 1024;  // four for each disk
constexpr std::size_t kMaxName = 64;
constexpr std::size_t kMaxProcesses = 4096;
constexpr std::size_t kNamed = 3;

std::string unlimited_line(const std::string& file) { return file == "io.max" ? "rbps=max wbps=max riops=max wiops=max" : "0"; }

bool is_plain(const std::string& text) {
  return !text.empty() && text.size() <= kMaxName && std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' || c == ':'; });
}

// Only limits are ever written: an op of a forged journal cannot move or kill anything through a file of another kind.
bool is_a_limit(const std::string& file) {
  static const std::set<std::string> known = {"cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.max", "memory.limit_in_bytes", "io.max",
                                              "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"};
  return known.count(file) > 0;
}

LimitChange change_from_json(const Json& json) {
  LimitChange out{json.at("file").get<std::string>(), json.value("key", ""), json.at("was").get<std::string>(), json.at("set").get<std::string>()};
  if (!is_a_limit(out.file)) throw Error(ErrorKind::bug, "not a limit of a cgroup: " + printable(out.file, 80));
  if (!out.key.empty() && !is_plain(out.key)) throw Error(ErrorKind::bug, "not a device: " + printable(out.key, 80));
  return out;
}

// Version 2: what each controller's files say when nobody has asked anything of it.
const std::map<std::string, std::set<std::string>>& defaults_of(Controller controller) {
  static const std::map<std::string, std::set<std::string>> cpu = {{"cpu.weight", {"100"}}, {"cpu.idle", {"0"}}, {"cpu.max", {"max 100000"}}};
  static const std::map<std::string, std::set<std::string>> memory = {
      {"memory.max", {"max"}}, {"memory.high", {"max"}}, {"memory.low", {"0"}}, {"memory.min", {"0"}}, {"memory.swap.max", {"max"}}, {"memory.oom.group", {"0"}}};
  static const std::map<std::string, std::set<std::string>> io = {{"io.max", {""}}, {"io.weight", {"default 100"}}, {"io.bfq.weight", {"default 100", "100"}}, {"io.latency", {""}}};
  return controller == Controller::cpu ? cpu : controller == Controller::memory ? memory : io;
}

}  // namespace

std::string value_for(const LimitChange& change, const std::string& content) {
  if (change.key.empty()) return content;
  for (const std::string& line : words_of(content, '\n')) {
    if (line.starts_with(change.key + " ")) return line.substr(change.key.size() + 1);
  }
  return unlimited_line(change.file);
}

std::optional<std::string> read_limit(const CgroupFolder& cgroup, const LimitChange& change) {
  const auto content = cgroup.read(change.file);
  return content ? std::optional(value_for(change, *content)) : std::nullopt;
}

void write_limit(const CgroupFolder& cgroup, const LimitChange& change, const std::string& value) { cgroup.write(change.file, change.key.empty() ? value : change.key + " " + value); }

Json to_json(const LimitStep& step) {
  Json out = {{"identities", Json::array()}, {"controller", to_string(step.controller)}, {"changes", Json::array()}};
  for (const TargetProcess& process : step.processes) out["identities"].push_back(to_json(process));
  for (const LimitChange& change : step.changes) {
    Json one = {{"file", change.file}, {"was", change.was}, {"set", change.set}};
    if (!change.key.empty()) one["key"] = change.key;
    out["changes"].push_back(std::move(one));
  }
  if (step.move) out["move"] = {{"parent", to_json(step.move->parent)}, {"name", step.move->name}, {"from", to_json(step.move->from)}};
  else out["cgroup"] = to_json(step.cgroup);
  if (step.whole) out["whole"] = true;
  if (step.enable.empty()) return out;
  out["enable"] = Json::array();
  for (const CgroupRef& ref : step.enable) out["enable"].push_back(to_json(ref));
  return out;
}

LimitStep limit_step_from_json(const Json& json) {
  try {
    LimitStep out;
    for (const Json& identity : json.at("identities")) out.processes.push_back(target_process_from_json(identity));
    if (out.processes.empty() || out.processes.size() > kMaxProcesses) throw Error(ErrorKind::bug, "a cgroup limit for no process, or for too many");
    out.whole = json.value("whole", false);
    out.controller = controller_from(json.at("controller").get<std::string>());
    for (const Json& change : json.at("changes")) out.changes.push_back(change_from_json(change));
    for (const Json& ref : json.value("enable", Json::array())) out.enable.push_back(cgroup_ref_from_json(ref));
    if (out.changes.empty() || out.changes.size() > kMaxChanges) throw Error(ErrorKind::bug, "a cgroup limit with no change, or with too many");
    if (!json.contains("move")) {
      out.cgroup = cgroup_ref_from_json(json.at("cgroup"));
      return out;
    }
    const Json& move = json.at("move");
    out.move = CgroupMove{cgroup_ref_from_json(move.at("parent")), move.at("name").get<std::string>(), cgroup_ref_from_json(move.at("from"))};
    if (!out.move->name.starts_with(kOurCgroup) || !is_plain(out.move->name)) throw Error(ErrorKind::bug, "not the name of a cgroup of ours: " + printable(out.move->name, 80));
    return out;
  } catch (const Json::exception& problem) {
    throw Error(ErrorKind::bug, std::string("not a limit of a cgroup: ") + problem.what());
  }
}

std::string describe(const std::vector<TargetProcess>& processes) {
  if (processes.size() == 1) return describe(processes.front());
  std::string out = "processes ";
  for (std::size_t i = 0; i < std::min(processes.size(), kNamed); ++i) out += fmt::format("{}{} ({})", i == 0 ? "" : ", ", processes[i].pid, processes[i].comm);
  return processes.size() > kNamed ? fmt::format("{} and {} more", out, processes.size() - kNamed) : out;
}

std::vector<int> strangers_among(const std::vector<int>& pids, const std::vector<TargetProcess>& processes, const ProcFs& proc) {
  std::set<int> ours;
  for (const TargetProcess& process : processes) ours.insert(process.pid);
  std::vector<int> out;
  for (const int pid : pids) {
    if (ours.count(pid) > 0) continue;
    const auto line = pid > 0 ? proc.ancestors(pid) : std::vector<int>();
    const bool gone = pid > 0 && line.empty() && !proc.stat(pid);
    const bool descended = std::any_of(line.begin(), line.end(), [&](int ancestor) { return ours.count(ancestor) > 0; });
    if (!gone && !descended) out.push_back(pid);
  }
  return out;
}

std::string who_needs(Controller controller, const CgroupFolder& parent, const std::string& besides) {
  const std::string name(name_in(controller, 2));
  for (const std::string& child : parent.children()) {
    if (child == besides) continue;
    const auto folder = CgroupFolder::open({parent.ref().folder + "/" + child, 0});
    if (!folder) continue;
    const auto passed_on = words_of(folder->read("cgroup.subtree_control").value_or(""));
    if (std::find(passed_on.begin(), passed_on.end(), name) != passed_on.end()) return folder->ref().folder;
    for (const auto& [file, unused] : defaults_of(controller)) {
      const auto value = folder->read(file);
      if (value && unused.count(*value) == 0) return folder->ref().folder;
    }
  }
  return "";
}

}  // namespace capsize
