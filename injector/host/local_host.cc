#include "injector/host/local_host.h"

#include <fmt/format.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/detached.hpp>

#include "injector/base/async_mutex.h"
#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/base/settle.h"
#include "injector/base/within.h"
#include "injector/host/target_claims.h"
#include "injector/undo/status.h"

namespace capsize {
namespace {

constexpr Duration kResiduePause = std::chrono::milliseconds(50);
constexpr Duration kClaimPatience = std::chrono::seconds(1);  // with a run that has undone all and is about to end

Error residue_error(const StateDir& state, const std::vector<JournalStatus>& left) {
  std::string runs;
  for (const JournalStatus& journal : left) runs += (runs.empty() ? "" : ", ") + journal.run;
  const std::string what = left.size() == 1 ? "what run " + runs + " injected here is" : "what runs " + runs + " injected here is";
  return Error(ErrorKind::residue, fmt::format("{} not undone (journals in {})", what, state.undo_path().string()),
               "run: capsize revert " + (left.size() == 1 ? runs : std::string("--all")));
}

}  // namespace

Task<> refuse_residue(const StateDir& state, Clock& clock, std::string boot_id, Duration patience) {
  remove_old_finished(state, clock);
  const TimePoint end = clock.now() + patience;
  for (;;) {
    std::vector<JournalStatus> left;
    bool guard_at_work = false;
    for (JournalStatus& journal : list_journals(state, boot_id)) {
      if (journal.holder == Holder::in_progress) continue;
      if (journal.holder == Holder::reverting) guard_at_work = true;
      if (journal.contents.outstanding() || journal.holder == Holder::reverting) left.push_back(std::move(journal));
    }
    if (left.empty()) co_return;
    if (!guard_at_work || clock.now() >= end) throw residue_error(state, left);
    co_await clock.sleep(kResiduePause);
  }
}

struct LocalHost::Impl : std::enable_shared_from_this<Impl> {
  Impl(LocalHost* host_, Clock& clock_, StateDir state_folder, LocalHostOptions options_)
      : host(host_), clock(clock_), state(std::move(state_folder)), options(std::move(options_)) {}

  LocalHost* host;  // null when it is gone
  Clock& clock;
  StateDir state;
  LocalHostOptions options;
  AsyncMutex applies;  // one at a time; taken before the turn
  AsyncMutex turn;     // of whoever changes something, here or in the journal; an apply that only waits gives way (OpContext::pause)
  std::optional<Journal> journal;
  std::unique_ptr<Guard> guard;
  std::optional<HeldTargets> targets;
  std::map<StepId, std::unique_ptr<Held>> held;
  std::map<StepId, std::shared_ptr<asio::cancellation_signal>> lifetimes;
  asio::cancellation_signal stop_apply;
  std::string over;  // why nothing is injected any more; empty: it may be

  void notice(Json json) const {
    if (host && host->on_notice) host->on_notice(std::move(json));
  }

  OpContext context() {
    OpContext made = {clock, {}, std::filesystem::absolute(state.path()).string()};
    made.share_connection = [self = shared_from_this()](int fd) { return self->share(fd); };
    return made;
  }

  Task<> share(int fd) {
    if (!guard) co_return;
    co_await guard->share(fd);
  }

  RevertOptions revert_options() const {
    RevertOptions made;
    made.find = options.find;
    made.boot_id = options.boot_id;
    made.limit = options.undo_limit;
    return made;
  }

  void end_lifetime(const StepId& id) {
    const auto it = lifetimes.find(id);
    if (it == lifetimes.end()) return;
    const auto signal = it->second;
    lifetimes.erase(it);
    signal->emit(asio::cancellation_type::terminal);
  }

