#include "injector/faults/process_signals.h"

#include <fmt/format.h>

#include <csignal>

namespace capsize {

Rule<RestartCommand> a_command() {
  return {[](const RestartCommand& command) -> std::optional<Mistake> {
            if (!command || (!command->empty() && !command->front().empty())) return std::nullopt;
            return Mistake{"a command without a program", "write the program and its arguments, as [\"systemctl\", \"start\", \"nginx\"]"};
          },
          {{"items", {{"type", "string"}}}}};
}

FaultPlan plan_signal(const ChosenProcesses& chosen, const FaultRequest& request, int signal, const RestartCommand& restart) {
  Json identities = Json::array();
  std::string folder;
  for (std::size_t i = 0; i < chosen.processes.size(); ++i) {
    const Json& may = chosen.looks[i].at("signal");
    if (!may.at("allowed").get<bool>()) {
      throw Error(ErrorKind::privilege, fmt::format("{} may not be signalled: {}", describe(chosen.processes[i]), may.at("because").get<std::string>()), "run capsize there with CAP_KILL (as root), or as the same user");
    }
    identities.push_back(to_json(chosen.processes[i]));
    folder = chosen.looks[i].at("mark_folder").get<std::string>();
  }
  if (folder.empty()) throw Error(ErrorKind::unavailable, "there is no folder to note down that capsize has signalled a process", "set CAPSIZE_STATE or HOME there");
  Json args = {{"identities", std::move(identities)}, {"signal", signal_name(signal)}, {"mark_folder", folder}, {"target_type", request.target_type.empty() ? "process" : request.target_type}, {"target", request.target}};
  for (const TargetProcess& other : chosen.others) args["others"].push_back(to_json(other));
  if (restart) args["restart"] = *restart;
  FaultPlan plan;
  Step step;
  step.apply = {"process.signal", args};
  step.undo = {"process.revive", args};
  plan.steps.push_back(std::move(step));
  plan.observe = {"process.fate", std::move(args)};
  if (request.target.contains("match")) plan.intended["target"] = chosen.how;
  return plan;
}

void need_irreversible(FaultPlan& plan, const FaultRequest& request, const std::string& what, const std::string& otherwise) {
  if (!request.allow.contains("irreversible")) {
    throw Error(ErrorKind::refused, what + ", and nothing takes that back", "write \"allow\": [\"irreversible\"] and a \"reason\" in this fault" + otherwise);
  }
  plan.allowed.emplace_back("irreversible");
}

Fates fates_of(const Json& answer) {
  Fates out;
  if (!answer.is_object()) return out;
  const Json processes = answer.value("processes", Json::array());
  for (const Json& one : processes) {
    ++out.all;
    const std::string who = fmt::format("process {} ({})", one.value("pid", 0), one.value("name", ""));
    const std::string runs = one.value("runs", "cannot_tell");
    const bool ours = one.value("signalled", false);
    const std::string reaction = one.value("reaction", "");
    if (runs == "no" && ours) ++out.ended;
    if (ours && (runs == "no" || (runs == "yes" && reaction == "caught"))) {
      ++out.delivered;
      if (runs == "yes" && out.exception.empty()) out.exception = who + " catches it and runs on";
      continue;
    }
    if (!out.exception.empty()) continue;
    if (!ours) out.exception = who + (runs == "no" ? " has ended, but not by capsize" : " has not been sent it");
    else if (runs == "yes") out.exception = who + (reaction == "pending" ? " blocks it" : reaction == "ends" ? " has not ended yet" : " ignores it");
    else out.exception = "of " + who + " it cannot be told: " + one.value("because", "");
  }
  const Json others = answer.value("successors", Json::array());
  for (const Json& one : others) out.successors.push_back(fmt::format("{} ({})", one.value("pid", 0), one.value("name", "")));
  out.listening = answer.value("listening", std::vector<std::string>());
  return out;
}

}  // namespace capsize
