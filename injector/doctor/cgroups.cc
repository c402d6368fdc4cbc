// Cgroups that keep their processes from running, or from memory and disk: version 1 and 2, whichever is mounted.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

#include "injector/base/diagnostics.h"
#include "injector/cgroup/limit_step.h"
#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxCgroups = 50000;
constexpr double kOddShare = 0.5;          // of one processor: whoever limits a service on purpose rarely gives it less
constexpr double kOddShareOfPod = 0.05;    // Kubernetes gives small shares all day
constexpr std::uint64_t kFewPeriods = 100; // below it a share of throttled ones says nothing
constexpr std::uint64_t kOddMemory = 8u << 20;
constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 60;  // version 1 writes "no limit" as a number

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::string content(const fs::path& file) { return trimmed(read_file(file).value_or("")); }

template <class T>
std::optional<T> number(const std::string& text) {
  T out{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), out);
  return result.ec == std::errc() && !text.empty() ? std::optional(out) : std::nullopt;
}

std::uint64_t field(const std::string& text, std::string_view name) {
  std::istringstream words(text);
  std::string key, value;
  while (words >> key >> value) {
    if (key == name) return number<std::uint64_t>(value).value_or(0);
  }
  return 0;
}

std::size_t count_lines(const std::string& text) { return text.empty() ? 0 : static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1; }

void read_v2(const fs::path& folder, CgroupLook& out) {
  std::istringstream cpu(content(folder / "cpu.max"));
  std::string quota, period;
  if (cpu >> quota >> period) {
    out.quota_us = number<std::int64_t>(quota);  // "max": none
    out.period_us = number<std::int64_t>(period).value_or(out.period_us);
  }
  out.frozen = content(folder / "cgroup.freeze") == "1";
  for (const char* name : {"memory.max", "memory.high"}) {
    const auto limit = number<std::uint64_t>(content(folder / name));
    if (limit && (!out.memory_limit || *limit < *out.memory_limit)) out.memory_limit = limit, out.memory_file = name;
  }
  const std::string io = content(folder / "io.max");
  if (!io.empty()) out.io_limits.emplace_back("io.max", io);
}

void read_v1(const fs::path& folder, CgroupLook& out) {
  const auto quota = number<std::int64_t>(content(folder / "cpu.cfs_quota_us"));
  if (quota && *quota > 0) out.quota_us = quota;
  out.period_us = number<std::int64_t>(content(folder / "cpu.cfs_period_us")).value_or(out.period_us);
  out.frozen = content(folder / "freezer.self_freezing") == "1";
  const auto limit = number<std::uint64_t>(content(folder / "memory.limit_in_bytes"));
  if (limit && *limit < kUnlimited) out.memory_limit = limit, out.memory_file = "memory.limit_in_bytes";
  for (const char* name : {"blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"}) {
    const std::string lines = content(folder / name);
    if (!lines.empty()) out.io_limits.emplace_back(name, lines);
  }
}

// One mounted hierarchy, depth first, so that a cgroup knows how many processes are below it.
class Hierarchy {
 public:
  Hierarchy(fs::path mount, bool v2, Examination& examination) : mount_(std::move(mount)), v2_(v2), examination_(examination) {}

  std::size_t visit(const fs::path& folder) {
    if (++visited_ > kMaxCgroups) return 0;
    CgroupLook look;
    std::error_code problem;
    for (const auto& entry : fs::directory_iterator(folder, problem)) {
      std::error_code gone;
      if (entry.is_directory(gone) && !entry.is_symlink(gone)) look.processes += visit(entry.path());
    }
    look.v2 = v2_;
    look.folder = folder.string();
    look.path = folder == mount_ ? "/" : look.folder.substr(mount_.string().size());
    look.processes += count_lines(content(folder / "cgroup.procs"));
    if (v2_) read_v2(folder, look);
    else read_v1(folder, look);
    const std::string stat = content(folder / "cpu.stat");
    look.periods = field(stat, "nr_periods");
    look.throttled = field(stat, "nr_throttled");
    auto found = judge_cgroup(look);
    std::move(found.begin(), found.end(), std::back_inserter(examination_.findings));
    return look.processes;
  }
  std::size_t visited() const { return visited_; }

 private:
  fs::path mount_;
  bool v2_;
  Examination& examination_;
  std::size_t visited_ = 0;
};

bool has_limits(const MountLine& mount) {
  if (mount.type == "cgroup2") return true;
  if (mount.type != "cgroup") return false;
  const std::string options = "," + mount.options + ",";
  for (const char* controller : {",cpu,", ",freezer,", ",memory,", ",blkio,"}) {
    if (options.find(controller) != std::string::npos) return true;
  }
  return false;
}

void look(const Surroundings&, Examination& examination) {
  std::size_t visited = 0;
  bool any = false;
  std::set<std::string> seen;
  for (const MountLine& mount : read_mounts()) {
    if (!has_limits(mount) || !seen.insert(mount.type + " " + mount.options).second) continue;  // mounted in two places: once is enough
    any = true;
    Hierarchy hierarchy(mount.path, mount.type == "cgroup2", examination);
    hierarchy.visit(mount.path);
    visited += hierarchy.visited();
    if (hierarchy.visited() > kMaxCgroups) examination.unseen.push_back({fmt::format("cgroups below {} beyond the first {}", mount.path, kMaxCgroups), "there are too many", ""});
  }
  if (any) examination.looked_at.push_back(fmt::format("{} cgroups", visited));
  else examination.unseen.push_back({"cgroups", "none are mounted here", "run it on the host, not in a container"});
}

std::string owner_of(const CgroupLook& cgroup) {
  if (const std::string container = container_of(cgroup.path); !container.empty()) return "container " + container;
  if (const std::string unit = systemd_unit_of(cgroup.path); !unit.empty()) return "systemd unit " + unit;
  return "";
}

