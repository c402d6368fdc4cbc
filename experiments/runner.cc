#include "experiments/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <set>

#include "experiments/detection.h"
#include "experiments/guardrail.h"
#include "experiments/load_escape.h"
#include "experiments/playbook_variables.h"
#include "experiments/recovery.h"
#include "experiments/verdict.h"
#include "injector/base/error.h"
#include "injector/base/within.h"

namespace capsize {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(250);
constexpr Duration kEffectEvery = std::chrono::seconds(1);
constexpr Duration kObserveLimit = std::chrono::seconds(5);
// How much longer than its time a fault may live before the host undoes it without being asked.
constexpr Duration kLifetimeMargin = std::chrono::seconds(5);
constexpr double kLastWindows = 5;  // seconds: how long a stretch's last windows are waited for
constexpr Duration kProbeEndLimit = std::chrono::seconds(90);

enum class FaultState { waiting, active, over };

struct ActiveFault {
  FaultState state = FaultState::waiting;
  std::vector<StepId> steps;  // applied or begun, in order
  Json before;                // answer of `observe` right before the first apply
  TimePoint next_effect;
};

class Runner {
 public:
  Runner(const Playbook& playbook, PreparedRun& prepared, const RunOptions& options, World& world, Timeline& timeline, StopSource& stop)
      : playbook_(playbook), prepared_(prepared), options_(options), world_(world), timeline_(timeline), stop_(stop), evidence_(playbook), faults_(playbook.faults.size()),
        steps_(playbook, options.answers, options.room, *world.clock, [this](std::string event, Json fields) { record(event, std::move(fields)); }) {
    for (const Guardrail& guardrail : playbook.abort_when) guardrails_.emplace_back(guardrail, playbook.fault_phase());
  }

  Task<> run() {
    begin();
    executor_ = co_await asio::this_coro::executor;
    start_probes(executor_);
    std::exception_ptr problem;
    try {
      co_await stop_.unless_stopped(baseline());
      if (!stop_.requested()) {
        co_await stop_.unless_stopped(fault_phase());
      }
    } catch (...) {
      problem = std::current_exception();
    }
    if (problem) note_error(problem);
    co_await revert();
    if (!stop_.requested() && disturbed() && evidence_.undone_at()) {
      co_await stop_.unless_stopped(recovery());
    }
    if (!stop_.requested() && playbook_.escape && ends_metastable(playbook_, timeline_.events())) {
      co_await stop_.unless_stopped(escape());
    }
    if (stop_.requested() && !stop_recorded_) record_stop();
    co_await end_probes();
    co_await steps_.end();
    if (options_.seal) open_seal();
    record("phase", {{"phase", "end"}});
    record("end", {{"wall", iso8601(world_.clock->wall())}});
  }

 private:
  bool disturbed() const { return !options_.without_faults && !playbook_.faults.empty(); }

  void record(const std::string& event, Json fields) {
    timeline_.add(event, fit_to_record(std::move(fields), playbook_.secrets));
    evidence_.add(timeline_.events().back());
  }

  void begin() {
    Json head = {{"run", options_.run}, {"title", playbook_.title}, {"seed", options_.seed}, {"version", CAPSIZE_VERSION}};
    head["started"] = iso8601(world_.clock->wall());
    head["playbook"] = playbook_.as_run;
    head["without_faults"] = options_.without_faults;
    record("run", std::move(head));
    if (options_.seal) record("seal", {{"commitment", options_.seal->commitment}, {"causes", playbook_.sealed.size()}});
    for (std::size_t i = 0; i < playbook_.faults.size() && !options_.without_faults; ++i) {
      const FaultPlan& plan = prepared_.plans()[i];
      Json steps = Json::array();
      for (const Step& step : plan.steps) steps.push_back(to_json(step));
      record("planned", {{"fault", i}, {"summary", plan.summary}, {"intended", plan.intended}, {"steps", std::move(steps)}, {"allowed", plan.allowed}, {"reason", playbook_.faults[i].reason}});
    }
    std::set<Host*> hosts;
    for (const auto& [name, target] : playbook_.targets) hosts.insert(&prepared_.host_of(name));
    for (Host* host : hosts) {
      host->on_notice = [this](Json notice) { on_notice(std::move(notice)); };
    }
  }

