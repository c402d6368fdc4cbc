#include "experiments/fault_phase.h"

#include <fmt/format.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/redirect_error.hpp>
#include <algorithm>
#include <cstdlib>

#include "injector/base/error.h"
#include "injector/base/settle.h"
#include "injector/base/within.h"

namespace capsize {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(250);
constexpr Duration kEffectEvery = std::chrono::seconds(1);
constexpr Duration kObserveLimit = std::chrono::seconds(5);
// How much longer than its time a fault may live before the host undoes it without being asked.
constexpr Duration kLifetimeMargin = std::chrono::seconds(5);

std::size_t fault_of(const StepId& step) { return step.size() > 1 && step[0] == 'f' ? static_cast<std::size_t>(std::strtoul(step.c_str() + 1, nullptr, 10)) : 0; }

}  // namespace

FaultPhase::FaultPhase(const Playbook& playbook, PreparedRun& prepared, Clock& clock, StopSource& stop, Record record)
    : playbook_(playbook), prepared_(prepared), clock_(clock), stop_(stop), record_(std::move(record)), faults_(playbook.faults.size()) {}

Task<> FaultPhase::play(TimePoint start) {
  const auto executor = co_await asio::this_coro::executor;
  news_.emplace(executor);
  std::exception_ptr problem;
  try {
    co_await keep_time(start, start + playbook_.fault_phase());
  } catch (...) {
    problem = std::current_exception();
  }
  if (!problem) co_return;
  for (Work* work : {&changing_, &ending_}) {
    if (work->going) work->stop.emit(asio::cancellation_type::terminal);
  }
  std::rethrow_exception(problem);
}

// What is due to end comes first: what begins then may be aimed at the same target.
Task<> FaultPhase::keep_time(TimePoint start, TimePoint end) {
  for (;;) {
    news_->expires_at(asio::steady_timer::time_point::max());
    if (problem_) std::rethrow_exception(problem_);
    const TimePoint now = clock_.now();
    if (now >= end && !changing_.going && !ending_.going) break;
    bool due = false;
    for (std::size_t i = 0; i < faults_.size(); ++i) due = due || due_to_end(i, start, end);
    if (due && !ending_.going) begin(ending_, end_due(start, end));
    if (!ending_.going && !changing_.going && now < end && !stop_.requested()) begin_due(start);
    const Duration pause = next_event(start, end) - now;
    auto news = wait_for_news();
    co_await within(clock_, pause, std::move(news));
  }
  co_await measure_effects(true);
}

TimePoint FaultPhase::next_event(TimePoint start, TimePoint end) const {
  const TimePoint now = clock_.now();
  TimePoint latest = now + kTick;
  if (end > now) latest = std::min(latest, end);
  for (std::size_t i = 0; i < faults_.size(); ++i) {
    const PlannedFault& fault = playbook_.faults[i];
    const TimePoint due = start + fault.at + (faults_[i].state == State::waiting ? Duration(0) : fault.lasting);
    if (faults_[i].state != State::over && due > now) latest = std::min(latest, due);
  }
  return latest;
}

void FaultPhase::begin_due(TimePoint start) {
  const TimePoint now = clock_.now();
  for (std::size_t i = 0; i < faults_.size(); ++i) {
    if (faults_[i].state != State::waiting || now < start + playbook_.faults[i].at) continue;
    injecting_ = true;
    begin(changing_, inject(i));
    return;
  }
  const bool measure = std::any_of(faults_.begin(), faults_.end(), [&](const Fault& fault) { return fault.state == State::active && now >= fault.next_effect; });
  if (measure) begin(changing_, measure_effects(false));
}

void FaultPhase::begin(Work& work, Task<> task) {
  work.going = true;
  asio::co_spawn(news_->get_executor(), std::move(task), asio::bind_cancellation_slot(work.stop.slot(), [this, &work](std::exception_ptr problem) {
                   if (!problem_) problem_ = problem;
                   work.going = false;
                   if (&work == &changing_) injecting_ = false;
                   news_->expires_at(asio::steady_timer::time_point::min());  // wakes who waits, and whoever is about to
                 }));
}

