// process.restart: a process ends and another takes its place, as in a deployment or after a crash under a supervisor.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "injector/faults/process_signals.h"

namespace capsize {
namespace {

struct RestartParams {
  SignalRef signal{SIGTERM};
  RestartCommand restart;
  Duration within = std::chrono::seconds(15);
};

Rule<Duration> a_while() {
  return {[](const Duration& duration) -> std::optional<Mistake> {
            if (duration > Duration{} && duration <= std::chrono::seconds(25)) return std::nullopt;
            return Mistake{"nobody waits for " + show(duration), "write more than nothing, and at most \"25s\""};
          },
          nullptr};
}

const Spec<RestartParams>& restart_params() {
  static const auto spec = Spec<RestartParams>()
                               .optional("signal", &RestartParams::signal, "what ends it, as \"SIGTERM\" or \"KILL\"")
                               .optional("restart", &RestartParams::restart, std::string(kRestartDoc) + "; without it, its supervisor must", a_command())
                               .optional("within", &RestartParams::within, "how long it may take until another has taken its place and listens where it has; at most 25s", a_while());
  return spec;
}

const AnySpec& restart_spec() { return restart_params(); }

Task<FaultPlan> plan_restart(FaultRequest request, HostView& host) {
  const RestartParams params = restart_params().parse_or_throw(request.params);
  const std::string signal = signal_name(params.signal.number);
  if (!ends_by_default(params.signal.number)) throw Error(ErrorKind::refused, signal + " ends no process", "write \"SIGTERM\" or \"SIGKILL\"");
  if (request.target.contains("pid")) {
    throw Error(ErrorKind::refused, "a process that was started again has another pid: by \"pid\" it cannot be found", "name it by \"pid_file\", \"listens_on\", \"exe\", \"unit\" or \"cgroup\"");
  }
  const ChosenProcesses chosen = co_await choose_processes(request, host);
  FaultPlan plan = plan_signal(chosen, request, params.signal.number, params.restart);
  plan.steps.front().apply.args["within"] = show(params.within);
  if (!params.restart) need_irreversible(plan, request, fmt::format("{} would get {}, and no command is named that starts it again", named(chosen), signal), "; or name a \"restart\" command");
  plan.intended["signal"] = signal;
  plan.intended["processes"] = chosen.processes.size();
  plan.intended["back"] = true;
  plan.summary = fmt::format("{} get{} {} and {} started again{} within {}", named(chosen), chosen.processes.size() > 1 ? "" : "s", signal, chosen.processes.size() > 1 ? "are" : "is",
                             params.restart ? fmt::format(" by `{}`", params.restart->front()) : ", by whoever supervises it,", show(params.within));
  co_return plan;
}

Effect restart_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  const Fates fates = fates_of(after);
  const std::vector<std::string> points = fates_of(before).listening;
  std::vector<std::string> missing;
  for (const std::string& point : points) {
    if (std::find(fates.listening.begin(), fates.listening.end(), point) == fates.listening.end()) missing.push_back(point);
  }
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"ended", fates.ended}, {"of", fates.all}, {"successors", fates.successors}, {"listened", points}, {"listening", fates.listening}};
  effect.bites = fates.all > 0 && fates.ended == fates.all && !fates.successors.empty() && missing.empty();
  effect.because = fmt::format("{} of {} processes ended by {}", fates.ended, fates.all, plan.intended.value("signal", "it"));
  if (fates.ended < fates.all && !fates.exception.empty()) effect.because += "; " + fates.exception;
  if (fates.successors.empty()) effect.because += "; nothing has taken their place";
  else effect.because += fmt::format("; {}{} took their place", fates.successors.front(), fates.successors.size() > 1 ? fmt::format(" and {} more", fates.successors.size() - 1) : "");
  if (!missing.empty()) effect.because += "; nobody listens at " + missing.front();
  else if (!points.empty() && !fates.successors.empty()) effect.because += " and listen at " + points.front();
  return effect;
}

}  // namespace

FaultType process_restart() {
  FaultType type;
  type.name = "process.restart";
  type.doc = "a process ends, and its supervisor or a command of the playbook starts it again";
  type.target_types = {"process", "container"};
  type.spec = restart_spec;
  type.example = {{"fault", "process.restart"}, {"target", "auth2"}, {"restart", {"systemctl", "restart", "auth2"}}, {"at", "5s"}, {"for", "20s"}};
  type.plan = plan_restart;
  type.effect = restart_effect;
  type.undo_doc = "looks whether something has taken its place; where nothing has, the command that the playbook names is run, and without one it says that somebody must start it";
  return type;
}

}  // namespace capsize
