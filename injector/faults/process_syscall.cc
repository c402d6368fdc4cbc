// process.syscall: system calls of a process fail or are late, as on a broken disk, a full file system or an overloaded kernel.
#include <fmt/format.h>

#include <cmath>

#include "injector/faults/process_targets.h"
#include "injector/syscall/syscall_table.h"
#include "injector/syscall/tamper_engine.h"

namespace capsize {
namespace {

constexpr Duration kLongestDelay = std::chrono::seconds(60);
constexpr std::size_t kMostProcesses = 64;
constexpr std::uint64_t kFewCalls = 30;  // below it a share says nothing
constexpr double kSigmas = 5;

struct SyscallParams {
  std::vector<SystemCall> calls;
  std::optional<SystemError> error;
  std::optional<Duration> delay;
  Share share{1};
};

Rule<std::optional<Duration>> not_for_ever() {
  return if_given(Rule<Duration>{[](const Duration& delay) -> std::optional<Mistake> {
    if (delay.count() > 0 && delay <= kLongestDelay) return std::nullopt;
    return Mistake{fmt::format("a delay of {}", show(delay)), "write more than nothing and at most \"60s\"; to stop a process altogether there is process.pause"};
  }});
}

Rule<Share> some_of_them() {
  return {[](const Share& share) -> std::optional<Mistake> {
            if (share.value > 0) return std::nullopt;
            return Mistake{"a share of nothing", "write more than \"0%\""};
          },
          {{"anyOf", Json::array({{{"pattern", "[1-9]"}}, {{"pattern", "\\$\\{"}}})}}};
}

Rule<std::vector<SystemCall>> none_that_breaks() {
  return {[](const std::vector<SystemCall>& calls) -> std::optional<Mistake> {
    for (const SystemCall call : calls) {
      if (must_not_be_touched(call)) return Mistake{fmt::format("{} fails or is late for no process that goes on", name_of(call)), "leave it out"};
    }
    return std::nullopt;
  }};
}

const Spec<SyscallParams>& syscall_params() {
  static const auto spec = Spec<SyscallParams>()
                               .required("calls", &SyscallParams::calls, "which system calls, by name (as in `man 2 syscalls`) or number", none_that_breaks())
                               .optional("error", &SyscallParams::error, "they are not carried out, and answer this error")
                               .optional("delay", &SyscallParams::delay, "they are carried out so much later", not_for_ever())
                               .optional("share", &SyscallParams::share, "of these calls, by chance", some_of_them())
                               .exactly_one_of({"error", "delay"});
  return spec;
}

const AnySpec& syscall_spec() { return syscall_params(); }

std::string percent(double share) { return fmt::format("{:.3g} %", share * 100); }

std::string in_words(const SyscallParams& params, const std::string& who) {
  std::string calls;
  for (const SystemCall call : params.calls) calls += (calls.empty() ? "" : ", ") + name_of(call);
  const std::string which = params.share.value < 1 ? fmt::format("{} of the calls {}", percent(params.share.value), calls) : fmt::format("all calls {}", calls);
  const std::string what = params.error ? "fail with " + name_of(*params.error) : fmt::format("are {} late", show(*params.delay));
  return fmt::format("{} of {} {}, by tracing: the kernel lets it go should capsize die", which, who, what);
}

Task<FaultPlan> plan_syscall(FaultRequest request, HostView& host) {
  const SyscallParams params = syscall_params().parse_or_throw(request.params);
  const ChosenProcesses chosen = co_await choose_processes(request, host);
  if (chosen.processes.size() > kMostProcesses) throw Error(ErrorKind::refused, fmt::format("{}: more than {} would be traced", chosen.words, kMostProcesses), "select less, as by \"match\": \"one\"");
  FaultPlan plan;
  plan.observe = {"process.syscalls", {{"identities", Json::array()}}};
  Json calls = Json::array();
  for (const SystemCall call : params.calls) calls.push_back(call.number);
  for (std::size_t i = 0; i < chosen.processes.size(); ++i) {
    require_traceable(chosen.looks[i], chosen.processes[i]);
    if (params.error && chosen.looks[i].value("filtered", false)) throw filtered_calls(chosen.processes[i]);
    const Json identity = to_json(chosen.processes[i]);
    Json args = {{"identity", identity}, {"calls", calls}, {"share", params.share.value}, {"seed", request.seed + i}};
    if (params.error) args["error"] = params.error->number;
    else args["delay_ns"] = params.delay->count();
    plan.steps.push_back({{"process.tamper_syscalls", std::move(args)}, {"process.release", {{"identity", identity}}}});
    plan.observe.args["identities"].push_back(identity);
  }
  plan.summary = in_words(params, named(chosen));
  plan.intended = {{"share", params.share.value}};
  if (params.error) plan.intended["error"] = name_of(*params.error);
  else plan.intended["delay_ms"] = seconds(*params.delay) * 1e3;
  if (chosen.processes.size() > 1) plan.intended["target"] = chosen.how;
  co_return plan;
}

struct Outcome {
  bool bites = false;
  std::string because;
};

Outcome outcome(const Json& intended, const Json& after) {
  if (after.value("same", "") != "yes") return {false, after.value("because", "what was met could not be read")};
  if (!after.value("tampered", false)) return {false, "it is not traced by capsize any more"};
  const auto calls = after.at("calls").get<std::uint64_t>();
  const auto hit = after.at("hit").get<std::uint64_t>();
  const double share = intended.at("share").get<double>();
  const double got = calls == 0 ? 0 : static_cast<double>(hit) / static_cast<double>(calls);
  const bool delays = intended.contains("delay_ms");
  Outcome out;
  out.because = fmt::format("{} of {} calls {} ({}, intended {})", hit, calls, delays ? "were delayed" : "failed", percent(got), percent(share));
  if (calls == 0) out.because = fmt::format("none of these calls was made, among {} of any kind", after.at("all_calls").get<std::uint64_t>());
  const double spread = kSigmas * std::sqrt(share * (1 - share) / static_cast<double>(std::max<std::uint64_t>(calls, 1)));
  out.bites = hit > 0 && (calls < kFewCalls || std::abs(got - share) <= spread + 1e-9);
  if (!delays || !out.bites) return out;  // those that are held now are late already
  if (!after.contains("mean_delay_ms")) {
    out.because += ", the first of them is not over yet";
    return out;
  }
  const double mean = after["mean_delay_ms"].get<double>();
  out.bites = mean >= intended["delay_ms"].get<double>();
  out.because += fmt::format(", by {:.4g} ms on average (intended {:.4g})", mean, intended["delay_ms"].get<double>());
  return out;
}

Effect syscall_effect(const FaultPlan& plan, const Json&, const Json& after) {
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"processes", Json::array()}};
  const Json now = after.is_object() ? after.value("processes", Json::array()) : Json::array();
  std::size_t bitten = 0;
  for (const Json& look : now) {
    const Outcome one = outcome(plan.intended, look);
    Json measured = Json::object();
    for (const char* key : {"calls", "hit", "all_calls", "mean_delay_ms", "threads"}) {
      if (look.contains(key)) measured[key] = look[key];
    }
    effect.measured["processes"].push_back(std::move(measured));
    if (effect.because.empty() || (one.bites && bitten == 0)) effect.because = one.because;
    bitten += one.bites ? 1 : 0;
  }
  effect.bites = bitten > 0;  // of several workers some may have nothing to do
  if (now.empty()) effect.because = "what was met could not be read";
  if (now.size() > 1) effect.because = fmt::format("it bites in {} of {} processes; one: {}", bitten, now.size(), effect.because);
  return effect;
}

}  // namespace

FaultType process_syscall() {
  FaultType type;
  type.name = "process.syscall";
  type.doc = "system calls of a process fail with an error, or are late";
  type.target_types = {"process", "container"};
  type.spec = syscall_spec;
  type.example = {{"fault", "process.syscall"}, {"target", "auth2"}, {"calls", {"fsync", "fdatasync"}}, {"error", "EIO"}, {"share", "50%"}, {"at", "0s"}, {"for", "20s"}};
  type.plan = plan_syscall;
  type.effect = syscall_effect;
  type.undo_doc = "lets the process go; by itself the kernel does so as soon as the agent is gone";
  return type;
}

}  // namespace capsize