  void begin_phase(Span phase, Duration lasts) {
    record("phase", {{"phase", to_string(phase)}, {"lasts", seconds(lasts)}});
    steps_.phase_begins(phase, executor_);
  }

  void open_seal() {
    const SealedCause& cause = playbook_.sealed.at(options_.seal->choice);
    record("opened", {{"choice", options_.seal->choice}, {"name", cause.name}, {"cause", cause.cause},
                      {"commitment", options_.seal->commitment}, {"opening", options_.seal->opening}});
  }

  void on_notice(Json notice) {
    const std::string what = notice.value("what", "");
    record("notice", notice);
    if (what == "guard_lost" || what == "agent_lost" || what == "lease_undo") stop_.request("lost", notice.value("because", what));
    if (what == "lifetime_undo") stop_.request("lost", "a fault outlived its time and its host undid it: " + notice.value("because", ""));
  }

  void start_probes(const asio::any_io_executor& executor) {
    const Rng rng(options_.seed);
    for (const auto& [name, use] : playbook_.probes) {
      const ProbeType* type = find_probe(use.probe);
      CAPSIZE_CHECK(type != nullptr);
      ProbeContext context;
      context.name = name;
      context.params = use.params;
      if (!use.target.empty()) {
        context.target = playbook_.targets.at(use.target).params;
        context.host = &prepared_.host_of(use.target);
      }
      context.clock = world_.clock;
      context.rng = rng.stream(name);
      context.start = timeline_.start();
      context.emit = [this, probe = name](Window window) { record("window", {{"probe", probe}, {"window", std::move(window)}}); };
      context.transport = world_.transport;
      context.documents = world_.documents;
      probes_.push_back(type->make(std::move(context)));
    }
    probes_running_ = probes_.size();
    for (const auto& probe : probes_) {
      asio::co_spawn(executor, probe->run(), [this](std::exception_ptr problem) {
        --probes_running_;
        if (problem) note_error(problem);
      });
    }
  }

  // An error of ours or of the world: it stops the run; the undo goes on.
  void note_error(std::exception_ptr problem) {
    try {
      std::rethrow_exception(problem);
    } catch (const Error& error) {
      stop_.request("error", error.what());
    } catch (const std::exception& error) {
      stop_.request("error", fmt::format("unexpected: {}", error.what()));
    }
  }

  void record_stop() {
    stop_recorded_ = true;
    steps_.no_more();
    record("stop", {{"kind", stop_.kind()}, {"because", stop_.because()}});
  }

  Task<> baseline() {
    begin_phase(Span::baseline, playbook_.timing.baseline);
    const TimePoint end = world_.clock->now() + playbook_.timing.baseline;
    co_await world_.clock->sleep_until(end);
    const Stretch stretch = evidence_.span(Span::baseline).value_or(Stretch{});
    Json findings = Json::array();
    std::string problem;
    for (Expectation expectation : playbook_.steady_state) {
      expectation.during = Span::baseline;
      const Finding finding = evidence_.hold(expectation, stretch, false);
      if (finding.holds != Holds::yes && problem.empty()) problem = finding.because;
      findings.push_back(to_json(finding));
    }
    record("gate", {{"holds", problem.empty() ? "yes" : "no"}, {"findings", std::move(findings)}});
    if (!problem.empty()) stop_.request("not_steady", "the baseline was not steady, so nothing was injected: " + problem);
  }

  Task<> fault_phase() {
    begin_phase(Span::fault, playbook_.fault_phase());
    const TimePoint start = world_.clock->now();
    const TimePoint end = start + playbook_.fault_phase();
    for (;;) {
      const TimePoint now = world_.clock->now();
      if (now >= end) break;
      if (!options_.without_faults) {
        co_await end_due_faults(start, end);
        co_await start_due_faults(start);
        co_await measure_effects(false);
      }
      if (const auto span = evidence_.span(Span::fault)) check_guardrails(*span);
      const TimePoint next = std::min(end, next_event(start, world_.clock->now() + kTick));
      co_await world_.clock->sleep_until(next);
    }
    if (!options_.without_faults) {
      co_await measure_effects(true);
    }
  }

