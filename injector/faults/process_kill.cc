// process.kill: a process gets a signal, as from the kernel that is out of memory, a failed assertion, or an operator.
#include <fmt/format.h>

#include <csignal>

#include "injector/faults/process_signals.h"

namespace capsize {
namespace {

struct KillParams {
  SignalRef signal{SIGKILL};
  RestartCommand restart;
};

const Spec<KillParams>& kill_params() {
  static const auto spec = Spec<KillParams>()
                               .optional("signal", &KillParams::signal, "which one, as \"SIGKILL\" or \"TERM\"")
                               .optional("restart", &KillParams::restart, std::string(kRestartDoc) + "; run by the undo, when nothing has taken its place by then", a_command());
  return spec;
}

const AnySpec& kill_spec() { return kill_params(); }

Task<FaultPlan> plan_kill(FaultRequest request, HostView& host) {
  const KillParams params = kill_params().parse_or_throw(request.params);
  const int signal = params.signal.number;
  if (stops_by_default(signal)) throw Error(ErrorKind::refused, signal_name(signal) + " stops a process, and nobody would continue it", "use process.pause");
  const ChosenProcesses chosen = co_await choose_processes(request, host);
  const std::string name = signal_name(signal);
  FaultPlan plan = plan_signal(chosen, request, signal, params.restart);
  const bool several = chosen.processes.size() > 1;
  need_irreversible(plan, request, fmt::format("{} would get {}", named(chosen), name), "");
  plan.intended["signal"] = name;
  plan.intended["processes"] = chosen.processes.size();
  plan.intended["end"] = asks_to_end(signal);
  const std::string after = params.restart ? fmt::format("`{}` starts it again, if nothing else has", params.restart->front()) : "whoever supervises it must start it again";
  plan.summary = fmt::format("{} get{} {}; {}", named(chosen), several ? "" : "s", name, ends_by_default(signal) ? after : "nothing is taken back");
  co_return plan;
}

Effect kill_effect(const FaultPlan& plan, const Json&, const Json& after) {
  const Fates fates = fates_of(after);
  const bool end = plan.intended.value("end", true);
  const std::string signal = plan.intended.value("signal", "it");
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"ended", fates.ended}, {"delivered", fates.delivered}, {"of", fates.all}, {"successors", fates.successors}};
  const std::size_t count = end ? fates.ended : fates.delivered;
  effect.bites = fates.all > 0 && count == fates.all;
  effect.because = fmt::format("{} of {} processes {} {}", count, fates.all, end ? "ended by" : "got", signal);
  if (!effect.bites && !fates.exception.empty()) effect.because += "; " + fates.exception;
  if (!fates.successors.empty()) effect.because += fmt::format("; in their place: {}{}", fates.successors.front(), fates.successors.size() > 1 ? fmt::format(" and {} more", fates.successors.size() - 1) : "");
  return effect;
}

}  // namespace

FaultType process_kill() {
  FaultType type;
  type.name = "process.kill";
  type.doc = "a process gets a signal; SIGKILL ends it as a crash does";
  type.target_types = {"process", "container"};
  type.spec = kill_spec;
  type.example = {{"fault", "process.kill"}, {"target", "auth2"}, {"signal", "SIGKILL"}, {"at", "5s"}, {"for", "20s"}, {"allow", {"irreversible"}}, {"reason", "its supervisor starts it again"}};
  type.plan = plan_kill;
  type.effect = kill_effect;
  type.undo_doc = "takes nothing back: it looks whether something has taken its place, runs the command that the playbook names where nothing has, and else says that somebody must";
  return type;
}

}  // namespace capsize
