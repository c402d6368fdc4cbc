// capsize inject FAULT key=value... --for 30s | probe PROBE key=value... --for 30s: one fault, or one probe, without a playbook.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "experiments/cli/control.h"
#include "experiments/cli/playbook_flags.h"
#include "experiments/cli/run_folder.h"
#include "experiments/playbook_parts.h"
#include "experiments/runner.h"
#include "injector/base/error.h"
#include "injector/target_type.h"
#include "injector/undo/reverter.h"
#include "probes/health.h"

namespace capsize {
namespace {

struct OneFlags {
  std::string name;
  std::vector<std::string> assignments;
  std::string lasting = "30s";
  std::vector<std::string> allow;
  std::string reason;
  std::uint64_t seed = 0;
};

Json value_of(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  const bool plain = json.is_number() || json.is_boolean() || json.is_array() || json.is_object();
  return plain ? json : Json(text);
}

std::vector<std::string> names_of(const AnySpec& spec) {
  std::vector<std::string> out;
  for (const FieldInfo& field : spec.fields()) out.push_back(field.name);
  return out;
}

const TargetType& target_type(std::string_view name) {
  const TargetType* type = find_target_type(name);
  CAPSIZE_CHECK(type != nullptr);
  return *type;
}

// Assignments belong to the fault or probe, or else to its target.
struct Split {
  Json own = Json::object();
  Json target = Json::object();
};

// Of the types that a fault accepts: the one that knows most of the parameters given; among equals the first.
const TargetType& type_meant(const OneFlags& flags, const FaultType& fault) {
  const TargetType* best = nullptr;
  std::ptrdiff_t most = -1;
  for (const std::string_view candidate : fault.target_types) {
    const TargetType& type = target_type(candidate);
    const auto known = names_of(type.spec());
    const auto count = std::count_if(flags.assignments.begin(), flags.assignments.end(),
                                     [&](const std::string& assignment) { return std::find(known.begin(), known.end(), split_assignment(assignment).first) != known.end(); });
    if (count > most) best = &type, most = count;
  }
  CAPSIZE_CHECK(best != nullptr);
  return *best;
}

Split split(const OneFlags& flags, const AnySpec& spec, const AnySpec* target) {
  const auto own = names_of(spec);
  const auto of_target = target ? names_of(*target) : std::vector<std::string>();
  Split out;
  for (const std::string& assignment : flags.assignments) {
    const auto [name, text] = split_assignment(assignment);
    const bool is_own = std::find(own.begin(), own.end(), name) != own.end();
    const bool is_target = std::find(of_target.begin(), of_target.end(), name) != of_target.end();
    (is_target && !is_own ? out.target : out.own)[name] = value_of(text);
  }
  return out;
}

// A playbook around one fault or probe: the same reader finds the mistakes, the same runner undoes.
Playbook checked(Json json) {
  const PlaybookResult result = read_playbook(json.dump(), PlaybookOptions{});
  if (result.playbook) return *result.playbook;
  std::string all;
  for (const Diagnostic& problem : result.diagnostics.all()) {
    if (problem.severity == Severity::error) all += fmt::format("{}{}; {}", all.empty() ? "" : "\n         ", problem.fact, problem.remedy);
  }
  throw Error(ErrorKind::refused, all);
}

Playbook fault_playbook(const OneFlags& flags) {
  const FaultType* type = find_fault(flags.name);
  if (type == nullptr) {
    std::vector<std::string> names;
    for (const FaultType& fault : fault_catalog()) names.emplace_back(fault.name);
    const Mistake mistake = wrong_word(flags.name, names);
    throw Error(ErrorKind::refused, mistake.fact, mistake.remedy);
  }
  const TargetType& meant = type_meant(flags, *type);
  Split parts = split(flags, type->spec(), &meant.spec());
  parts.target["type"] = meant.name;
  parts.own["fault"] = type->name;
  parts.own["target"] = "target";
  parts.own["for"] = flags.lasting;
  if (!flags.allow.empty()) parts.own["allow"] = flags.allow;
  if (!flags.reason.empty()) parts.own["reason"] = flags.reason;
  return checked({{"playbook", 1},
                  {"title", "capsize inject " + flags.name},
                  {"targets", {{"target", parts.target}}},
                  // Nothing is judged here, but a playbook must watch something; this one is never started.
                  {"probes", {{"idle", {{"probe", "tcp.connect"}, {"address", "127.0.0.1:9"}}}}},
                  {"steady_state", Json::array({{{"measure", "idle.success_ratio"}, {"at_least", "0%"}}})},
                  {"faults", Json::array({parts.own})}});
}

void say_effect(const Effect& effect, bool json) {
  if (json) fmt::print("{}\n", Json({{"event", "effect"}, {"intended", effect.intended}, {"measured", effect.measured}, {"bites", effect.bites}, {"because", effect.because}}).dump());
  else fmt::print("{}: {}\n", effect.bites ? "it bites" : "no effect seen", printable(effect.because, 1000));
}

Task<> hold_fault(const Playbook& playbook, PreparedRun& prepared, Clock& clock, bool json) {
  const FaultPlan& plan = prepared.plans().front();
  const PlannedFault& fault = playbook.faults.front();
  const FaultType* type = find_fault(fault.fault);
  Host& host = prepared.host_of(fault.target);
  Op query = plan.observe;
  const Json before = co_await host.inspect(query);
  const TimePoint end = clock.now() + fault.lasting;
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    const StepId id = fmt::format("f0.s{}", s);
    co_await host.apply(id, plan.steps[s], fault.lasting + std::chrono::seconds(5));
  }
  if (json) fmt::print("{}\n", Json({{"event", "injected"}, {"summary", plan.summary}}).dump());
  else fmt::print("injected for {}: {}\n", show(fault.lasting), printable(plan.summary, 1000));
  std::fflush(stdout);
  const Duration soon = std::min<Duration>(fault.lasting / 2, std::chrono::seconds(2));
  co_await clock.sleep(soon);
  const Json after = co_await host.inspect(query);
  say_effect(type->effect(plan, before, after), json);
  std::fflush(stdout);
  co_await clock.sleep_until(end);
}

int inject(const OneFlags& flags, const CliContext& context) {
  const Playbook playbook = fault_playbook(flags);
  SystemClock clock;
  StopSource stop;
  const std::string run = new_run_id(clock.wall(), "inject-" + flags.name);
  World world = real_world(clock, context, run);
  std::vector<UndoReport> reports;
  std::optional<RunInProgress> in_progress;
  const auto work = [&]() -> Task<> {
    const auto prepared = co_await prepare(playbook, world, chosen_seed(flags.seed));
    in_progress.emplace(context.state_dir(), run, context.state_dir());
    std::exception_ptr problem;
    try {
      co_await stop.unless_stopped(hold_fault(playbook, *prepared, clock, context.json));
    } catch (...) {
      problem = std::current_exception();
    }
    reports = co_await prepared->undo_all();
    co_await prepared->close();
    if (problem) std::rethrow_exception(problem);
  };
  run_control(stop, work, [&](bool first) { fmt::print(stderr, "{}\n", first ? "stopping: reverting now" : "still reverting"); });
  for (const UndoReport& report : reports) {
    if (context.json) fmt::print("{}\n", to_json(report).dump());
    else fmt::print("{}: {}\n", to_string(report.result.state), printable(report.result.because, 1000));
    if (!report.result.remedy.empty()) fmt::print(stderr, "{}\n", printable(report.result.remedy, 1000));
  }
  return any_left(reports) ? kExitResidue : 0;
}

const ProbeType& probe_type(const OneFlags& flags) {
  const ProbeType* type = find_probe(flags.name);
  if (type != nullptr) return *type;
  std::vector<std::string> names;
  for (const ProbeType& probe : probe_catalog()) names.emplace_back(probe.name);
  const Mistake mistake = wrong_word(flags.name, names);
  throw Error(ErrorKind::refused, mistake.fact, mistake.remedy);
}

// The probe's measures over the whole run; those of a pattern are left to reports.
Json measures_of(const ProbeType& type, const std::vector<const Window*>& windows) {
  Json out = Json::object();
  for (const MeasureInfo& info : type.measures()) {
    if (info.name.find('<') != std::string::npos) continue;
    if (const auto measured = type.measure(info.name, windows)) out[info.name] = to_json(*measured);
  }
  return out;
}

// A playbook needs a steady state; this one says nothing.
Json any_expectation(const ProbeType& type) {
  const auto& infos = type.measures();
  const auto info = std::find_if(infos.begin(), infos.end(), [](const MeasureInfo& one) { return one.of == MeasureOf::span; });
  CAPSIZE_CHECK(info != infos.end());
  const std::size_t pattern = info->name.find('<');
  Json out = {{"measure", "probe." + (pattern == std::string::npos ? info->name : info->name.substr(0, pattern) + "x")}, {"at_least", 0}};
  if (info->kind == MeasureKind::ratio) out["at_least"] = "0%";
  if (info->kind == MeasureKind::duration) out["at_least"] = "0s";
  if (info->kind == MeasureKind::rate) out["at_least"] = "0/s";
  return out;
}

int probe(const OneFlags& flags, const CliContext& context) {
  const ProbeType& type = probe_type(flags);
  const TargetType* target = type.target_type.empty() ? nullptr : &target_type(type.target_type);
  Split parts = split(flags, type.spec(), target ? &target->spec() : nullptr);
  parts.own["probe"] = type.name;
  Json json = {{"playbook", 1}, {"title", "capsize probe " + flags.name}, {"timing", {{"baseline", flags.lasting}}}};
  if (target) parts.target["type"] = type.target_type, parts.own["target"] = "target", json["targets"] = {{"target", parts.target}};
  json["probes"] = {{"probe", parts.own}};
  json["steady_state"] = Json::array({any_expectation(type)});
  const Playbook playbook = checked(json);
  SystemClock clock;
  StopSource stop;
  Timeline timeline(clock);
  World world = real_world(clock, context, new_run_id(clock.wall(), "probe"));
  RunOptions options;
  options.run = "probe";
  options.without_faults = true;
  const auto work = [&]() -> Task<> {
    const auto prepared = co_await prepare(playbook, world, 1, Purpose::look);
    co_await run_playbook(playbook, *prepared, options, world, timeline, stop);
    co_await prepared->close();
  };
  run_control(stop, work);
  Evidence evidence(playbook);
  for (const Json& event : timeline.events()) evidence.add(event);
  const Json measures = measures_of(type, evidence.windows("probe"));
  const auto problem = generator_problem(evidence.windows("probe"));
  const std::string unknown = type.why_unknown == nullptr ? "" : type.why_unknown("", evidence.windows("probe"));
  if (context.json) {
    fmt::print("{}\n", Json({{"probe", flags.name}, {"measures", measures}, {"generator_problem", problem ? Json(*problem) : Json(nullptr)}, {"unknown", unknown}}).dump(2, ' ', false, Json::error_handler_t::replace));
    return problem ? 4 : 0;
  }
  for (const auto& [name, value] : measures.items()) {
    const MeasureInfo* info = find_measure(type, name);
    fmt::print("{:<20} {:>12}   {} samples\n", name, show_value(info->kind, value.value("value", 0.0)), value.value("samples", 0));
  }
  if (!unknown.empty()) fmt::print(stderr, "not known: {}\n", printable(unknown, 1000));
  if (problem) fmt::print(stderr, "the tester could not keep up: {}\n", *problem);
  if (const auto warning = generator_warning(evidence.windows("probe"))) fmt::print(stderr, "warning: {}\n", *warning);
  return problem ? 4 : 0;
}

}  // namespace