  TimePoint next_event(TimePoint start, TimePoint latest) const {
    const TimePoint now = world_.clock->now();
    for (std::size_t i = 0; i < faults_.size() && !options_.without_faults; ++i) {
      const PlannedFault& fault = playbook_.faults[i];
      const TimePoint due = start + fault.at + (faults_[i].state == FaultState::active ? fault.lasting : Duration(0));
      if (faults_[i].state != FaultState::over && due > now) latest = std::min(latest, due);
    }
    return latest;
  }

  Task<> start_due_faults(TimePoint start) {
    for (std::size_t i = 0; i < faults_.size(); ++i) {
      if (faults_[i].state != FaultState::waiting || world_.clock->now() < start + playbook_.faults[i].at) continue;
      co_await inject(i);
    }
  }

  Task<Json> observe(std::size_t index) {
    Host& host = prepared_.host_of(playbook_.faults[index].target);
    Op query = prepared_.plans()[index].observe;
    auto answer = co_await within(*world_.clock, kObserveLimit, host.inspect(std::move(query)));
    if (!answer) throw Error(ErrorKind::unavailable, fmt::format("the effect of {} could not be measured: no answer within 5 s", playbook_.faults[index].fault));
    co_return std::move(*answer);
  }

  Task<> inject(std::size_t index) {
    ActiveFault& active = faults_[index];
    const PlannedFault& fault = playbook_.faults[index];
    active.before = co_await observe(index);
    active.state = FaultState::active;
    Host& host = prepared_.host_of(fault.target);
    Json detail = Json::array();
    const auto& steps = prepared_.plans()[index].steps;
    for (std::size_t s = 0; s < steps.size(); ++s) {
      const StepId id = fmt::format("f{}.s{}", index, s);
      active.steps.push_back(id);
      Json applied = co_await host.apply(id, steps[s], fault.lasting + kLifetimeMargin);
      detail.push_back(std::move(applied));
    }
    active.next_effect = world_.clock->now() + kEffectEvery;
    record("injected", {{"fault", index}, {"summary", prepared_.plans()[index].summary}, {"detail", std::move(detail)}});
  }

  Task<> measure_effects(bool last) {
    for (std::size_t i = 0; i < faults_.size(); ++i) {
      if (faults_[i].state != FaultState::active || (!last && world_.clock->now() < faults_[i].next_effect)) continue;
      co_await measure_effect(i);
    }
  }

  Task<> measure_effect(std::size_t index) {
    faults_[index].next_effect = world_.clock->now() + kEffectEvery;
    const Json after = co_await observe(index);
    const FaultType* type = find_fault(playbook_.faults[index].fault);
    const Effect effect = type->effect(prepared_.plans()[index], faults_[index].before, after);
    record("effect", {{"fault", index}, {"effect", {{"intended", effect.intended}, {"measured", effect.measured}, {"bites", effect.bites}, {"because", effect.because}}}});
  }

  // Those whose time ends within the phase; the rest ends with it, in revert().
  Task<> end_due_faults(TimePoint start, TimePoint phase_end) {
    for (std::size_t i = faults_.size(); i-- > 0;) {
      const PlannedFault& fault = playbook_.faults[i];
      const TimePoint due = start + fault.at + fault.lasting;
      if (faults_[i].state != FaultState::active || due >= phase_end || world_.clock->now() < due) continue;
      co_await measure_effect(i);
      co_await undo_fault(i);
    }
  }

  Task<> undo_fault(std::size_t index) {
    faults_[index].state = FaultState::over;
    Host& host = prepared_.host_of(playbook_.faults[index].target);
    while (!faults_[index].steps.empty()) {
      const StepId id = faults_[index].steps.back();
      const UndoReport report = co_await host.undo(id);
      faults_[index].steps.pop_back();
      record_undo(report);
    }
  }

  void record_undo(const UndoReport& report) {
    Json fields = to_json(report.result);
    fields["step"] = report.step;
    std::size_t fault = 0;
    if (report.step.size() > 1 && report.step[0] == 'f') fault = static_cast<std::size_t>(std::strtoul(report.step.c_str() + 1, nullptr, 10));
    fields["fault"] = fault;
    all_undone_ = all_undone_ && report.result.state != UndoState::refused && report.result.state != UndoState::failed;
    record("undo", std::move(fields));
  }

