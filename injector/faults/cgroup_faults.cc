#include "injector/faults/cgroup_faults.h"

#include <fmt/format.h>

#include "injector/base/error.h"

namespace capsize {

Task<CgroupAim> aim_at_cgroups(FaultRequest request, Controller controller, HostView& host) {
  CgroupAim out;
  const bool whole = request.target_type == "container" || request.target.contains("unit") || request.target.contains("cgroup");
  auto chosen = co_await choose_processes(std::move(request), host);
  out.chosen = std::move(chosen);
  Op query;
  query.type = "cgroup.look";
  query.args["controller"] = to_string(controller);
  query.args["identities"] = Json::array();
  for (const TargetProcess& process : out.chosen.processes) query.args["identities"].push_back(to_json(process));
  const Json answer = co_await host.inspect(std::move(query));
  const auto nonce = answer.at("nonce").get<std::string>();
  for (const Json& look : answer.at("groups")) {
    out.placements.push_back(place_limits(look, controller, nonce, out.placements.size()));
    out.placements.back().step.whole = whole;
    out.looks.push_back(look);
  }
  if (out.placements.empty()) throw Error(ErrorKind::bug, "cgroup.look knows of no process");
  co_return out;
}

std::string CgroupAim::words() const {
  if (placements.size() == 1) return placements.front().words;
  return fmt::format("those of each of {} cgroups together; the first {}", placements.size(), placements.front().words);
}

Step limit_step(const Placement& placement, std::vector<LimitChange> changes) {
  LimitStep step = placement.step;
  step.changes = std::move(changes);
  const Json args = to_json(step);
  return {{"cgroup.limit", args}, {"cgroup.restore", args}};
}

Op usage_query(const Plan& steps, Controller controller, std::chrono::milliseconds window) {
  Op query{"cgroup.usage", {{"controller", to_string(controller)}, {"window_ms", window.count()}, {"watched", Json::array()}}};
  for (const Step& step : steps) {
    const LimitStep limit = limit_step_from_json(step.apply.args);
    const LimitChange& last = limit.changes.back();
    Json one = {{"identities", step.apply.args.at("identities")}, {"cgroup", to_json(limit.limited())}, {"limit", {{"file", last.file}, {"key", last.key}, {"set", last.set}}}};
    for (const LimitChange& change : limit.changes) {
      if (!change.key.empty()) one["devices"].push_back(change.key);
    }
    query.args["watched"].push_back(std::move(one));
  }
  return query;
}

std::string limit_now(const Placement& placement, const std::string& file, const std::string& unlimited) {
  const auto it = placement.values.find(file);
  return it == placement.values.end() ? unlimited : it->second;
}

std::string limit_there(const Placement& placement, const std::string& file, const std::string& unlimited) { return placement.fresh ? unlimited : limit_now(placement, file, unlimited); }

std::vector<Json> uses_of(const Json& answer) {
  if (!answer.is_object() || !answer.contains("groups") || !answer["groups"].is_array()) return {};
  return answer["groups"].get<std::vector<Json>>();
}

std::string why_not_limited(const Step& step, const Json& use) {
  if (!use.value("cgroup_there", false)) return "the cgroup that holds its limit is gone";
  const LimitStep planned = limit_step_from_json(step.apply.args);
  const Json limits = use.value("limits", Json::object());
  for (const LimitChange& change : planned.changes) {
    const std::string now = limits.contains(change.file) ? value_for(change, limits[change.file].get<std::string>()) : "missing";
    if (now != change.set) return fmt::format("{} is \"{}\", not \"{}\"", change.file, now, change.set);
  }
  const int outside = use.value("outside", 0);
  return outside == 0 ? "" : fmt::format("process {} is not in {} any more", outside, planned.limited().folder);
}

Effect effect_of(const FaultPlan& plan, const Json& before, const Json& after, const Judge& judge) {
  const auto then = uses_of(before);
  const auto now = uses_of(after);
  std::vector<StepEffect> outcomes;
  for (std::size_t i = 0; i < now.size() && now.size() == plan.steps.size(); ++i) outcomes.push_back(judge(i, i < then.size() ? then[i] : Json::object(), now[i]));
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"groups", Json::array()}};
  std::size_t bitten = 0;
  const StepEffect* told = nullptr;
  for (const StepEffect& one : outcomes) {
    effect.measured["groups"].push_back(one.measured);
    bitten += one.bites ? 1 : 0;
    if (told == nullptr || (told->bites && !one.bites)) told = &one;
  }
  effect.bites = !outcomes.empty() && bitten == outcomes.size();
  effect.because = told == nullptr ? "what is used could not be read" : told->because;
  if (outcomes.size() > 1) effect.because = fmt::format("{} of {} cgroups are held back; one of {}: {}", bitten, outcomes.size(), effect.bites ? "them" : "the others", effect.because);
  return effect;
}

}  // namespace capsize
