// process.io: a process reads from and writes to disks only so fast, as on a worn-out or crowded disk, or a volume with a quota.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "injector/faults/cgroup_faults.h"

namespace capsize {

struct Throughput {
  std::uint64_t bytes_per_second = 0;
};
template <>
struct ParamTraits<Throughput> {
  static std::string name() { return "throughput"; }
  static Parsed<Throughput> parse(const Json& json) {
    if (!json.is_string()) return wrong_type(json, "a throughput, as \"1MiB/s\"");
    const auto& text = json.get_ref<const std::string&>();
    const Mistake mistake{"\"" + printable(text, 60) + "\" is not a throughput", "write a number and a unit (B/s, KiB/s, MiB/s, GiB/s), as \"1MiB/s\""};
    if (!text.ends_with("/s")) return mistake;
    auto size = parse_size(std::string_view(text).substr(0, text.size() - 2));
    if (std::holds_alternative<Mistake>(size)) return mistake;
    return Throughput{std::get<Size>(size).bytes};
  }
  static Json schema() { return schema_with_variables({{"type", "string"}, {"pattern", "^[0-9]+(\\.[0-9]+)?(B|KiB|MiB|GiB)/s$"}}); }
  static Json show(const Throughput& value) { return capsize::show(Size{value.bytes_per_second}) + "/s"; }
};

namespace {

constexpr auto kWindow = std::chrono::milliseconds(2000);
constexpr std::uint64_t kLeast = 4096;   // a page a second
constexpr double kTolerance = 1.15;      // the kernel lets through in slices of a tenth of a second
constexpr double kSlow = 1048576;        // bytes a second: below, one large request takes longer than we look
constexpr double kMostOfIt = 0.6;        // who comes this near to a limit is held back by it: it works in bursts of its own

struct IoParams {
  std::optional<Throughput> read;
  std::optional<Throughput> write;
  std::optional<std::string> path;
};

Rule<std::optional<Throughput>> at_least_a_page() {
  return if_given(Rule<Throughput>{[](const Throughput& value) -> std::optional<Mistake> {
    if (value.bytes_per_second >= kLeast) return std::nullopt;
    return Mistake{"less than a page in a second", "write at least \"4KiB/s\""};
  }});
}

Rule<std::optional<std::string>> absolute() {
  return {[](const std::optional<std::string>& path) -> std::optional<Mistake> {
            if (!path || path->starts_with('/')) return std::nullopt;
            return Mistake{"\"" + printable(*path, 60) + "\" is not an absolute path", "begin it with /"};
          },
          {{"pattern", "^/|\\$\\{"}}};
}

const Spec<IoParams>& io_params() {
  static const auto spec = Spec<IoParams>()
                               .optional("read", &IoParams::read, "how fast it may read from each disk", at_least_a_page())
                               .optional("write", &IoParams::write, "how fast it may write to each disk", at_least_a_page())
                               .optional("path", &IoParams::path, "only the disk that holds this file or folder, or this block device; default: every disk", absolute());
  return spec;
}

const AnySpec& io_spec() { return io_params(); }

std::string per_second(double bytes) { return bytes >= 1048576 ? fmt::format("{:.4g} MiB/s", bytes / 1048576) : fmt::format("{:.4g} KiB/s", bytes / 1024); }

std::uint64_t number(const std::string& text) {  // 0: no limit, as version 1 says it; "max" is none either
  std::uint64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

std::uint64_t tighter(std::uint64_t now, std::uint64_t wanted, const std::string& what) {
  if (now == 0 || now > wanted) return wanted;
  throw Error(ErrorKind::refused, fmt::format("{} is limited to {} already: {} would be no less", what, per_second(static_cast<double>(now)), per_second(static_cast<double>(wanted))), "write less");
}

// The value of "rbps" in "rbps=1 wbps=max riops=max wiops=max".
std::string part_of(const std::string& line, const std::string& name) {
  for (const std::string& word : words_of(line)) {
    if (word.starts_with(name + "=")) return word.substr(name.size() + 1);
  }
  return "max";
}

LimitChange change_v2(const Placement& placement, const Json& disk, const IoParams& params) {
  LimitChange change{"io.max", disk.at("device").get<std::string>(), "", ""};
  const std::string what = fmt::format("{} at {}", describe(placement.step.processes), disk.at("name").get<std::string>());
  const std::string now = value_for(change, limit_now(placement, change.file, ""));
  change.was = value_for(change, limit_there(placement, change.file, ""));
  std::string read = part_of(now, "rbps");  // also where it is moved: what holds where it is now goes on to hold
  std::string write = part_of(now, "wbps");
  if (params.read) read = std::to_string(tighter(number(part_of(now, "rbps")), params.read->bytes_per_second, what));
  if (params.write) write = std::to_string(tighter(number(part_of(now, "wbps")), params.write->bytes_per_second, what));
  change.set = fmt::format("rbps={} wbps={} riops={} wiops={}", read, write, part_of(now, "riops"), part_of(now, "wiops"));
  return change;
}

void add_v1(const Placement& placement, const Json& disk, const char* file, const std::optional<Throughput>& limit, std::vector<LimitChange>& out) {
  if (!limit) return;
  LimitChange change{file, disk.at("device").get<std::string>(), "", ""};
  const std::string what = fmt::format("{} at {}", describe(placement.step.processes), disk.at("name").get<std::string>());
  change.was = value_for(change, limit_there(placement, file, ""));
  change.set = std::to_string(tighter(number(value_for(change, limit_now(placement, file, ""))), limit->bytes_per_second, what));
  out.push_back(std::move(change));
}

std::vector<LimitChange> changes_of(const Placement& placement, const Json& disks, const IoParams& params) {
  std::vector<LimitChange> out;
  for (const Json& disk : disks) {
    if (placement.version == 2) {
      out.push_back(change_v2(placement, disk, params));
      continue;
    }
    add_v1(placement, disk, "blkio.throttle.read_bps_device", params.read, out);
    add_v1(placement, disk, "blkio.throttle.write_bps_device", params.write, out);
  }
  return out;
}

std::string words(const IoParams& params, const Json& disks) {
  std::string names;
  for (const Json& disk : disks) names += (names.empty() ? "" : ", ") + disk.at("name").get<std::string>();
  const std::string read = params.read ? fmt::format("reads at most {}", per_second(static_cast<double>(params.read->bytes_per_second))) : "";
  const std::string write = params.write ? fmt::format("writes at most {}", per_second(static_cast<double>(params.write->bytes_per_second))) : "";
  return fmt::format("{}{}{} ({}{})", read, read.empty() || write.empty() ? "" : " and ", write, disks.size() > 1 ? "each of " : "", names);
}

Task<FaultPlan> plan_io(FaultRequest request, HostView& host) {
  const IoParams params = io_params().parse_or_throw(request.params);
  if (!params.read && !params.write) throw Error(ErrorKind::refused, "neither \"read\" nor \"write\" says how fast", "write one of them, or both, as \"read\": \"1MiB/s\"");
  Json disk_query = Json::object();
  if (params.path) disk_query["path"] = *params.path;
  Op which{"cgroup.disks", disk_query};
  const Json disks = co_await host.inspect(std::move(which));
  if (disks.at("disks").empty()) throw Error(ErrorKind::unavailable, "there is no disk here that could be throttled", "choose another fault");
  const CgroupAim aim = co_await aim_at_cgroups(std::move(request), Controller::io, host);
  FaultPlan plan;
  for (const Placement& placement : aim.placements) plan.steps.push_back(limit_step(placement, changes_of(placement, disks.at("disks"), params)));
  plan.summary = fmt::format("{} {}, {}", named(aim.chosen), words(params, disks.at("disks")), aim.words());
  plan.intended = {{"disks", disks.at("disks")}};
  if (params.read) plan.intended["read_per_second"] = params.read->bytes_per_second;
  if (params.write) plan.intended["written_per_second"] = params.write->bytes_per_second;
  if (aim.chosen.processes.size() > 1) plan.intended["target"] = aim.chosen.how;
  plan.observe = usage_query(plan.steps, Controller::io, kWindow);
  co_return plan;
}

struct Direction {
  bool within = true;      // at every disk
  bool held_back = false;  // at any
  std::string words;
};

// What `group` has moved at a disk; all that it has, while it is not counted by disk.
double at_disk(const Json& group, const std::string& device, const char* direction, const char* at_all) {
  if (!group.contains("devices")) return group.value(at_all, 0.0);
  return group["devices"].value(device, Json::object()).value(direction, 0.0);
}

// Each disk has the limit for itself.
Direction judge(const Json& intended, const char* key, const char* verb, const Json& before, const Json& after) {
  if (!intended.contains(key)) return {};
  const char* direction = std::string_view(key).starts_with("read") ? "read" : "written";
  if (!after.contains("devices")) return {false, false, "what it moves at each disk could not be read"};
  const double limit = intended[key].get<double>();
  Direction out;
  int told = -1;  // of the disk that is spoken of: the worst one, else one that holds back, else the busiest
  double told_got = 0;
  for (const Json& disk : intended.at("disks")) {
    const auto device = disk.at("device").get<std::string>();
    const double got = at_disk(after, device, direction, key);
    const double had = at_disk(before, device, direction, key);
    const bool within = got <= limit * kTolerance;
    // A throttled process that moves nothing at all for seconds does so at a very low limit only; else it is idle, or works at another disk.
    const bool wanted_more = had > limit * kTolerance && (got > 0 || limit < kSlow);
    const bool held_back = within && (got >= limit * kMostOfIt || wanted_more);
    out.within = out.within && within;
    out.held_back = out.held_back || held_back;
    const int tells = !within ? 2 : held_back ? 1 : 0;
    if (tells < told || (tells == told && got <= told_got)) continue;
    told = tells;
    told_got = got;
    const std::string where = intended["disks"].size() > 1 ? " at " + disk.at("name").get<std::string>() : "";
    out.words = fmt::format("{} {}{} (intended at most {}, before {})", verb, per_second(got), where, per_second(limit), per_second(had));
  }
  return out;
}

StepEffect outcome(const Step& step, const Json& intended, const Json& before, const Json& after) {
  StepEffect out;
  for (const char* key : {"read_per_second", "written_per_second"}) {
    out.measured[key] = after.value(key, Json());
    out.measured[std::string(key) + "_before"] = before.value(key, Json());
  }
  if (after.contains("devices")) out.measured["devices"] = after["devices"];
  out.because = after.value("same", "") == "yes" ? why_not_limited(step, after) : after.value("because", "");
  if (!out.because.empty()) return out;
  const Direction read = judge(intended, "read_per_second", "read", before, after);
  const Direction write = judge(intended, "written_per_second", "wrote", before, after);
  out.bites = read.within && write.within && (read.held_back || write.held_back);
  out.because = read.words + (read.words.empty() || write.words.empty() ? "" : ", ") + write.words;
  if (read.within && write.within && !out.bites) out.because += ": it did not ask for more";
  return out;
}

Effect io_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  return effect_of(plan, before, after, [&](std::size_t i, const Json& then, const Json& now) { return outcome(plan.steps[i], plan.intended, then, now); });
}

}  // namespace

FaultType process_io() {
  FaultType type;
  type.name = "process.io";
  type.doc = "a process reads from and writes to disks only so fast";
  type.target_types = {"process", "container"};
  type.spec = io_spec;
  type.example = {{"fault", "process.io"}, {"target", "auth2"}, {"read", "1MiB/s"}, {"write", "1MiB/s"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan_io;
  type.effect = io_effect;
  type.undo_doc = "sets the limits of its cgroup back, or moves the process back to its cgroup; without it they stay until that cgroup goes";
  return type;
}

}  // namespace capsize