  // Never stoppable: the stop source is not asked from here on.
  Task<> revert() {
    if (stop_.requested()) record_stop();
    steps_.no_more();
    bool touched = false;
    for (const ActiveFault& fault : faults_) touched = touched || fault.state != FaultState::waiting;
    if (touched) record("phase", {{"phase", "revert"}});
    const auto reports = co_await prepared_.undo_all();
    for (const UndoReport& report : reports) record_undo(report);
    for (ActiveFault& fault : faults_) {
      if (fault.state == FaultState::active) fault.state = FaultState::over;
    }
    if (touched) record("undone", {{"ok", all_undone_}});
  }

  Task<> recovery() {
    begin_phase(Span::recovery, playbook_.timing.recovery);
    const double end = evidence_.undone_at().value_or(0) + seconds(playbook_.timing.recovery);
    TimePoint next = world_.clock->now();
    bool told = false;
    for (;;) {
      next += std::chrono::seconds(1);
      co_await world_.clock->sleep_until(next);
      const auto found = find_recovery(evidence_);
      if (found && found->recovered) {
        if (!told) record("notice", {{"what", "recovered"}, {"because", found->because}, {"seconds", found->seconds}});
        told = true;
        if (!still_open(evidence_)) co_return;  // an alert may take longer than the system
      }
      if (evidence_.complete_until() >= end || timeline_.now_seconds() >= end + kLastWindows) co_return;
    }
  }

  // Nothing is injected any more, and what is found changes no verdict.
  Task<> escape() {
    const EscapeTest& test = *playbook_.escape;
    record("phase", {{"phase", "escape"}, {"lasts", seconds(playbook_.escape_time())}, {"watched_until", evidence_.complete_until()}});
    guardrails_ = watches_after(evidence_, playbook_.escape_time());
    for (const Share step : test.steps) {
      lower_load(step);
      const double end = timeline_.now_seconds() + seconds(test.hold);
      while (evidence_.complete_until() < end && timeline_.now_seconds() < end + kLastWindows) {
        co_await world_.clock->sleep(std::chrono::seconds(1));
        check_guardrails({*evidence_.escape_began(), evidence_.last()});
        const auto found = find_escape(evidence_);
        if (!found || found->escaped != true) continue;
        record("notice", {{"what", "escaped"}, {"because", found->because}});
        co_return;
      }
    }
  }

  void lower_load(Share step) {
    for (std::size_t index = 0; const auto& [name, use] : playbook_.probes) {
      if (is_login_load(use)) probes_[index]->set_load(step.value);
      ++index;
    }
    record("escape", {{"share", step.value}});
  }

  void check_guardrails(Stretch span) {
    for (GuardrailWatch& watch : guardrails_) {
      const auto because = watch.look(evidence_, span);
      if (because) stop_.request("guardrail", *because);
    }
  }

  Task<> end_probes() {
    for (const auto& probe : probes_) probe->stop();
    const TimePoint limit = world_.clock->now() + kProbeEndLimit;
    while (probes_running_ > 0 && world_.clock->now() < limit) {
      co_await world_.clock->sleep(std::chrono::milliseconds(20));
    }
    CAPSIZE_CHECK(probes_running_ == 0);
  }

  const Playbook& playbook_;
  PreparedRun& prepared_;
  const RunOptions& options_;
  World& world_;
  Timeline& timeline_;
  StopSource& stop_;
  Evidence evidence_;
  std::vector<ActiveFault> faults_;
  std::vector<GuardrailWatch> guardrails_;
  std::vector<std::unique_ptr<Probe>> probes_;
  std::size_t probes_running_ = 0;
  RoomSteps steps_;
  asio::any_io_executor executor_;
  bool all_undone_ = true, stop_recorded_ = false;
};

}  // namespace

Task<> run_playbook(const Playbook& playbook, PreparedRun& prepared, const RunOptions& options, World& world, Timeline& timeline, StopSource& stop) {
  Runner runner(playbook, prepared, options, world, timeline, stop);
  co_await runner.run();
}

}  // namespace capsize
