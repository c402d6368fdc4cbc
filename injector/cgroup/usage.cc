#include "injector/cgroup/usage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace capsize {
namespace {

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t out = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), out);
  return result.ec == std::errc() && !text.empty() ? std::optional(out) : std::nullopt;
}

std::string whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::uint64_t counter(const std::map<std::string, std::uint64_t>& counters, const std::string& name) {
  const auto it = counters.find(name);
  return it == counters.end() ? 0 : it->second;
}

std::uint64_t less(std::uint64_t value, std::uint64_t part) { return value - std::min(value, part); }

// "VmRSS:	  123 kB", in bytes.
std::uint64_t kibibytes(std::string_view text, std::string_view name) {
  for (const std::string& line : words_of(text, '\n')) {
    if (!line.starts_with(name)) continue;
    for (const std::string& word : words_of(line.substr(name.size()))) {
      const auto tab = word.find_last_of('\t');
      const auto value = number(tab == std::string::npos ? word : word.substr(tab + 1));
      if (value) return *value * 1024;
    }
  }
  return 0;
}

const std::vector<std::string>& limit_files(Controller controller, int version) {
  static const std::map<std::pair<Controller, int>, std::vector<std::string>> files = {
      {{Controller::cpu, 1}, {"cpu.cfs_quota_us", "cpu.cfs_period_us"}},
      {{Controller::cpu, 2}, {"cpu.max"}},
      {{Controller::memory, 1}, {"memory.limit_in_bytes"}},
      {{Controller::memory, 2}, {"memory.max"}},
      {{Controller::io, 1}, {"blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"}},
      {{Controller::io, 2}, {"io.max"}}};
  return files.at({controller, version});
}

}  // namespace

std::map<std::string, std::uint64_t> parse_counters(std::string_view text) {
  std::map<std::string, std::uint64_t> out;
  for (const std::string& line : words_of(text, '\n')) {
    const auto parts = words_of(line);
    const auto value = parts.size() == 2 ? number(parts[1]) : std::nullopt;
    if (value) out[parts[0]] = *value;
  }
  return out;
}

IoByDevice parse_io_counters(std::string_view text) {
  IoByDevice out;
  for (const std::string& line : words_of(text, '\n')) {
    const auto parts = words_of(line);
    if (parts.empty() || parts[0].find(':') == std::string::npos) continue;  // a sum
    IoCount& device = out[parts[0]];
    if (parts.size() == 3 && parts[1] == "Read") device.read_bytes += number(parts[2]).value_or(0);
    if (parts.size() == 3 && parts[1] == "Write") device.written_bytes += number(parts[2]).value_or(0);
    for (const std::string& part : parts) {
      if (part.starts_with("rbytes=")) device.read_bytes += number(std::string_view(part).substr(7)).value_or(0);
      if (part.starts_with("wbytes=")) device.written_bytes += number(std::string_view(part).substr(7)).value_or(0);
    }
  }
  return out;
}

IoCount sum_of(const IoByDevice& devices) {
  IoCount out;
  for (const auto& [name, count] : devices) {
    out.read_bytes += count.read_bytes;
    out.written_bytes += count.written_bytes;
  }
  return out;
}

std::map<std::string, std::string> limits_of(const CgroupFolder& cgroup, Controller controller, int version) {
  std::map<std::string, std::string> out;
  for (const std::string& file : limit_files(controller, version)) {
    const auto value = cgroup.read(file);
    if (value) out[file] = *value;
  }
  return out;
}

CpuSample sample_cpu(const std::optional<CgroupFolder>& cgroup, const std::vector<int>& pids, const ProcFs& proc) {
  CpuSample out;
  for (const int pid : pids) {
    const auto look = pid > 0 ? proc.stat(pid) : std::nullopt;
    if (look) out.ticks[pid] = look->cpu_ticks;
  }
  if (!cgroup) return out;
  const auto stat = parse_counters(cgroup->read("cpu.stat").value_or(""));
  out.periods = counter(stat, "nr_periods");
  out.throttled = counter(stat, "nr_throttled");
  if (stat.count("usage_usec") > 0) {
    out.group_seconds = static_cast<double>(stat.at("usage_usec")) / 1e6;
  } else if (const auto usage = cgroup->read("cpuacct.usage")) {  // version 1, where both controllers share a hierarchy
    if (const auto value = number(*usage)) out.group_seconds = static_cast<double>(*value) / 1e9;
  }
  return out;
}

double share_between(const CpuSample& first, const CpuSample& second, double window_seconds) {
  if (window_seconds <= 0) return 0;
  if (first.group_seconds && second.group_seconds) return (*second.group_seconds - *first.group_seconds) / window_seconds;
  std::uint64_t ticks = 0;
  for (const auto& [pid, now] : second.ticks) {
    const auto then = first.ticks.find(pid);
    ticks += then == first.ticks.end() ? now : less(now, then->second);
  }
  return static_cast<double>(ticks) / static_cast<double>(std::max(1L, ::sysconf(_SC_CLK_TCK))) / window_seconds;
}

MemoryUse memory_from(int version, const std::map<std::string, std::string>& files) {
  const auto text = [&](const char* name) { return files.count(name) > 0 ? files.at(name) : std::string(); };
  MemoryUse out;
  const auto stat = parse_counters(text("memory.stat"));
  if (version == 1) {
    const auto sum = [&](const char* name) { return stat.count(std::string("total_") + name) > 0 ? counter(stat, std::string("total_") + name) : counter(stat, name); };
    out.bytes = number(text("memory.usage_in_bytes")).value_or(0);
    out.fixed = less(out.bytes, less(sum("cache"), sum("shmem")));
    out.hits = number(text("memory.failcnt")).value_or(0);
    out.kills = counter(parse_counters(text("memory.oom_control")), "oom_kill");
    return out;
  }
  const auto events = parse_counters(text("memory.events"));
  out.bytes = number(text("memory.current")).value_or(0);
  out.fixed = less(out.bytes, less(counter(stat, "file"), counter(stat, "shmem")) + counter(stat, "slab_reclaimable"));
  out.hits = counter(events, "max");
  out.kills = counter(events, "oom_kill");
  return out;
}

MemoryUse memory_of(const CgroupFolder& cgroup, int version) {
  std::map<std::string, std::string> files;
  for (const char* file : {"memory.stat", "memory.usage_in_bytes", "memory.failcnt", "memory.oom_control", "memory.current", "memory.events"}) {
    if (const auto value = cgroup.read(file)) files[file] = *value;
  }
  return memory_from(version, files);
}

std::optional<MemoryUse> memory_of_process(int pid, const ProcFs& proc) {
  const std::string text = whole(proc.path(pid, "status"));
  if (text.empty()) return std::nullopt;
  MemoryUse out;
  out.bytes = kibibytes(text, "VmRSS:");
  out.fixed = kibibytes(text, "RssAnon:") + kibibytes(text, "RssShmem:");
  return out;
}

std::uint64_t free_swap() { return kibibytes(whole("/proc/meminfo"), "SwapFree:"); }

IoByDevice io_of(const CgroupFolder& cgroup, int version) {
  if (version == 2) return parse_io_counters(cgroup.read("io.stat").value_or(""));
  return parse_io_counters(cgroup.read("blkio.throttle.io_service_bytes").value_or(""));
}

}  // namespace capsize
