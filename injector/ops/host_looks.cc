// host.cpu_use, host.memory_use, host.space and host.disk_use: what a machine has to give. Without the id of a burden they answer what is
// needed to plan one, with a fresh id; with it, what is left beside it, and what it takes.
#include <fmt/format.h>
#include <sched.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/base/rng.h"
#include "injector/burdens/bearer.h"
#include "injector/burdens/bearer_wire.h"
#include "injector/ops/host_ops.h"
#include "injector/targets/host.h"
#include "injector/targets/process.h"

namespace capsize {
namespace {

constexpr Duration kWindow = std::chrono::seconds(1);

int bearer_of(const Json& args) {
  const std::string id = args.value("id", "");
  if (!is_burden_id(id)) throw Error(ErrorKind::bug, "a look at a burden without an id", "this is a bug in capsize");
  const BearerLook found = find_bearer(id);
  return found.ending ? 0 : found.pid;
}

std::vector<int> allowed_cpus() {
  std::vector<cpu_set_t> set(16);  // 16384 CPUs
  const std::size_t bytes = set.size() * sizeof(cpu_set_t);
  if (::sched_getaffinity(0, bytes, set.data()) != 0) throw system_error(errno, "which CPUs may be used cannot be told");
  std::vector<int> out;
  for (std::size_t cpu = 0; cpu < bytes * 8; ++cpu) {
    if (CPU_ISSET_S(cpu, bytes, set.data())) out.push_back(static_cast<int>(cpu));
  }
  return out;
}

CpuTicks cpu_ticks() {
  const auto ticks = parse_cpu_ticks(whole_file("/proc/stat"));
  if (!ticks) throw Error(ErrorKind::unavailable, "/proc/stat does not say what the processors did", "mount /proc there");
  return *ticks;
}

double cpu_seconds(int pid) {
  if (pid == 0) return 0;
  const auto stat = ProcFs().stat(pid);
  return stat ? static_cast<double>(stat->cpu_ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK)) : 0;
}

double since(std::uint64_t before, std::uint64_t after) { return after > before ? static_cast<double>(after - before) : 0; }

Task<Json> look_cpu(Json args, OpContext& context) {
  if (!args.contains("id")) {
    Json planning = {{"processors", cpu_ticks().processors}, {"allowed", allowed_cpus()}};
    planning["new_id"] = fresh_burden_id();
    co_return planning;
  }
  const int bearer = bearer_of(args);
  const TimePoint begun = context.clock.now();
  const CpuTicks before = cpu_ticks();
  const double ours_before = cpu_seconds(bearer);
  co_await context.clock.sleep(kWindow);
  const double ours_after = cpu_seconds(bearer);
  const CpuTicks after = cpu_ticks();
  const double passed = seconds(context.clock.now() - begun);
  const double busy = since(before.busy, after.busy);
  const double all = busy + since(before.idle, after.idle);
  Json answer = {{"processors", after.processors}, {"bearer", bearer}, {"window", show(kWindow)}};
  answer["busy"] = all > 0 ? busy / all : 0.0;
  answer["ours"] = passed > 0 && after.processors > 0 ? std::max(0.0, ours_after - ours_before) / passed / after.processors : 0.0;
  co_return answer;
}

Json memory_json() {
  const HostMemory memory = memory_of_host();
  return {{"total", memory.total}, {"available", memory.available}, {"swap_total", memory.swap_total}};
}

Task<Json> look_memory(Json args, OpContext&) {
  Json answer = memory_json();
  if (!args.contains("id")) {
    answer["new_id"] = fresh_burden_id();
    co_return answer;
  }
  const int bearer = bearer_of(args);
  const auto held = bearer == 0 ? std::nullopt : number_after(whole_file(fmt::format("/proc/{}/status", bearer)), "RssAnon");
  answer["bearer"] = bearer;
  answer["held"] = held.value_or(0) * 1024;
  co_return answer;
}

Json space_json(const Json& args, const OpContext& context) {
  const FileSystemSpace space = file_system_space(args.at("path").get<std::string>());
  return {{"used", space.used}, {"available", space.available}, {"in_memory", space.in_memory}, {"read_only", space.read_only}, {"writable", space.writable}, {"device", space.device},
          {"state_folder_here", state_folder_is_on(context.state_folder, space.device)}};
}

Task<Json> look_space(Json args, OpContext& context) {
  Json answer = space_json(args, context);
  if (args.contains("id")) {
    answer["bearer"] = bearer_of(args);
  } else {
    answer["memory"] = memory_json();
    answer["new_id"] = fresh_burden_id();
  }
  co_return answer;
}

struct DiskUse {
  std::optional<DiskTicks> disk;  // none: what it is on is not one disk
  std::uint64_t read = 0;         // bytes, by us
  std::uint64_t written = 0;
};

DiskUse disk_use(std::uint64_t device, int bearer) {
  DiskUse out;
  out.disk = parse_disk_ticks(whole_file("/proc/diskstats"), gnu_dev_major(device), gnu_dev_minor(device));
  if (bearer == 0) return out;
  const std::string io = whole_file(fmt::format("/proc/{}/io", bearer));
  out.read = number_after(io, "read_bytes").value_or(0);
  out.written = number_after(io, "write_bytes").value_or(0);
  return out;
}

Task<Json> look_disk(Json args, OpContext& context) {
  Json answer = space_json(args, context);
  const auto device = answer.at("device").get<std::uint64_t>();
  if (!args.contains("id")) {
    answer["new_id"] = fresh_burden_id();
    co_return answer;
  }
  const int bearer = bearer_of(args);
  const TimePoint begun = context.clock.now();
  const DiskUse before = disk_use(device, bearer);
  co_await context.clock.sleep(kWindow);
  const DiskUse after = disk_use(device, bearer);
  const double passed = seconds(context.clock.now() - begun);
  answer["bearer"] = bearer;
  answer["window"] = show(kWindow);
  answer["read_per_second"] = since(before.read, after.read) / passed;
  answer["written_per_second"] = since(before.written, after.written) / passed;
  answer["disk"] = before.disk && after.disk ? Json(after.disk->name) : Json();
  answer["disk_busy"] = before.disk && after.disk ? Json(std::min(1.0, since(before.disk->busy_ms, after.disk->busy_ms) / 1e3 / passed)) : Json();
  co_return answer;
}

}  // namespace

