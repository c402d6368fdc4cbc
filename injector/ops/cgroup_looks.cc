// cgroup.look and cgroup.usage: which cgroups processes are in, what is limited there, and what they use.
#include <fmt/format.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/cgroup/disks.h"
#include "injector/cgroup/limit_step.h"
#include "injector/cgroup/usage.h"
#include "injector/ops/cgroup_ops.h"
#include "injector/targets/proc_file.h"

namespace capsize {
namespace {

constexpr std::size_t kShownStrangers = 5;
constexpr std::size_t kMaxMembership = 64 * 1024;
constexpr std::int64_t kLongestWindowMs = 3000;
constexpr int kBriefly = 4;  // of the window: while no limit is in place nothing has to be exact, and the fault waits for us

std::string nonce() {
  std::random_device random;
  return fmt::format("{:012x}", (std::uint64_t{random()} << 32 | random()) >> 16);
}

bool contains(const std::vector<std::string>& words, std::string_view word) { return std::find(words.begin(), words.end(), word) != words.end(); }

// Version 2, topmost first: the cgroups above that of the process; the topmost itself, when the process is there.
Json lineage_of(const CgroupPlace& place, Controller controller) {
  Json out = Json::array();
  std::vector<std::string> folders{place.mount};
  for (std::size_t at = place.mount.size() + 1; at < place.folder.size();) {
    const auto next = place.folder.find('/', at);
    if (next == std::string::npos) break;
    folders.push_back(place.folder.substr(0, next));
    at = next + 1;
  }
  for (const std::string& folder : folders) {
    const auto opened = CgroupFolder::open({folder, 0});
    if (!opened) throw Error(ErrorKind::changed, "cgroup " + folder + " is gone", "plan again");
    Json one = to_json(opened->ref());
    one["has"] = contains(words_of(opened->read("cgroup.controllers").value_or("")), to_string(controller));
    one["enabled"] = contains(words_of(opened->read("cgroup.subtree_control").value_or("")), to_string(controller));
    out.push_back(std::move(one));
  }
  return out;
}

std::string parent_path(const std::string& folder) { return folder.substr(0, folder.rfind('/')); }

std::string not_writable(const std::string& folder) {
  if (::faccessat(AT_FDCWD, folder.c_str(), W_OK, AT_EACCESS) == 0 && ::faccessat(AT_FDCWD, (folder + "/cgroup.procs").c_str(), W_OK, AT_EACCESS) == 0) return "";
  return fmt::format("user {} may not write to cgroup {}", ::geteuid(), folder);
}

MemoryUse memory_of_all(const std::vector<TargetProcess>& processes, const ProcFs& proc) {
  MemoryUse out;
  for (const TargetProcess& process : processes) {
    const auto one = memory_of_process(process.pid, proc).value_or(MemoryUse());
    out.bytes += one.bytes;
    out.fixed += one.fixed;
  }
  return out;
}

void add_memory(Json& look, const CgroupFolder& cgroup, const std::vector<TargetProcess>& processes, const ProcFs& proc) {
  const MemoryUse group = memory_of(cgroup, look.at("version").get<int>());
  const MemoryUse alone = memory_of_all(processes, proc);
  look["memory"] = {{"group", {{"bytes", group.bytes}, {"fixed", group.fixed}}}, {"processes", {{"bytes", alone.bytes}, {"fixed", alone.fixed}}}, {"free_swap", free_swap()}};
}

// Version 1 has threads in cgroups of their own (libvirt, pools that are pinned): moving the process would gather them, and no undo could part them.
bool threads_apart(int pid, const CgroupPlace& place, Controller controller, const ProcFs& proc) {
  if (place.version != 1) return false;
  for (const ThreadLook& thread : proc.threads(pid)) {
    if (thread.state == 'Z' || thread.state == 'X') continue;  // older kernels say "/" of one that has ended
    const std::string text = read_file(proc.path(pid, fmt::format("task/{}/cgroup", thread.tid)), kMaxMembership).text;
    for (const auto& [controllers, path] : parse_cgroups(text)) {
      if (path != place.path && contains(words_of(controllers, ','), name_in(controller, 1))) return true;
    }
  }
  return false;
}

// Processes of the target that are in one cgroup.
struct Group {
  CgroupPlace place;
  std::string missing;
  std::vector<TargetProcess> processes;
  std::vector<int> members;
  std::vector<int> strangers;
};

// Those that have ended since they were chosen are left out. A cgroup below one that the target has to itself belongs to that one.
std::vector<Group> group_by_cgroup(const std::vector<TargetProcess>& processes, Controller controller, const ProcFs& proc) {
  std::map<std::string, Group> groups;  // the upper ones first
  std::string ended;
  for (const TargetProcess& process : processes) {
    const Sameness same = proc.same_process(process);
    if (same.answer == Proof::cannot_tell) throw Error(ErrorKind::unavailable, same.because, "nothing was done, since it may be another process");
    PlaceAnswer answer = same.answer == Proof::yes ? find_place(controller, process.pid) : PlaceAnswer();
    if (answer.place && threads_apart(process.pid, *answer.place, controller, proc)) answer = {{}, "its threads are in several cgroups"};
    if (same.answer != Proof::yes || !proc.stat(process.pid)) {
      ended = describe(process) + " has ended";
      continue;
    }
    Group& group = groups[answer.place ? answer.place->folder + "/" : ""];
    group.missing = answer.missing;
    group.place = answer.place.value_or(CgroupPlace());
    group.processes.push_back(process);
  }
  if (groups.empty()) throw Error(ErrorKind::changed, ended, "start it again, and plan again");
  std::vector<Group> out;
  std::string own;
  for (auto& [folder, group] : groups) {
    if (!own.empty() && folder.starts_with(own)) {
      out.back().processes.insert(out.back().processes.end(), group.processes.begin(), group.processes.end());
      continue;
    }
    const auto cgroup = group.missing.empty() ? CgroupFolder::open({group.place.folder, 0}) : std::nullopt;
    if (cgroup && !group.place.topmost()) {
      group.members = cgroup->processes_below();
      group.strangers = strangers_among(group.members, processes, proc);
      if (group.strangers.empty()) own = folder;
    }
    out.push_back(std::move(group));
  }
  return out;
}

Json look_at(Group& group, Controller controller, const ProcFs& proc) {
  Json out = {{"identities", Json::array()}, {"missing", group.missing}};
  for (const TargetProcess& process : group.processes) out["identities"].push_back(to_json(process));
  if (!group.missing.empty()) return out;
  const CgroupPlace& place = group.place;
  const auto cgroup = CgroupFolder::open({place.folder, 0});
  if (!cgroup) throw Error(ErrorKind::changed, fmt::format("the cgroup {} is gone", place.folder), "plan again");
  out.update({{"version", place.version}, {"path", place.path}, {"folder", place.folder}, {"inode", cgroup->ref().inode}, {"topmost", place.topmost()}, {"members", group.members.size()}});
  out["stranger_count"] = group.strangers.size();
  group.strangers.resize(std::min(group.strangers.size(), kShownStrangers));
  out["strangers"] = group.strangers;
  out["values"] = limits_of(*cgroup, controller, place.version);
  auto obstacle = not_writable(place.folder);
  const bool moved = place.version == 2 && !place.topmost() && !group.strangers.empty();  // to one of ours, which is made beside its own
  if (moved && obstacle.empty()) obstacle = not_writable(parent_path(place.folder));
  out["not_writable"] = obstacle;
  if (place.version == 2) out["lineage"] = lineage_of(place, controller);
  if (controller == Controller::memory) add_memory(out, *cgroup, group.processes, proc);
  return out;
}

std::vector<TargetProcess> processes_from(const Json& identities) {
  std::vector<TargetProcess> out;
  for (const Json& identity : identities) out.push_back(target_process_from_json(identity));
  return out;
}

Task<Json> look(Json args, OpContext&) {
  const ProcFs proc;
  const Controller controller = controller_from(args.at("controller").get<std::string>());
  std::vector<Group> groups = group_by_cgroup(processes_from(args.at("identities")), controller, proc);
  Json out = {{"nonce", nonce()}, {"groups", Json::array()}};
  for (Group& group : groups) out["groups"].push_back(look_at(group, controller, proc));
  co_return out;
}

struct Watched {
  std::vector<TargetProcess> processes;
  CgroupRef ref;
  CpuSample cpu;
  IoCount io;
  IoByDevice devices;
  std::vector<std::string> limited_devices;
};

std::vector<int> pids_of(const std::optional<CgroupFolder>& cgroup, const Watched& one) {
  if (cgroup) return cgroup->processes_below();
  std::vector<int> out;
  for (const TargetProcess& process : one.processes) out.push_back(process.pid);
  return out;
}

int version_of(const std::optional<CgroupFolder>& cgroup) { return cgroup && cgroup->read("cgroup.controllers") ? 2 : 1; }

// What the process has read and written itself, where no cgroup counts it.
IoCount io_of_process(int pid, const ProcFs& proc) {
  const UniqueFd file(::open(proc.path(pid, "io").c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[1024];
  const ssize_t got = file ? ::read(file.get(), buffer, sizeof buffer) : 0;
  std::string text(buffer, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  std::erase(text, ':');
  const auto counters = parse_counters(text);
  IoCount out;
  if (counters.count("read_bytes") > 0) out.read_bytes = counters.at("read_bytes");
  if (counters.count("write_bytes") > 0) out.written_bytes = counters.at("write_bytes");
  return out;
}

IoByDevice io_by_device(const std::optional<CgroupFolder>& cgroup) { return cgroup ? io_of(*cgroup, version_of(cgroup)) : IoByDevice(); }

IoCount io_in_all(const std::optional<CgroupFolder>& cgroup, const IoByDevice& devices, const Watched& one, const ProcFs& proc) {
  if (cgroup) return sum_of(devices);
  IoCount out;
  for (const TargetProcess& process : one.processes) {
    const IoCount part = io_of_process(process.pid, proc);
    out.read_bytes += part.read_bytes;
    out.written_bytes += part.written_bytes;
  }
  return out;
}

IoCount io_since(const IoCount& now, const IoCount& then) {
  return {now.read_bytes - std::min(now.read_bytes, then.read_bytes), now.written_bytes - std::min(now.written_bytes, then.written_bytes)};
}

// A device without a line has not been used. Where no cgroup counts, nobody says at which device it was.
void add_io(Json& out, const std::optional<CgroupFolder>& cgroup, const Watched& one, double window, const ProcFs& proc) {
  const auto rate = [window](std::uint64_t bytes) { return static_cast<double>(bytes) / window; };
  const IoByDevice devices = io_by_device(cgroup);
  const IoCount all = io_since(io_in_all(cgroup, devices, one, proc), one.io);
  out["read_per_second"] = rate(all.read_bytes);
  out["written_per_second"] = rate(all.written_bytes);
  if (!cgroup) return;
  out["devices"] = Json::object();
  for (const std::string& name : one.limited_devices) {
    const auto now = devices.find(name);
    const auto then = one.devices.find(name);
    const IoCount count = io_since(now == devices.end() ? IoCount() : now->second, then == one.devices.end() ? IoCount() : then->second);
    out["devices"][name] = {{"read", rate(count.read_bytes)}, {"written", rate(count.written_bytes)}};
  }
}

// "same": "yes" as long as any of them is there. "outside": the first of those that is not in the cgroup.
Json presence_of(const Watched& one, const std::vector<int>& members, const ProcFs& proc) {
  Json out = {{"same", "no"}, {"because", ""}, {"outside", 0}};
  for (const TargetProcess& process : one.processes) {
    const Sameness same = proc.same_process(process);
    if (same.answer != Proof::yes && out["same"] != "yes") out.update({{"same", to_string(same.answer)}, {"because", same.because}});
    if (same.answer != Proof::yes) continue;
    out["same"] = "yes";
    const bool inside = std::find(members.begin(), members.end(), process.pid) != members.end();
    if (!inside && out["outside"] == 0) out["outside"] = process.pid;
  }
  return out;
}

Json usage_of(const Watched& one, Controller controller, double window, const ProcFs& proc) {
  const auto cgroup = CgroupFolder::open(one.ref);
  const auto pids = pids_of(cgroup, one);
  Json out = presence_of(one, pids, proc);
  out["cgroup_there"] = static_cast<bool>(cgroup);
  out["processes"] = pids.size();
  if (cgroup) out["limits"] = limits_of(*cgroup, controller, version_of(cgroup));
  if (controller == Controller::cpu) {
    const CpuSample now = sample_cpu(cgroup, pids, proc);
    out["share"] = share_between(one.cpu, now, window);
    out["periods"] = now.periods - std::min(now.periods, one.cpu.periods);
    out["throttled"] = now.throttled - std::min(now.throttled, one.cpu.throttled);
  } else if (controller == Controller::memory) {
    const auto use = cgroup ? memory_of(*cgroup, version_of(cgroup)) : memory_of_all(one.processes, proc);
    out["memory"] = {{"bytes", use.bytes}, {"hits", use.hits}, {"kills", use.kills}};
  } else {
    add_io(out, cgroup, one, window, proc);
  }
  return out;
}

bool has_limit(const CgroupFolder& cgroup, const Json& limit) {
  const LimitChange change{limit.at("file").get<std::string>(), limit.value("key", ""), "", limit.at("set").get<std::string>()};
  return read_limit(cgroup, change) == change.set;
}

Task<Json> usage(Json args, OpContext& context) {
  const ProcFs proc;
  const Controller controller = controller_from(args.at("controller").get<std::string>());
  auto window = std::chrono::milliseconds(std::clamp<std::int64_t>(args.at("window_ms").get<std::int64_t>(), 0, kLongestWindowMs));
  std::vector<Watched> watched;
  bool limited = false;
  const TimePoint begun = context.clock.now();
  for (const Json& json : args.at("watched")) {
    Watched one;
    one.processes = processes_from(json.at("identities"));
    one.ref = cgroup_ref_from_json(json.at("cgroup"));
    const auto cgroup = CgroupFolder::open(one.ref);
    limited = limited || (cgroup && has_limit(*cgroup, json.at("limit")));
    if (controller == Controller::cpu) one.cpu = sample_cpu(cgroup, pids_of(cgroup, one), proc);
    one.limited_devices = json.value("devices", std::vector<std::string>());
    if (controller == Controller::io) one.devices = io_by_device(cgroup);
    if (controller == Controller::io) one.io = io_in_all(cgroup, one.devices, one, proc);
    watched.push_back(std::move(one));
  }
  if (!limited) window /= kBriefly;
  co_await context.clock.sleep(window);
  const double passed = std::max(seconds(context.clock.now() - begun), 1e-6);
  Json out = {{"window_s", passed}, {"groups", Json::array()}};
  for (const Watched& one : watched) out["groups"].push_back(usage_of(one, controller, passed, proc));
  co_return out;
}

Task<Json> look_disks(Json args, OpContext&) {
  const auto disks = args.contains("path") ? std::vector<Disk>{disk_of(args["path"].get<std::string>())} : all_disks();
  Json out = {{"disks", Json::array()}};
  for (const Disk& disk : disks) out["disks"].push_back({{"device", disk.device}, {"name", disk.name}});
  co_return out;
}

}  // namespace

OpType cgroup_disks() {
  OpType type{"cgroup.disks", Lasts::look, "the disks that can be throttled"};
  type.look = look_disks;
  return type;
}

OpType cgroup_look() {
  OpType type{"cgroup.look", Lasts::look, "which cgroups processes are in, who else is in them, and what limits they have"};
  type.look = look;
  return type;
}

OpType cgroup_usage() {
  OpType type{"cgroup.usage", Lasts::look, "what processes and their cgroups use of the processor, of memory or of disks, and the limits in place"};
  type.look = usage;
  return type;
}

}  // namespace capsize
