// A process id as a playbook writes it, and how a TargetProcess is written down.
#include <fmt/format.h>

#include <charconv>

#include "injector/targets/process.h"

namespace capsize {
namespace {

constexpr int kMaxPid = 4'194'304;  // the kernel's own limit

}  // namespace

std::optional<int> parse_pid(std::string_view text) {
  int value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size() || value < 1 || value > kMaxPid) return std::nullopt;
  return value;
}

std::string ParamTraits<Pid>::name() { return "pid"; }

Parsed<Pid> ParamTraits<Pid>::parse(const Json& json) {
  if (!json.is_string() && !json.is_number_integer()) return wrong_type(json, "a process id, as 1234");
  const std::string text = json.is_string() ? json.get<std::string>() : json.dump();
  const auto pid = parse_pid(text);
  if (!pid) return Mistake{"\"" + printable(text, 60) + "\" is not a process id", fmt::format("write a whole number from 1 to {}", kMaxPid)};
  return Pid{*pid};
}

Json ParamTraits<Pid>::schema() {
  // The pattern admits the same numbers as `kMaxPid` does: 1 to 4194304, no sign. The parser takes leading zeros, and so does it.
  const char* pattern = "^0*([1-9][0-9]{0,5}|[1-3][0-9]{6}|40[0-9]{5}|41[0-8][0-9]{4}|419[0-3][0-9]{3}|4194[0-2][0-9]{2}|419430[0-4])$";
  Json number = {{"type", "integer"}, {"minimum", 1}, {"maximum", kMaxPid}};
  Json text = {{"type", "string"}, {"pattern", pattern}};
  return schema_with_variables({{"anyOf", Json::array({std::move(number), std::move(text)})}});
}

Json ParamTraits<Pid>::show(const Pid& value) { return value.value; }

Json to_json(const TargetProcess& process) {
  Json out = {{"boot_id", process.boot_id}, {"pid", process.pid}, {"start_ticks", process.start_ticks}, {"pid_namespace", process.pid_namespace}, {"comm", process.comm}};
  out["pidfs_inode"] = process.pidfs_inode ? Json(*process.pidfs_inode) : Json(nullptr);
  out["exe"] = nullptr;
  if (process.exe) out["exe"] = {{"device", process.exe->device}, {"inode", process.exe->inode}, {"path", process.exe->path}};
  if (!process.cgroups.empty()) out["cgroups"] = process.cgroups;
  return out;
}

TargetProcess target_process_from_json(const Json& json) {
  try {
    TargetProcess out;
    out.boot_id = json.at("boot_id").get<std::string>();
    out.pid = json.at("pid").get<int>();
    out.start_ticks = json.at("start_ticks").get<std::uint64_t>();
    out.pid_namespace = json.at("pid_namespace").get<std::uint64_t>();
    out.comm = json.at("comm").get<std::string>();
    if (!json.at("pidfs_inode").is_null()) out.pidfs_inode = json.at("pidfs_inode").get<std::uint64_t>();
    const Json& exe = json.at("exe");
    if (!exe.is_null()) out.exe = ExeFile{exe.at("device").get<std::uint64_t>(), exe.at("inode").get<std::uint64_t>(), exe.at("path").get<std::string>()};
    if (json.contains("cgroups")) out.cgroups = json["cgroups"].get<std::map<std::string, std::string>>();
    if (out.pid < 1 || out.boot_id.empty()) throw Error(ErrorKind::bug, "the identity of a process without pid or boot");
    return out;
  } catch (const Json::exception& problem) {
    throw Error(ErrorKind::bug, std::string("not the identity of a process: ") + problem.what());
  }
}

bool same_identity(const TargetProcess& one, const TargetProcess& other) {
  return one.boot_id == other.boot_id && one.pid == other.pid && one.start_ticks == other.start_ticks && one.pidfs_inode == other.pidfs_inode && one.pid_namespace == other.pid_namespace;
}

std::string describe(const TargetProcess& process) { return fmt::format("process {} ({})", process.pid, process.comm); }

std::string_view to_string(Proof answer) {
  switch (answer) {
    case Proof::yes: return "yes";
    case Proof::no: return "no";
    case Proof::cannot_tell: break;
  }
  return "cannot_tell";
}

}  // namespace capsize