std::string fresh_burden_id() {
  std::random_device random;
  return fmt::format("{:08x}", Rng(std::uint64_t{random()} << 32 | random()).next() >> 32);
}

bool state_folder_is_on(const std::string& state_folder, std::uint64_t device) {
  if (state_folder.empty()) return false;
  for (std::filesystem::path path = state_folder;; path = path.parent_path()) {
    std::error_code problem;
    if (std::filesystem::is_directory(path, problem)) return file_system_space(path.string()).device == device;
    if (path == path.parent_path()) return true;  // cannot be told: then it may be
  }
}

OpType host_cpu_use() {
  OpType type{"host.cpu_use", Lasts::look, "how busy the processors of a host are, and by how much with our burden"};
  type.look = look_cpu;
  return type;
}

OpType host_memory_use() {
  OpType type{"host.memory_use", Lasts::look, "how much memory a host has left, and how much our burden holds"};
  type.look = look_memory;
  return type;
}

OpType host_space() {
  OpType type{"host.space", Lasts::look, "how much room is left on a file system, and whether capsize's own journals are there"};
  type.look = look_space;
  return type;
}

OpType host_disk_use() {
  OpType type{"host.disk_use", Lasts::look, "how busy the disk below a folder is, and how much our burden reads and writes there"};
  type.look = look_disk;
  return type;
}

}  // namespace capsize
