#include "injector/faults/process_targets.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "injector/base/rng.h"
#include "injector/targets/process_selector.h"

namespace capsize {
namespace {

constexpr std::size_t kNamed = 5;

std::string in_words(const std::vector<Json>& looks) {
  std::string out;
  for (std::size_t i = 0; i < std::min(looks.size(), kNamed); ++i) out += (i == 0 ? "" : ", ") + describe(target_process_from_json(looks[i].at("identity")));
  return looks.size() > kNamed ? fmt::format("{} and {} more", out, looks.size() - kNamed) : out;
}

// The first reason why none of what was found may be a target.
[[noreturn]] void refuse_all(const std::vector<Json>& found, const std::string& that) {
  for (const Json& look : found) {
    const auto& forbidden = look.at("never_a_target").get_ref<const std::string&>();
    if (!forbidden.empty()) throw Error(ErrorKind::refused, forbidden + ", and never a target", "choose another process");
  }
  if (found.empty()) throw Error(ErrorKind::unavailable, fmt::format("there are no processes {}", that), "start the service, or correct the target");
  const std::string who = describe(target_process_from_json(found.front().at("identity")));
  throw Error(ErrorKind::unavailable, who + " has ended and only waits for its parent", "start it again");
}

std::size_t how_many(const HowMany& match, std::size_t matching) {
  switch (match.kind) {
    case HowMany::Kind::all: return matching;
    case HowMany::Kind::share: return std::clamp<std::size_t>(static_cast<std::size_t>(std::ceil(match.share.value * static_cast<double>(matching) - 1e-9)), 1, matching);
    case HowMany::Kind::one:
    case HowMany::Kind::exactly_one: break;
  }
  return 1;
}

// The same for every fault of a run that is aimed at the same target, and in the next run with the same seed.
std::vector<Json> draw(std::vector<Json> all, std::size_t count, const FaultRequest& request) {
  Rng chance = Rng(request.seed).stream("processes " + request.target.dump());
  std::vector<std::size_t> order(all.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::size_t i = 0; i < count; ++i) std::swap(order[i], order[i + chance.below(order.size() - i)]);
  order.resize(count);
  std::sort(order.begin(), order.end());
  std::vector<Json> out;
  for (const std::size_t i : order) out.push_back(std::move(all[i]));
  return out;
}

HowMany match_of(const Json& target) {
  if (!target.contains("match")) return {};
  auto parsed = ParamTraits<HowMany>::parse(target["match"]);
  if (auto* mistake = std::get_if<Mistake>(&parsed)) throw Error(ErrorKind::refused, mistake->fact, mistake->remedy);
  return std::get<HowMany>(parsed);
}

// Those that may be targets; throws when there is none.
std::vector<Json> eligible_of(const std::vector<Json>& found, const std::string& that) {
  std::vector<Json> out;
  for (const Json& look : found) {
    if (look.at("never_a_target").get_ref<const std::string&>().empty() && !look.at("ended").get<bool>()) out.push_back(look);
  }
  if (out.empty()) refuse_all(found, that);
  return out;
}

Json shown(const std::vector<TargetProcess>& processes) {
  Json out = Json::array();
  for (const TargetProcess& process : processes) out.push_back({{"pid", process.pid}, {"name", process.comm}});
  return out;
}

// Those of what was found that were not chosen; also what may not be a target.
void note_others(ChosenProcesses& chosen, const Json& found) {
  for (const Json& look : found) {
    TargetProcess one = target_process_from_json(look.at("identity"));
    const bool is_chosen = std::any_of(chosen.processes.begin(), chosen.processes.end(), [&](const TargetProcess& process) { return same_identity(process, one); });
    if (!is_chosen) chosen.others.push_back(std::move(one));
  }
}

ChosenProcesses choose_of_processes(const FaultRequest& request, const Json& answer) {
  const auto that = answer.at("that").get<std::string>();
  const std::vector<Json> eligible = eligible_of(answer.at("found").get<std::vector<Json>>(), that);
  const HowMany match = match_of(request.target);
  if (match.kind == HowMany::Kind::exactly_one && eligible.size() > 1) {
    throw Error(ErrorKind::refused, fmt::format("there are {} processes {}: {}", eligible.size(), that, in_words(eligible)),
                "select one of them; or write \"match\": \"all\", \"one\" (by chance) or a share as \"50%\" in the target");
  }
  const std::size_t count = how_many(match, eligible.size());
  ChosenProcesses out;
  out.looks = draw(eligible, count, request);
  for (const Json& look : out.looks) out.processes.push_back(target_process_from_json(look.at("identity")));
  out.how = {{"selector", request.target}, {"processes", that}, {"matching", eligible.size()}, {"chosen", shown(out.processes)}};
  if (count < eligible.size()) out.how["seed"] = request.seed;
  if (eligible.size() == 1) out.words = describe(out.processes.front());
  else out.words = count == eligible.size() ? fmt::format("all {} processes {}", count, that) : fmt::format("{} of {} processes {}", count, eligible.size(), that);
  note_others(out, answer.at("found"));
  return out;
}

ChosenProcesses choose_of_containers(const FaultRequest& request, const Json& answer) {
  const std::vector<Json> containers = choose_containers(request, answer);
  ChosenProcesses out;
  Json names = Json::array();
  for (const Json& container : containers) {
    names.push_back(container.at("name"));
    for (const Json& look : eligible_of(container.at("found").get<std::vector<Json>>(), container.at("that").get<std::string>())) {
      out.processes.push_back(target_process_from_json(look.at("identity")));
      out.looks.push_back(look);
    }
  }
  for (const Json& container : answer.at("containers")) note_others(out, container.at("found"));
  const std::size_t count = out.processes.size();
  out.how = {{"selector", request.target}, {"containers", std::move(names)}, {"matching", count}, {"chosen", shown(out.processes)}};
  if (containers.size() < answer.at("containers").size()) out.how["seed"] = request.seed;
  std::string which = containers.front().at("that").get<std::string>();
  if (containers.size() > 1) which = fmt::format("of {} containers {}", containers.size(), answer.at("that").get<std::string>());
  out.words = count == 1 ? fmt::format("{} {}", describe(out.processes.front()), which) : fmt::format("all {} processes {}", count, which);
  return out;
}

}  // namespace

std::vector<Json> choose_containers(const FaultRequest& request, const Json& answer) {
  const auto containers = answer.at("containers").get<std::vector<Json>>();
  const auto that = answer.at("that").get<std::string>();
  if (containers.empty()) throw Error(ErrorKind::unavailable, fmt::format("there are no containers {}", that), "start one, or correct the target");
  const HowMany match = match_of(request.target);
  if (match.kind == HowMany::Kind::exactly_one && containers.size() > 1) {
    std::string names;
    for (std::size_t i = 0; i < std::min(containers.size(), kNamed); ++i) names += (i == 0 ? "" : ", ") + containers[i].at("name").get<std::string>();
    throw Error(ErrorKind::refused, fmt::format("there are {} containers {}: {}", containers.size(), that, names),
                "name one of them; or write \"match\": \"all\", \"one\" (by chance) or a share as \"50%\" in the target");
  }
  return draw(containers, how_many(match, containers.size()), request);
}

ChosenProcesses choose_among(const FaultRequest& request, const Json& answer) {
  try {
    return request.target_type == "container" ? choose_of_containers(request, answer) : choose_of_processes(request, answer);
  } catch (const Json::exception& problem) {
    throw Error(ErrorKind::bug, std::string("not an answer of a look at processes: ") + problem.what());
  }
}

Task<ChosenProcesses> choose_processes(FaultRequest request, HostView& host) {
  Op query;
  query.type = request.target_type == "container" ? "container.identify" : "process.identify";
  query.args = request.target;
  const Json answer = co_await host.inspect(query);
  co_return choose_among(request, answer);
}

void require_traceable(const Json& look, const TargetProcess& process) {
  const Json& tracer = look.at("tracer");
  const std::string by = tracer.is_null() ? "" : fmt::format("process {} ({})", tracer.at("pid").get<int>(), tracer.at("name").get<std::string>());
  if (!by.empty()) throw Error(ErrorKind::unavailable, fmt::format("{} cannot be traced: {} already traces it", describe(process), by), "end that debugger");
  if (look.at("stopped").get<bool>()) throw Error(ErrorKind::refused, describe(process) + " is already stopped", fmt::format("if nobody wants it stopped: kill -CONT {}", process.pid));
  if (look.at("trace").at("allowed").get<bool>()) return;
  throw Error(ErrorKind::privilege, fmt::format("{} may not be traced: {}", describe(process), look.at("trace").at("because").get<std::string>()),
              "run capsize there as the same user or with CAP_SYS_PTRACE");
}

Op state_query(const std::vector<TargetProcess>& processes) {
  Op query{"process.state", Json::object()};
  if (processes.size() == 1) {
    query.args["identity"] = to_json(processes.front());
    return query;
  }
  query.args["identities"] = Json::array();
  for (const TargetProcess& process : processes) query.args["identities"].push_back(to_json(process));
  return query;
}

std::vector<Json> states_of(const Json& answer) {
  if (!answer.is_object()) return {};
  if (!answer.contains("processes")) return answer.contains("same") ? std::vector<Json>{answer} : std::vector<Json>();
  return answer["processes"].is_array() ? answer["processes"].get<std::vector<Json>>() : std::vector<Json>();
}

std::string named(const ChosenProcesses& chosen) {
  if (chosen.processes.size() == 1 && chosen.how.value("matching", 1) == 1) return chosen.words;
  std::string pids;
  for (std::size_t i = 0; i < std::min(chosen.processes.size(), kNamed); ++i) pids += fmt::format("{}{}", i == 0 ? "" : ", ", chosen.processes[i].pid);
  if (chosen.processes.size() > kNamed) pids += fmt::format(" and {} more", chosen.processes.size() - kNamed);
  return fmt::format("{} ({})", chosen.words, pids);
}

}  // namespace capsize