Symptom begin_finding(const CgroupLook& cgroup, const char* kind, Gravity severity) {
  Symptom out;
  out.kind = kind;
  out.severity = severity;
  out.where = "cgroup " + printable(cgroup.folder, 400);
  out.from = owner_of(cgroup);
  return out;
}

std::string write_to(const CgroupLook& cgroup, const std::string& file, const std::string& text) { return fmt::format("echo {} > {}", shell_word(text), shell_word(cgroup.folder + "/" + file)); }

std::optional<Symptom> judge_processor(const CgroupLook& cgroup) {
  if (!cgroup.quota_us || cgroup.period_us <= 0 || cgroup.processes == 0) return std::nullopt;
  const bool pod = cgroup.path.find("kubepods") != std::string::npos;
  const double share = static_cast<double>(*cgroup.quota_us) / static_cast<double>(cgroup.period_us);
  const bool mostly_throttled = cgroup.periods >= kFewPeriods && cgroup.throttled * 2 > cgroup.periods;
  if (share >= (pod ? kOddShareOfPod : kOddShare) && (pod || !mostly_throttled)) return std::nullopt;
  Symptom out = begin_finding(cgroup, "cgroup.cpu", Gravity::suspect);
  out.what = fmt::format("{} processes share {:.3g} % of one processor", cgroup.processes, share * 100);
  if (cgroup.periods > 0) out.what += fmt::format(", and were held back in {:.3g} % of {} periods", 100.0 * static_cast<double>(cgroup.throttled) / static_cast<double>(cgroup.periods), cgroup.periods);
  out.undo = cgroup.v2 ? write_to(cgroup, "cpu.max", "max") : write_to(cgroup, "cpu.cfs_quota_us", "-1");
  out.advice = "a limit may be on purpose: compare it with what the unit, container or pod is configured to have";
  return out;
}

std::optional<Symptom> judge_frozen(const CgroupLook& cgroup) {
  if (!cgroup.frozen) return std::nullopt;
  Symptom out = begin_finding(cgroup, "cgroup.frozen", cgroup.processes > 0 ? Gravity::harm : Gravity::leftover);
  out.what = fmt::format("{} processes are frozen", cgroup.processes);
  out.undo = cgroup.v2 ? write_to(cgroup, "cgroup.freeze", "0") : write_to(cgroup, "freezer.state", "THAWED");
  const std::string container = container_of(cgroup.path);
  if (!container.empty()) out.advice = fmt::format("it may have been paused by its engine (as Pumba does): docker unpause {}", container);
  return out;
}

std::optional<Symptom> judge_memory(const CgroupLook& cgroup) {
  if (!cgroup.memory_limit || *cgroup.memory_limit >= kOddMemory || cgroup.processes == 0) return std::nullopt;
  Symptom out = begin_finding(cgroup, "cgroup.memory", Gravity::suspect);
  out.what = fmt::format("{} processes have {} KiB of memory between them", cgroup.processes, *cgroup.memory_limit / 1024);
  out.undo = write_to(cgroup, cgroup.memory_file, cgroup.v2 ? "max" : "-1");
  return out;
}

std::string undo_io(const CgroupLook& cgroup, const std::string& file, const std::string& lines) {
  std::istringstream in(lines);
  std::string out;
  for (std::string line; std::getline(in, line);) {
    const std::string device = line.substr(0, line.find(' '));
    out += (out.empty() ? "" : " && ") + write_to(cgroup, file, device + (cgroup.v2 ? " rbps=max wbps=max riops=max wiops=max" : " 0"));
  }
  return out;
}

}  // namespace

std::vector<Symptom> judge_cgroup(const CgroupLook& cgroup) {
  std::vector<Symptom> out;
  if (auto finding = judge_frozen(cgroup)) out.push_back(std::move(*finding));
  if (auto finding = judge_processor(cgroup)) out.push_back(std::move(*finding));
  if (auto finding = judge_memory(cgroup)) out.push_back(std::move(*finding));
  for (const auto& [file, lines] : cgroup.io_limits) {
    if (cgroup.processes == 0) continue;
    Symptom finding = begin_finding(cgroup, "cgroup.io", Gravity::suspect);
    finding.what = fmt::format("{} processes are held back at the disk: {} has {}", cgroup.processes, file, printable(lines, 200));
    finding.undo = undo_io(cgroup, file, lines);
    out.push_back(std::move(finding));
  }
  const std::string name = cgroup.path.substr(cgroup.path.rfind('/') + 1);
  const bool named_by_us = name.starts_with(kOurCgroup) || name.starts_with("capsize_") || name.starts_with("cpz");
  if (!named_by_us) return out;
  for (Symptom& finding : out) finding.from = "capsize, by its name";
  if (cgroup.processes == 0) {
    Symptom finding = begin_finding(cgroup, "cgroup.left", Gravity::leftover);
    finding.what = "an empty cgroup was left";
    finding.from = "capsize, by its name";
    finding.undo = "rmdir " + shell_word(cgroup.folder);
    out.push_back(std::move(finding));
  } else {
    Symptom finding = begin_finding(cgroup, "cgroup.left", Gravity::harm);
    finding.what = fmt::format("{} processes were moved to a cgroup of capsize", cgroup.processes);
    finding.from = "capsize, by its name";
    finding.advice = "if no run is in progress: `capsize revert --all` moves them back where they came from";
    out.push_back(std::move(finding));
  }
  return out;
}

DoctorCheck check_cgroups() {
  return {"cgroups", "frozen cgroups, processor shares below half a processor or throttled most of the time, memory below 8 MiB, disk limits", look, nullptr};
}

}  // namespace capsize