void add_inject(CLI::App& app, CliContext& context) {
  auto flags = std::make_shared<OneFlags>();
  auto* inject_command = app.add_subcommand("inject", "one fault without a playbook: capsize inject balancer.drain socket=/run/haproxy/admin.sock backend=auth servers='[\"auth1\"]' --for 30s");
  auto* probe_command = app.add_subcommand("probe", "one probe without a playbook: capsize probe login.http url=http://127.0.0.1:8000/login rate=20/s --for 10s");
  inject_command->add_option("FAULT", flags->name, "as `capsize describe` lists them")->required();
  probe_command->add_option("PROBE", flags->name, "as `capsize describe` lists them")->required();
  for (CLI::App* command : {inject_command, probe_command}) {
    command->add_option("key=value", flags->assignments, "parameters of it and of its target");
    command->add_option("--for", flags->lasting, "how long")->capture_default_str();
  }
  inject_command->add_option("--allow", flags->allow, fmt::format("go beyond the default blast radius: {}", fmt::join(ParamTraits<Allow>::known(), ", ")));
  inject_command->add_option("--reason", flags->reason, "why that is allowed");
  inject_command->add_option("--seed", flags->seed, "choose the same again where a target says \"one\" or a share of several; by chance when it is not given");
  inject_command->callback([flags, &context] { context.exit_code = inject(*flags, context); });
  probe_command->callback([flags, &context] { context.exit_code = probe(*flags, context); });
}

}  // namespace capsize