  static Task<> claim(std::shared_ptr<Impl> self, std::vector<TargetHere> targets);
  static Task<> begin(std::shared_ptr<Impl> self);
  static Task<> give_way(std::shared_ptr<Impl> self, Duration how_long);
  static Task<Json> apply(std::shared_ptr<Impl> self, StepId id, Step step, Duration lifetime);
  static Task<Applied> carry_out(std::shared_ptr<Impl> self, const OpType* type, Json args);
  static Task<UndoReport> undo_one(std::shared_ptr<Impl> self, StepId id);
  static Task<UndoReport> undo_in_turn(std::shared_ptr<Impl> self, StepId id);
  static Task<UndoReport> undo(std::shared_ptr<Impl> self, StepId id);
  static Task<std::vector<UndoReport>> undo_all(std::shared_ptr<Impl> self);
  static Task<> close(std::shared_ptr<Impl> self, bool told);
  static Task<> live_out(std::shared_ptr<Impl> self, StepId id, Duration lifetime);
  static Task<> guard_lost(std::shared_ptr<Impl> self, std::string because);
};

Task<> LocalHost::Impl::claim(std::shared_ptr<Impl> self, std::vector<TargetHere> targets) {
  std::vector<TargetClaim> claims;
  for (const TargetHere& target : targets) {
    auto claiming = claim_of(target.name, target.type, target.params, self->options.find, self->context());
    auto claim = co_await std::move(claiming);
    claims.push_back(std::move(claim));
  }
  ClaimHolder holder;
  holder.run = self->options.run;
  holder.boot_id = self->options.boot_id;
  holder.process = own_identity();
  holder.since = iso8601(self->clock.wall());
  const TimePoint end = self->clock.now() + kClaimPatience;
  while (!self->targets) {
    std::exception_ptr problem;
    try {
      self->targets.emplace(HeldTargets::take(self->state, holder, claims));
    } catch (const Error&) {
      problem = std::current_exception();
    }
    if (problem && self->clock.now() >= end) std::rethrow_exception(problem);
    if (problem) {
      co_await self->clock.sleep(kResiduePause);
    }
  }
  // Who held one of them may have died since, and its guard be at work on it still.
  co_await refuse_residue(self->state, self->clock, self->options.boot_id, self->options.residue_patience);
}

// Called by an apply, with the turn held. The guard first: then its identity is in the journal's first record.
Task<> LocalHost::Impl::begin(std::shared_ptr<Impl> self) {
  if (self->journal) co_return;
  co_await refuse_residue(self->state, self->clock, self->options.boot_id, self->options.residue_patience);
  auto guard = co_await self->options.start_guard(self->state, self->options.run);
  const auto executor = co_await asio::this_coro::executor;
  JournalRun run;
  run.run = self->options.run;
  run.boot_id = self->options.boot_id;
  run.agent = own_identity();
  run.guard = guard->identity();
  run.began = iso8601(self->clock.wall());
  try {
    self->journal.emplace(Journal::create(self->state, run));
  } catch (const Error&) {
    guard->goodbye();
    throw;
  }
  guard->on_lost = [weak = self->weak_from_this(), executor](std::string because) {
    const auto impl = weak.lock();
    if (impl) asio::co_spawn(executor, guard_lost(impl, std::move(because)), asio::detached);
  };
  self->guard = std::move(guard);
}

// Called with the turn held, by an apply; it has it again when this returns, whoever has told it to end meanwhile.
Task<> LocalHost::Impl::give_way(std::shared_ptr<Impl> self, Duration how_long) {
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  self->turn.unlock();
  auto sleeping = self->clock.sleep(how_long);
  co_await settle(std::move(sleeping));
  co_await self->turn.lock();
  co_await asio::this_coro::throw_if_cancelled(throws);
}

Task<Applied> LocalHost::Impl::carry_out(std::shared_ptr<Impl> self, const OpType* type, Json args) {
  OpContext context = self->context();
  context.give_way = [self](Duration how_long) { return give_way(self, how_long); };
  auto work = within<Applied>(self->clock, self->options.apply_limit, type->apply(std::move(args), context));
  auto applied = co_await std::move(work);
  if (!applied) throw Error(ErrorKind::unavailable, fmt::format("{}: not done within {}", type->name, show(self->options.apply_limit)));
  co_return std::move(*applied);
}

Task<Json> LocalHost::Impl::apply(std::shared_ptr<Impl> self, StepId id, Step step, Duration lifetime) {
  const OpType* apply_type = self->options.find(step.apply.type);
  const OpType* undo_type = self->options.find(step.undo.type);
  if (apply_type == nullptr || apply_type->apply == nullptr) throw Error(ErrorKind::refused, fmt::format("step {}: no op is called {}", id, step.apply.type));
  if (undo_type == nullptr || undo_type->undo == nullptr) throw Error(ErrorKind::refused, fmt::format("step {}: no undo is called {}", id, step.undo.type));
  if (lifetime <= Duration{}) throw Error(ErrorKind::refused, fmt::format("step {}: there is no fault without an end", id));
  check_run_id(id);
  co_await self->applies.lock();
  const AsyncUnlock unlock_applies(self->applies);
  co_await self->turn.lock();
  const AsyncUnlock unlock(self->turn);
  if (!self->over.empty()) throw Error(ErrorKind::unavailable, fmt::format("step {} was not injected: {}", id, self->over));
  co_await begin(self);
  if (!self->over.empty()) throw Error(ErrorKind::unavailable, fmt::format("step {} was not injected: {}", id, self->over));
  if (self->journal->contents().find(id)) throw Error(ErrorKind::bug, fmt::format("step {} was injected before in this run", id));
  JournalStep entry;
  entry.id = id;
  entry.undo = step.undo;
  entry.lasts = apply_type->lasts;
  entry.lifetime = lifetime;
  entry.at = iso8601(self->clock.wall());
  self->journal->add_step(std::move(entry));
  auto work = carry_out(self, apply_type, step.apply.args);
  const auto applied = co_await settle(std::move(work), self->stop_apply.slot());
  if (applied->error) {
    co_await undo_one(self, id);
    std::rethrow_exception(applied->error);
  }
  if (applied->value->held) self->held[id] = std::move(applied->value->held);
  const auto executor = co_await asio::this_coro::executor;
  const auto stop = std::make_shared<asio::cancellation_signal>();
  self->lifetimes[id] = stop;
  asio::co_spawn(executor, live_out(self, id, lifetime), asio::bind_cancellation_slot(stop->slot(), [stop](std::exception_ptr) {}));
  co_return applied->value->detail;
}

// Called with the turn held, for a step of the journal. What is settled stays settled.
Task<UndoReport> LocalHost::Impl::undo_one(std::shared_ptr<Impl> self, StepId id) {
  UndoReport report;
  report.step = id;
  const JournalStep* found = self->journal ? self->journal->contents().find(id) : nullptr;
  if (found == nullptr) {
    report.result.state = UndoState::nothing_to_undo;
    report.result.because = "it was never injected here";
    co_return report;
  }
  const JournalStep step = *found;
  if (!step.outstanding()) {
    report.result = *step.result;
    co_return report;
  }
  self->end_lifetime(id);
  const auto holding = self->held.find(id);
  if (holding != self->held.end()) {
    holding->second->release();
    self->held.erase(holding);
  }
  const RevertOptions options = self->revert_options();
  const OpContext context = self->context();
  report.result = co_await undo_op(step.undo, options, context);
  self->journal->record_result(id, report.result, iso8601(self->clock.wall()));
  co_return report;
}

Task<UndoReport> LocalHost::Impl::undo_in_turn(std::shared_ptr<Impl> self, StepId id) {
  co_await self->turn.lock();
  const AsyncUnlock unlock(self->turn);
  const auto report = co_await undo_one(self, id);
  co_return report;
}

// A step that is in place does not wait for the apply of another; any other may be the one that is being applied.
Task<UndoReport> LocalHost::Impl::undo(std::shared_ptr<Impl> self, StepId id) {
  std::optional<AsyncUnlock> unlock_applies;
  if (!self->lifetimes.contains(id)) {
    co_await self->applies.lock();
    unlock_applies.emplace(self->applies);
  }
  const auto report = co_await undo_in_turn(self, id);
  co_return report;
}

Task<std::vector<UndoReport>> LocalHost::Impl::undo_all(std::shared_ptr<Impl> self) {
  self->stop_apply.emit(asio::cancellation_type::terminal);  // an apply under way is not waited for: its own undo comes next
  co_await self->applies.lock();
  const AsyncUnlock unlock_applies(self->applies);
  co_await self->turn.lock();
  const AsyncUnlock unlock(self->turn);
  std::vector<UndoReport> reports;
  if (!self->journal) co_return reports;
  std::vector<StepId> owed;
  for (const JournalStep& step : self->journal->contents().steps) {
    if (step.outstanding()) owed.push_back(step.id);
  }
  for (auto id = owed.rbegin(); id != owed.rend(); ++id) {
    const auto report = co_await undo_one(self, *id);
    reports.push_back(report);
  }
  co_return reports;
}

Task<> LocalHost::Impl::close(std::shared_ptr<Impl> self, bool told) {
  co_await self->applies.lock();
  const AsyncUnlock unlock_applies(self->applies);
  co_await self->turn.lock();
  const AsyncUnlock unlock(self->turn);
  if (self->over.empty()) self->over = "the run is over here";
  // Who owes an undo keeps its targets for as long as it lives: until then its journal counts as in progress, and would stop nobody.
  if (self->targets && self->journal && self->journal->contents().outstanding()) self->targets->hold_until_death();
  self->targets.reset();
  if (!self->journal) co_return;
  bool failed = false;
  for (const JournalStep& step : self->journal->contents().steps) {
    if (step.outstanding()) self->end_lifetime(step.id);
    if (step.outstanding() && (!step.result || step.result->state == UndoState::failed)) failed = true;
  }
  const bool owed = self->journal->contents().outstanding();
  if (!owed && told) self->journal->remove();
  if (!owed && !told) self->journal->set_aside(kFinishedSuffix);
  if (self->guard && !failed) self->guard->goodbye();
  if (!owed) self->journal.reset();
}

Task<> LocalHost::Impl::live_out(std::shared_ptr<Impl> self, StepId id, Duration lifetime) {
  co_await self->clock.sleep(lifetime);
  self->lifetimes.erase(id);
  auto work = undo_in_turn(self, id);
  const auto report = co_await settle(std::move(work));
  if (!report->value) co_return;
  Json told = {{"what", "lifetime_undo"}, {"step", id}, {"because", "nobody asked for its undo before its lifetime ended"}};
  told["report"] = to_json(*report->value);
  self->notice(std::move(told));
}

Task<> LocalHost::Impl::guard_lost(std::shared_ptr<Impl> self, std::string because) {
  if (!self->over.empty()) co_return;
  self->over = because;
  const auto reports = co_await undo_all(self);
  Json told = {{"what", "guard_lost"}, {"because", because}, {"reports", Json::array()}};
  for (const UndoReport& report : reports) told["reports"].push_back(to_json(report));
  self->notice(std::move(told));
}

LocalHost::LocalHost(Clock& clock, StateDir state, LocalHostOptions options) : impl_(std::make_shared<Impl>(this, clock, std::move(state), std::move(options))) {
  CAPSIZE_CHECK(impl_->options.start_guard != nullptr);
  check_run_id(impl_->options.run);
}

LocalHost::~LocalHost() {
  impl_->host = nullptr;
  for (auto& [id, stop] : std::exchange(impl_->lifetimes, {})) stop->emit(asio::cancellation_type::terminal);
}

Task<> LocalHost::claim(std::vector<TargetHere> targets) {
  if (impl_->targets) throw Error(ErrorKind::bug, "a run claimed its targets twice");
  co_await Impl::claim(impl_, std::move(targets));
}

Task<Json> LocalHost::inspect(Op query) {
  const auto impl = impl_;
  const OpType* type = impl->options.find(query.type);
  if (type == nullptr || type->look == nullptr) throw Error(ErrorKind::refused, "no look is called " + query.type);
  OpContext context = impl->context();
  context.share_connection = {};
  const Json answer = co_await type->look(query.args, context);
  co_return answer;
}

Task<Json> LocalHost::apply(StepId id, Step step, Duration lifetime) {
  return uncancelled(Impl::apply(impl_, std::move(id), std::move(step), lifetime));
}

Task<UndoReport> LocalHost::undo(StepId id) { return uncancelled(Impl::undo(impl_, std::move(id))); }

Task<std::vector<UndoReport>> LocalHost::undo_all() { return uncancelled(Impl::undo_all(impl_)); }

Task<> LocalHost::close() { return uncancelled(Impl::close(impl_, true)); }

Task<> LocalHost::close_untold() { return uncancelled(Impl::close(impl_, false)); }

}  // namespace capsize
