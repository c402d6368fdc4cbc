// process.fds: a process can open no more files and sockets, as when descriptors leak: accept, open and connect fail with EMFILE.
#include <fmt/format.h>

#include "injector/faults/process_targets.h"

namespace capsize {
namespace {

struct FdsParams {
  Count spare = 0;
};

const Spec<FdsParams>& fds_params() {
  static const auto spec = Spec<FdsParams>().optional("spare", &FdsParams::spare, "how many descriptors it can open beside those that it has open when the fault is planned", between(0, 1'000'000));
  return spec;
}

const AnySpec& fds_spec() { return fds_params(); }

Op query_of(const ChosenProcesses& chosen, Count spare, bool connect) {
  Op query{"process.descriptors", {{"identities", Json::array()}, {"spare", spare}, {"connect", connect}}};
  for (const TargetProcess& process : chosen.processes) query.args["identities"].push_back(to_json(process));
  return query;
}

Step step_of(const TargetProcess& process, const Json& look) {
  if (look.value("same", "") != "yes") throw Error(ErrorKind::changed, look.value("because", "its descriptors cannot be seen"), "plan again: nothing was done to it");
  const auto soft = look.at("soft").get<std::uint64_t>();
  const auto limit = look.at("limit").get<std::uint64_t>();
  if (limit >= soft) {
    throw Error(ErrorKind::refused, fmt::format("{} may have no more than {} descriptors open as it is: the fault would leave it {}", describe(process), soft, limit), "write a smaller \"spare\"");
  }
  const Json args = {{"identity", to_json(process)}, {"was", soft}, {"hard", look.at("hard")}, {"set", limit}, {"since_ticks", look.at("now_ticks")}};
  return {{"process.limit_descriptors", args}, {"process.restore_descriptors", args}};
}

Task<FaultPlan> plan_fds(FaultRequest request, HostView& host) {
  const FdsParams params = fds_params().parse_or_throw(request.params);
  const ChosenProcesses chosen = co_await choose_processes(request, host);
  const Json answer = co_await host.inspect(query_of(chosen, params.spare, false));
  const auto looks = answer.at("processes").get<std::vector<Json>>();
  if (looks.size() != chosen.processes.size()) throw Error(ErrorKind::bug, "process.descriptors did not answer for every process");
  FaultPlan plan;
  plan.intended = {{"spare", params.spare}, {"limits", Json::array()}};
  for (std::size_t i = 0; i < looks.size(); ++i) {
    plan.steps.push_back(step_of(chosen.processes[i], looks[i]));
    plan.intended["limits"].push_back(looks[i].at("limit"));
  }
  const std::string more = params.spare == 0 ? "no more descriptors" : fmt::format("no more than {} descriptors more", params.spare);
  plan.summary = fmt::format("{} can open {}", named(chosen), more);
  if (looks.size() == 1) plan.summary += fmt::format(" than the {} that it has: its limit goes from {} to {}", looks[0].at("open").get<std::uint64_t>(), looks[0].at("soft").get<std::uint64_t>(), looks[0].at("limit").get<std::uint64_t>());
  plan.observe = query_of(chosen, params.spare, true);
  co_return plan;
}

struct Outcome {
  bool bites = false;
  std::string because;
};

Outcome outcome(const Json& limit, const Json& before, const Json& after) {
  if (after.value("same", "") != "yes") return {false, after.value("because", "its descriptors could not be seen")};
  if (after.at("soft") != limit) return {false, fmt::format("its limit is {}, not {}", after.at("soft").dump(), limit.dump())};
  const auto free = after.at("free").get<std::uint64_t>();
  const auto connection = after.value("connection", "not tried");
  Outcome out;
  const bool full = free <= 1;  // for a moment one may be free; with more it is something else that keeps it from accepting
  const bool refuses = full && connection == "not accepted" && before.value("connection", "") == "accepted";
  out.bites = refuses || (free == 0 && connection != "accepted");
  out.because = fmt::format("{} descriptors open, {} more possible below the limit of {}", after.at("open").get<std::uint64_t>(), free, limit.dump());
  if (connection != "not tried") out.because += fmt::format("; a connection of ours was {} (before: {})", connection, before.value("connection", "not tried"));
  return out;
}

Effect fds_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"processes", Json::array()}};
  const Json none = Json::array();
  const Json& then = before.contains("processes") ? before["processes"] : none;
  const Json& now = after.contains("processes") ? after["processes"] : none;
  const Json& limits = plan.intended.at("limits");
  std::size_t bitten = 0;
  std::string because;
  for (std::size_t i = 0; i < now.size() && now.size() == limits.size(); ++i) {
    const Outcome one = outcome(limits[i], i < then.size() ? then[i] : Json::object(), now[i]);
    Json measured = Json::object();
    for (const char* key : {"soft", "open", "free", "connection"}) {
      if (now[i].contains(key)) measured[key] = now[i][key];
    }
    effect.measured["processes"].push_back(std::move(measured));
    if (because.empty() || (!one.bites && bitten == i)) because = one.because;
    bitten += one.bites ? 1 : 0;
  }
  effect.bites = bitten > 0 && bitten == now.size();
  effect.because = because.empty() ? "the descriptors could not be seen" : because;
  if (now.size() > 1) effect.because = fmt::format("{} of {} processes can open no more; one: {}", bitten, now.size(), because);
  return effect;
}

}  // namespace

FaultType process_fds() {
  FaultType type;
  type.name = "process.fds";
  type.doc = "a process can open no more files and sockets: accept, open and connect fail with EMFILE";
  type.target_types = {"process", "container"};
  type.spec = fds_spec;
  type.example = {{"fault", "process.fds"}, {"target", "auth2"}, {"at", "0s"}, {"for", "20s"}};
  type.plan = plan_fds;
  type.effect = fds_effect;
  type.undo_doc = "sets the limit back to what it was, also in what the process has started meanwhile; without it the limit stays until the process ends";
  return type;
}

}  // namespace capsize
