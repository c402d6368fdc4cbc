// process.pause: a process does not run for a while, as in a long collector pause, a stuck disk or a debugger left attached.
#include <fmt/format.h>

#include <array>

#include "injector/faults/process_targets.h"

namespace capsize {

enum class PauseMethod { automatic, ptrace, sigstop };
template <>
struct EnumWords<PauseMethod> {
  static constexpr std::array<std::pair<PauseMethod, std::string_view>, 3> words = {
      {{PauseMethod::automatic, "auto"}, {PauseMethod::ptrace, "ptrace"}, {PauseMethod::sigstop, "sigstop"}}};
};

namespace {

struct PauseParams {
  PauseMethod method = PauseMethod::automatic;
};

const Spec<PauseParams>& pause_params() {
  static const auto spec = Spec<PauseParams>().optional(
      "method", &PauseParams::method, "\"ptrace\": held by the kernel for as long as capsize lives; \"sigstop\": a signal that capsize takes back; \"auto\": ptrace where it is possible");
  return spec;
}

const AnySpec& pause_spec() { return pause_params(); }

struct Permission {
  bool allowed = false;
  std::string because;
};

Permission permission(const Json& look, const char* what) { return {look.at(what).at("allowed").get<bool>(), look.at(what).at("because").get<std::string>()}; }

void refuse_what_is_stopped(const Json& look, const TargetProcess& process) {
  if (!look.at("stopped").get<bool>()) return;
  const Json& tracer = look.at("tracer");
  const std::string by = tracer.is_null() ? "" : fmt::format(" by process {} ({})", tracer.at("pid").get<int>(), tracer.at("name").get<std::string>());
  throw Error(ErrorKind::refused, fmt::format("{} is already stopped{}: a pause would change nothing, and its end must not let it go", describe(process), by),
              by.empty() ? fmt::format("if nobody wants it stopped: kill -CONT {}", process.pid) : "continue it in that debugger, or end the debugger");
}

// Why it cannot be traced; empty: it can.
std::string why_not_traced(const Json& look) {
  const Json& tracer = look.at("tracer");
  if (!tracer.is_null()) return fmt::format("process {} ({}) already traces it", tracer.at("pid").get<int>(), tracer.at("name").get<std::string>());
  const Permission trace = permission(look, "trace");
  return trace.allowed ? "" : trace.because;
}

struct Pause {  // of one process
  Step step;
  std::string how;  // "by tracing it: ..."
};

Pause by_hold(const TargetProcess& process) {
  Pause pause;
  pause.step.apply = {"process.hold", {{"identity", to_json(process)}}};
  pause.step.undo = {"process.release", {{"identity", to_json(process)}}};
  pause.how = "tracing it: the kernel lets it go should capsize die";
  return pause;
}

Pause by_stop(const Json& look, const TargetProcess& process, const std::string& reason) {
  const Permission signal = permission(look, "signal");
  if (!signal.allowed) {
    throw Error(ErrorKind::privilege, fmt::format("{} may be neither traced nor signalled: {}", describe(process), signal.because),
                "run capsize there as the same user, or with CAP_SYS_PTRACE (for method sigstop: CAP_KILL)");
  }
  const auto& folder = look.at("mark_folder").get_ref<const std::string&>();
  if (folder.empty()) throw Error(ErrorKind::unavailable, "there is no folder to note down that capsize has stopped a process", "set CAPSIZE_STATE or HOME there");
  Pause pause;
  pause.step.apply = {"process.stop", {{"identity", to_json(process)}, {"mark_folder", folder}}};
  pause.step.undo = {"process.continue", {{"identity", to_json(process)}, {"mark_folder", folder}}};
  pause.how = fmt::format("SIGSTOP ({}): should capsize and its guard both die, `capsize revert` continues it", reason);
  return pause;
}

Pause decide(const Json& look, const TargetProcess& process, PauseMethod method) {
  refuse_what_is_stopped(look, process);
  const std::string obstacle = why_not_traced(look);
  if (method == PauseMethod::ptrace && !obstacle.empty()) {
    if (!look.at("tracer").is_null()) {
      throw Error(ErrorKind::unavailable, fmt::format("{} cannot be traced: {}", describe(process), obstacle), "end that debugger, or write \"method\": \"auto\"");
    }
    throw Error(ErrorKind::privilege, fmt::format("{} may not be traced: {}", describe(process), obstacle),
                "run capsize there as the same user or with CAP_SYS_PTRACE, or write \"method\": \"auto\"");
  }
  const bool hold = method == PauseMethod::ptrace || (method == PauseMethod::automatic && obstacle.empty());
  return hold ? by_hold(process) : by_stop(look, process, method == PauseMethod::sigstop ? "as the playbook asks" : "it cannot be traced: " + obstacle);
}

Task<FaultPlan> plan_pause(FaultRequest request, HostView& host) {
  const PauseParams params = pause_params().parse_or_throw(request.params);
  const ChosenProcesses chosen = co_await choose_processes(request, host);
  FaultPlan plan;
  std::string how;
  for (std::size_t i = 0; i < chosen.processes.size(); ++i) {
    Pause pause = decide(chosen.looks[i], chosen.processes[i], params.method);
    plan.steps.push_back(std::move(pause.step));
    if (i == 0) how = pause.how;
    else if (how != pause.how) how = "tracing or, where that cannot be, by SIGSTOP";
  }
  plan.summary = chosen.processes.size() == 1 ? fmt::format("{} is paused by {}", named(chosen), how) : fmt::format("{} are paused, each by {}", named(chosen), how);
  plan.intended = {{"state", "stopped"}};
  if (request.target.contains("match")) plan.intended["target"] = chosen.how;
  plan.observe = state_query(chosen.processes);
  co_return plan;
}

Json shown(const Json& look) {
  Json out = Json::object();
  for (const char* key : {"same", "states", "cpu_ticks_in_window", "window"}) {
    if (look.contains(key)) out[key] = look[key];
  }
  return out;
}

struct Stillness {
  bool still = false;
  std::string because;
};

Stillness stillness_of(const Json& before, const Json& after) {
  if (after.value("same", "") != "yes") return {false, after.value("because", "its state could not be read")};
  int stopped = 0;
  int running = 0;
  const Json states = after.value("states", Json::object());
  for (const auto& [letter, count] : states.items()) {
    const bool still = letter == "t" || letter == "T";
    const bool no_matter = letter == "D" || letter == "Z" || letter == "X";  // asleep in the kernel and stopping on waking, or ended
    (still ? stopped : running) += no_matter ? 0 : count.get<int>();
  }
  const auto ticks = after.value("cpu_ticks_in_window", Json());
  if (!ticks.is_number()) return {false, "how much processor time it used could not be read"};
  Stillness out;
  out.still = stopped > 0 && running == 0 && ticks.get<std::uint64_t>() == 0;
  out.because = fmt::format("{} of {} threads stopped, {} ticks of processor time used in {}{}", stopped, after.value("threads", 0), ticks.get<std::uint64_t>(),
                            after.value("window", ""), before.contains("cpu_ticks_in_window") ? fmt::format(" (before: {})", before["cpu_ticks_in_window"].dump()) : "");
  return out;
}

Effect effect_on_several(const FaultPlan& plan, const std::vector<Json>& before, const std::vector<Json>& after) {
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"processes", Json::array()}};
  std::size_t still = 0;
  std::string exception;
  for (std::size_t i = 0; i < after.size(); ++i) {
    const Json earlier = i < before.size() ? before[i] : Json::object();
    const Stillness one = stillness_of(earlier, after[i]);
    effect.measured["processes"].push_back({{"before", shown(earlier)}, {"during", shown(after[i])}});
    if (one.still) ++still;
    else if (exception.empty()) exception = "; one of the others: " + one.because;
  }
  effect.bites = !after.empty() && still == after.size();
  effect.because = fmt::format("{} of {} processes stand still{}", still, after.size(), exception);
  return effect;
}

Effect pause_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  if (after.contains("processes")) return effect_on_several(plan, states_of(before), states_of(after));
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"before", shown(before)}, {"during", shown(after)}};
  const Stillness one = stillness_of(before, after);
  effect.bites = one.still;
  effect.because = one.because;
  return effect;
}

}  // namespace

FaultType process_pause() {
  FaultType type;
  type.name = "process.pause";
  type.doc = "a process does not run for a while, and keeps its connections open";
  type.target_types = {"process", "container"};
  type.spec = pause_spec;
  type.example = {{"fault", "process.pause"}, {"target", "auth2"}, {"at", "0s"}, {"for", "20s"}};
  type.plan = plan_pause;
  type.effect = pause_effect;
  type.undo_doc = "lets the process run again; by itself the kernel does so as soon as the agent is gone, with method sigstop nobody does";
  return type;
}

}  // namespace capsize
