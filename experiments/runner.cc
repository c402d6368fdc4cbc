#include "experiments/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <set>

#include "experiments/detection.h"
#include "experiments/fault_phase.h"
#include "experiments/guardrail.h"
#include "experiments/load_escape.h"
#include "experiments/playbook_variables.h"
#include "experiments/recovery.h"
#include "experiments/verdict.h"
#include "injector/base/error.h"
#include "injector/base/param_types.h"

namespace capsize {
namespace {

constexpr double kLastWindows = 5;  // seconds: how long a stretch's last windows are waited for
constexpr Duration kProbeEndPatience = std::chrono::seconds(90);  // beyond the longest timeout

// A probe that was told to end has what it sent under way for as long as its timeout.
Duration longest_timeout(const Playbook& playbook) {
  Duration longest{};
  for (const auto& [name, use] : playbook.probes) {
    const auto timeout = use.params.find("timeout");
    if (timeout == use.params.end() || !timeout->is_string()) continue;
    const auto parsed = parse_duration(timeout->get<std::string>());
    if (const Duration* duration = std::get_if<Duration>(&parsed)) longest = std::max(longest, *duration);
  }
  return longest;
}

class Runner {
 public:
  Runner(const Playbook& playbook, PreparedRun& prepared, const RunOptions& options, World& world, Timeline& timeline, StopSource& stop)
      : playbook_(playbook), prepared_(prepared), options_(options), world_(world), timeline_(timeline), stop_(stop), evidence_(playbook),
        faults_(playbook, prepared, *world.clock, stop, [this](std::string event, Json fields) { record(event, std::move(fields)); }),
        steps_(playbook, options.answers, options.room, *world.clock, [this](std::string event, Json fields) { record(event, std::move(fields)); }) {
    for (const Guardrail& guardrail : playbook.abort_when) guardrails_.emplace_back(guardrail, playbook.fault_phase());
  }

  Task<> run() {
    begin();
    executor_ = co_await asio::this_coro::executor;
    std::exception_ptr problem;
    try {
      start_probes(executor_);
      co_await phases();
    } catch (...) {
      problem = std::current_exception();
    }
    co_await end_probes();
    co_await steps_.end();
    for (Host* host : hosts()) host->on_notice = nullptr;
    if (problem) std::rethrow_exception(problem);
    if (options_.seal) open_seal();
    record("phase", {{"phase", "end"}});
    record("end", {{"wall", iso8601(world_.clock->wall())}});
  }

 private:
  Task<> phases() {
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
  }

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
    for (Host* host : hosts()) {
      host->on_notice = [this](Json notice) { on_notice(std::move(notice)); };
    }
  }

  std::set<Host*> hosts() const {
    std::set<Host*> out;
    for (const auto& [name, target] : playbook_.targets) out.insert(&prepared_.host_of(name));
    return out;
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
      context.emit = [this, probe = name](Window window) { on_window(probe, std::move(window)); };
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

  void on_window(const std::string& probe, Window window) {
    record("window", {{"probe", probe}, {"window", std::move(window)}});
    if (const auto span = guarding_ ? evidence_.span(Span::fault) : std::nullopt) check_guardrails(*span);
  }

  // An error of ours or of the world: it stops the run; the undo goes on.
  void note_error(std::exception_ptr problem) {
    try {
      std::rethrow_exception(problem);
    } catch (const Error& error) {
      stop_for(error.what());
    } catch (const std::exception& error) {
      stop_for(fmt::format("unexpected: {}", error.what()));
    }
  }

  // While the probes end nothing can be stopped any more, and a late Ctrl-C changes nothing: the errors of probes are recorded all the same.
  void stop_for(std::string error) {
    if (!ending_) stop_.request("error", std::move(error));
    else if (!stop_recorded_) record_stop("error", error);
  }

  void record_stop() { record_stop(stop_.kind(), stop_.because()); }
  void record_stop(const std::string& kind, const std::string& because) {
    stop_recorded_ = true;
    steps_.no_more();
    record("stop", {{"kind", kind}, {"because", because}});
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

  // Guardrails look at each window as it comes in, whatever is awaited.
  Task<> fault_phase() {
    begin_phase(Span::fault, playbook_.fault_phase());
    const TimePoint start = world_.clock->now();
    guarding_ = true;
    if (options_.without_faults) {
      co_await world_.clock->sleep_until(start + playbook_.fault_phase());
    } else {
      co_await faults_.play(start);
    }
    guarding_ = false;
  }

  Task<> revert() {
    if (stop_.requested()) record_stop();
    steps_.no_more();
    guarding_ = false;
    co_await faults_.revert();
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

  // However long it takes: what still runs would meet a run that is gone.
  Task<> end_probes() {
    ending_ = true;
    for (const auto& probe : probes_) probe->stop();
    const Duration patience = longest_timeout(playbook_) + kProbeEndPatience;
    const TimePoint limit = world_.clock->now() + patience;
    while (probes_running_ > 0) {
      co_await world_.clock->sleep(std::chrono::milliseconds(20));
      if (world_.clock->now() >= limit && !stop_recorded_) record_stop("error", fmt::format("a bug of capsize: a probe did not end within {}", show(patience)));
    }
  }

  const Playbook& playbook_;
  PreparedRun& prepared_;
  const RunOptions& options_;
  World& world_;
  Timeline& timeline_;
  StopSource& stop_;
  Evidence evidence_;
  FaultPhase faults_;
  std::vector<GuardrailWatch> guardrails_;
  std::vector<std::unique_ptr<Probe>> probes_;
  std::size_t probes_running_ = 0;
  RoomSteps steps_;
  asio::any_io_executor executor_;
  bool guarding_ = false, ending_ = false, stop_recorded_ = false;
};

}  // namespace

Task<> run_playbook(const Playbook& playbook, PreparedRun& prepared, const RunOptions& options, World& world, Timeline& timeline, StopSource& stop) {
  Runner runner(playbook, prepared, options, world, timeline, stop);
  co_await runner.run();
}

}  // namespace capsize
