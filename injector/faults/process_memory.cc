// process.memory: a process may use hardly more memory than it does, so that it has to give some back, or is killed by the kernel.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "injector/faults/cgroup_faults.h"

namespace capsize {
namespace {

constexpr std::uint64_t kGrain = 64 * 1024;                // a multiple of every page size: the kernel takes it as it is
constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 60;  // version 1 writes "no limit" as a number
constexpr std::uint64_t kLeast = 1024 * 1024;              // with less nothing runs
constexpr double kMargin = 0.02;                           // what cannot be had back comes and goes by so much
constexpr const char* kKill = "irreversible";              // of "allow": nothing brings a killed process back

struct MemoryParams {
  std::optional<Share> share;
  std::optional<Size> limit;
  std::optional<Size> room;
};

Rule<Share> some_of_it() {
  return {[](const Share& share) -> std::optional<Mistake> {
            if (share.value > 0) return std::nullopt;
            return Mistake{"no memory at all", "write more than \"0%\""};
          },
          {{"anyOf", Json::array({{{"pattern", "[1-9]"}}, {{"pattern", "\\$\\{"}}})}}};
}

const Spec<MemoryParams>& memory_params() {
  static const auto spec = Spec<MemoryParams>()
                               .optional("share", &MemoryParams::share, "it may use this share of what it uses when the fault is planned, and has to give back the rest", if_given(some_of_it()))
                               .optional("limit", &MemoryParams::limit, "it may use so much")
                               .optional("room", &MemoryParams::room, "it may use so much more than it uses when the fault is planned")
                               .exactly_one_of({"share", "limit", "room"});
  return spec;
}

const AnySpec& memory_spec() { return memory_params(); }

std::string mebibytes(std::uint64_t bytes) { return fmt::format("{:.4g} MiB", static_cast<double>(bytes) / 1048576.0); }

std::uint64_t bytes_of(const std::string& text) {
  std::uint64_t out = kUnlimited;
  std::from_chars(text.data(), text.data() + text.size(), out);  // "max": it stays unlimited
  return out;
}

struct MemoryLook {
  std::uint64_t bytes = 0;
  std::uint64_t fixed = 0;
  std::uint64_t free_swap = 0;
};

struct MemoryLimit {
  std::uint64_t set = 0;   // of the cgroup that is limited
  bool kill_likely = false;
  std::string why;         // a kill is likely; empty: only possible
};

MemoryLook look_of(const Json& look, bool moved) {
  const Json& memory = look.at("memory");
  const Json& of = memory.at(moved ? "processes" : "group");
  return {of.at("bytes").get<std::uint64_t>(), of.at("fixed").get<std::uint64_t>(), memory.at("free_swap").get<std::uint64_t>()};
}

std::uint64_t wanted(const MemoryParams& params, const MemoryLook& use) {
  if (params.limit) return params.limit->bytes;
  if (params.room) return use.bytes + params.room->bytes;
  return static_cast<std::uint64_t>(params.share->value * static_cast<double>(use.bytes));
}

// Memory stays charged to the cgroup where it was first used: in ours, only what comes on top counts.
MemoryLimit limit_of_moved(const std::string& who, const MemoryLook& use, std::uint64_t total) {
  MemoryLimit out;
  out.set = total > use.bytes ? (total - use.bytes) / kGrain * kGrain : 0;
  if (out.set < kLeast) {
    throw Error(ErrorKind::refused, fmt::format("{} shares its cgroup with others: it can be kept from using more than the {} that it uses, and not be made to give back", who, mebibytes(use.bytes)),
                "write a \"room\" of at least \"1MiB\", or start it in a cgroup of its own (a systemd unit, a container)");
  }
  return out;
}

MemoryLimit limit_of_own(const std::string& who, int version, const MemoryLook& use, std::uint64_t total) {
  MemoryLimit out;
  out.set = total / kGrain * kGrain;
  if (out.set < kLeast) throw Error(ErrorKind::refused, fmt::format("{} would have {} of memory: nothing runs with so little", who, mebibytes(out.set)), "write at least \"1MiB\"");
  const std::uint64_t reachable = use.fixed - std::min(use.fixed, use.free_swap);
  if (version == 1 && reachable > out.set) {
    throw Error(ErrorKind::refused, fmt::format("{} of the {} that {} uses cannot be had back: the kernel (cgroup version 1) takes no limit below", mebibytes(reachable), mebibytes(use.bytes), who),
                fmt::format("write a limit above {}", mebibytes(reachable)));
  }
  if (static_cast<double>(reachable) * (1 + kMargin) <= static_cast<double>(out.set)) return out;
  out.kill_likely = true;
  out.why = fmt::format("{} of the {} that {} uses cannot be had back ({} of swap are free), and the limit is {}", mebibytes(use.fixed), mebibytes(use.bytes), who, mebibytes(use.free_swap), mebibytes(out.set));
  return out;
}

LimitChange change_of(const Placement& placement, std::uint64_t set) {
  const bool v2 = placement.version == 2;
  const std::string file = v2 ? "memory.max" : "memory.limit_in_bytes";
  const std::string unlimited = v2 ? "max" : "9223372036854771712";
  const std::string now = limit_now(placement, file, unlimited);
  if (bytes_of(now) <= set) {
    throw Error(ErrorKind::refused, fmt::format("the memory of {} is limited to {} already: {} would be no less", describe(placement.step.processes), mebibytes(bytes_of(now)), mebibytes(set)), "write a smaller one");
  }
  return {file, "", limit_there(placement, file, unlimited), std::to_string(set)};
}

Task<FaultPlan> plan_memory(FaultRequest request, HostView& host) {
  const MemoryParams params = memory_params().parse_or_throw(request.params);
  const auto allow = request.allow;
  const CgroupAim aim = co_await aim_at_cgroups(std::move(request), Controller::memory, host);
  FaultPlan plan;
  std::string amounts;
  std::string likely;
  for (std::size_t i = 0; i < aim.placements.size(); ++i) {
    const Placement& placement = aim.placements[i];
    const bool moved = static_cast<bool>(placement.step.move);
    const MemoryLook use = look_of(aim.looks[i], moved);
    const std::string who = describe(placement.step.processes);
    const MemoryLimit limit = moved ? limit_of_moved(who, use, wanted(params, use)) : limit_of_own(who, placement.version, use, wanted(params, use));
    if (likely.empty()) likely = limit.why;
    plan.steps.push_back(limit_step(placement, {change_of(placement, limit.set)}));
    amounts += fmt::format("{}{} of memory {} the {} that it uses", amounts.empty() ? "" : ", ", mebibytes(limit.set), moved ? "beside" : "instead of", mebibytes(use.bytes));
  }
  if (!likely.empty() && allow.count(kKill) == 0) {
    throw Error(ErrorKind::refused, fmt::format("the kernel would most likely kill processes: {}", likely),
                "write a higher limit; where a kill is meant, write \"allow\": [\"irreversible\"] and a \"reason\" in this fault");
  }
  if (!likely.empty()) plan.allowed.push_back(kKill);
  plan.summary = fmt::format("{} may use {}, {}; the kernel {} processes for want of it", named(aim.chosen), amounts, aim.words(), likely.empty() ? "may kill" : "will most likely kill");
  plan.intended = {{"limit_bytes", Json::array()}};
  for (const Step& step : plan.steps) plan.intended["limit_bytes"].push_back(bytes_of(limit_step_from_json(step.apply.args).changes.front().set));
  if (aim.chosen.processes.size() > 1) plan.intended["target"] = aim.chosen.how;
  plan.observe = usage_query(plan.steps, Controller::memory, std::chrono::milliseconds(0));
  co_return plan;
}

StepEffect outcome(const Step& step, std::uint64_t limit, const Json& before, const Json& after) {
  StepEffect out;
  const Json nothing = {{"bytes", 0}, {"hits", 0}, {"kills", 0}};
  const Json then = before.value("memory", nothing);
  const Json now = after.value("memory", nothing);
  // Only what the same cgroup counted can be compared; ours was not there before.
  const bool same_cgroup = before.value("cgroup_there", false);
  const auto rise = [&](const char* what) {
    const auto was = same_cgroup ? then.at(what).get<std::uint64_t>() : 0;
    return now.at(what).get<std::uint64_t>() - std::min(now.at(what).get<std::uint64_t>(), was);
  };
  const auto used = now.at("bytes").get<std::uint64_t>();
  const auto had = then.at("bytes").get<std::uint64_t>();
  out.measured = {{"bytes", used}, {"bytes_before", had}, {"met_limit", rise("hits")}, {"killed", rise("kills")}};
  if (rise("kills") > 0) {
    out.bites = true;
    out.because = fmt::format("the kernel killed {} processes for want of memory (limit {})", rise("kills"), mebibytes(limit));
    return out;
  }
  out.because = after.value("same", "") == "yes" ? why_not_limited(step, after) : after.value("because", "") + "; whether for want of memory cannot be told";
  if (!out.because.empty()) return out;
  const bool gave_back = same_cgroup && had > limit && used <= limit;
  out.bites = rise("hits") > 0 || gave_back;
  out.because = fmt::format("uses {} of {} (before: {}), met its limit {} times{}", mebibytes(used), mebibytes(limit), mebibytes(had), rise("hits"), gave_back ? " and gave back what was beyond it" : "");
  if (!out.bites) out.because += ": it did not ask for more";
  return out;
}

Effect memory_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  return effect_of(plan, before, after, [&](std::size_t i, const Json& then, const Json& now) { return outcome(plan.steps[i], plan.intended.at("limit_bytes").at(i).get<std::uint64_t>(), then, now); });
}

}  // namespace

FaultType process_memory() {
  FaultType type;
  type.name = "process.memory";
  type.doc = "a process may use hardly more memory than it does: it has to give back, or is killed";
  type.target_types = {"process", "container"};
  type.spec = memory_spec;
  type.example = {{"fault", "process.memory"}, {"target", "auth2"}, {"room", "8MiB"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan_memory;
  type.effect = memory_effect;
  type.undo_doc = "sets the limit of its cgroup back, or moves the process back to its cgroup; without it the limit stays until that cgroup goes. A process that the kernel has killed stays dead";
  return type;
}

}  // namespace capsize