Task<> FaultPhase::wait_for_news() {
  boost::system::error_code ignored;
  co_await news_->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

Task<> FaultPhase::join() {
  while (changing_.going || ending_.going) {
    news_->expires_at(asio::steady_timer::time_point::max());
    co_await wait_for_news();
  }
}

Task<Json> FaultPhase::observe(std::size_t index) {
  Host& host = prepared_.host_of(playbook_.faults[index].target);
  Op query = prepared_.plans()[index].observe;
  auto answer = co_await within(clock_, kObserveLimit, host.inspect(std::move(query)));
  if (!answer) throw Error(ErrorKind::unavailable, fmt::format("the effect of {} could not be measured: no answer within 5 s", playbook_.faults[index].fault));
  co_return std::move(*answer);
}

Task<> FaultPhase::inject(std::size_t index) {
  Fault& fault = faults_[index];
  const PlannedFault& planned = playbook_.faults[index];
  fault.before = co_await observe(index);
  fault.state = State::injecting;
  record_("injecting", {{"fault", index}});
  Host& host = prepared_.host_of(planned.target);
  Json detail = Json::array();
  const auto& steps = prepared_.plans()[index].steps;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const StepId id = fmt::format("f{}.s{}", index, s);
    fault.steps.push_back(id);
    Json applied = co_await host.apply(id, steps[s], planned.lasting + kLifetimeMargin);
    detail.push_back(std::move(applied));
  }
  fault.state = State::active;
  fault.next_effect = clock_.now() + kEffectEvery;
  record_("injected", {{"fault", index}, {"summary", prepared_.plans()[index].summary}, {"detail", std::move(detail)}});
}

Task<> FaultPhase::measure_effects(bool last) {
  for (std::size_t i = 0; i < faults_.size(); ++i) {
    if (faults_[i].state != State::active || (!last && clock_.now() < faults_[i].next_effect)) continue;
    co_await measure_effect(i);
  }
}

Task<> FaultPhase::measure_effect(std::size_t index) {
  faults_[index].next_effect = clock_.now() + kEffectEvery;
  Json after;
  try {
    after = co_await observe(index);
  } catch (const Error&) {
    if (faults_[index].state == State::active) throw;
  }
  if (faults_[index].state != State::active) co_return;  // its undo has begun meanwhile: this says nothing of the fault
  const FaultType* type = find_fault(playbook_.faults[index].fault);
  const Effect effect = type->effect(prepared_.plans()[index], faults_[index].before, after);
  record_("effect", {{"fault", index}, {"effect", {{"intended", effect.intended}, {"measured", effect.measured}, {"bites", effect.bites}, {"because", effect.because}}}});
}

// Its time ends within the phase; those that end with it are left to revert(), but where an injection holds that up.
bool FaultPhase::due_to_end(std::size_t index, TimePoint start, TimePoint phase_end) const {
  const TimePoint due = start + playbook_.faults[index].at + playbook_.faults[index].lasting;
  return faults_[index].state == State::active && clock_.now() >= due && (due < phase_end || injecting_);
}

Task<> FaultPhase::end_due(TimePoint start, TimePoint phase_end) {
  for (std::size_t i = faults_.size(); i-- > 0;) {
    if (!due_to_end(i, start, phase_end)) continue;
    co_await measure_effect(i);
    co_await undo_fault(i);
    if (left_.empty()) continue;
    stop_.request("error", fmt::format("an undo was refused or failed in the fault phase, so nothing more is injected: {} on {}", playbook_.faults[i].fault, playbook_.faults[i].target));
    co_return;
  }
}

Task<> FaultPhase::undo_fault(std::size_t index) {
  faults_[index].state = State::over;
  Host& host = prepared_.host_of(playbook_.faults[index].target);
  while (!faults_[index].steps.empty()) {
    const StepId id = faults_[index].steps.back();
    const UndoReport report = co_await host.undo(id);
    faults_[index].steps.pop_back();
    record_undo(report);
  }
}

void FaultPhase::record_undo(const UndoReport& report) {
  Json fields = to_json(report.result);
  fields["step"] = report.step;
  fields["fault"] = fault_of(report.step);
  if (report.result.state == UndoState::refused || report.result.state == UndoState::failed) left_.insert(report.step);
  else left_.erase(report.step);
  record_("undo", std::move(fields));
}

// The stop source is not asked here. Undoing all comes before what is under way is waited for: it ends an injection that cannot be cancelled.
Task<> FaultPhase::revert() {
  const bool touched = std::any_of(faults_.begin(), faults_.end(), [](const Fault& fault) { return fault.state != State::waiting; });
  if (touched) record_("phase", {{"phase", "revert"}});
  auto undoing = prepared_.undo_all();
  const auto undone = co_await settle(std::move(undoing));
  co_await join();
  if (undone->error) std::rethrow_exception(undone->error);
  for (const UndoReport& report : *undone->value) {
    record_undo(report);
    for (Fault& fault : faults_) std::erase(fault.steps, report.step);
  }
  // What a host has undone by itself, as after an apply that failed, it tells when it is asked.
  for (std::size_t i = faults_.size(); i-- > 0;) {
    if (faults_[i].state == State::waiting) continue;
    co_await undo_fault(i);
  }
  if (touched) record_("undone", {{"ok", left_.empty()}});
}

}  // namespace capsize
