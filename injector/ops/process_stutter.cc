// process.stutter and process.rhythm: a process kept from running for a part of every period, by tracing it, and how much it is seen stopped.
// In between it is not traced at all. The kernel lets it go when we die; there is nothing to take back.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "injector/base/param_types.h"
#include "injector/ops/process_ops.h"
#include "injector/ops/process_trace.h"

namespace capsize {
namespace {

constexpr Duration kFreezeLimit = std::chrono::seconds(5);
constexpr Duration kFreezePoll = std::chrono::milliseconds(1);
constexpr Duration kShortestWindow = std::chrono::milliseconds(1500);
constexpr Duration kLongestWindow = std::chrono::milliseconds(4200);  // the look must answer within 5 s
constexpr Duration kQuickestSample = std::chrono::milliseconds(2);
constexpr Duration kSlowestSample = std::chrono::milliseconds(20);

struct Rhythm {
  Duration period{};
  Duration stopped{};  // of each period
};

Rhythm rhythm_of(const Json& args) {
  try {
    const auto period = parse_duration(args.at("period").get<std::string>());
    const auto share = parse_share(args.at("share").get<std::string>());
    if (!std::holds_alternative<Duration>(period) || !std::holds_alternative<Share>(share)) throw Error(ErrorKind::bug, "process.stutter: no rhythm");
    const Duration whole = std::get<Duration>(period);
    return {whole, std::chrono::duration_cast<Duration>(whole * std::get<Share>(share).value)};
  } catch (const Json::exception& problem) {
    throw Error(ErrorKind::bug, std::string("process.stutter: ") + problem.what());
  }
}

// Seizes until nothing of it runs; false: it has ended, or `over` says so, or it took too long. Throws Error when it may not.
Task<bool> freeze(std::shared_ptr<TracedProcess> hold, TargetProcess process, std::function<bool()> over, Clock& clock, Duration limit) {
  const TimePoint begun = clock.now();
  prove_same(process);
  hold->seize_threads();
  prove_same(process);  // what is traced keeps its number: this is it, or it is let go
  for (;;) {
    hold->service();
    if (hold->all_still() && hold->has_all()) break;
    if (over() || clock.now() - begun > limit) co_return false;
    co_await clock.sleep(kFreezePoll);
    if (over()) co_return false;
    hold->seize_threads();
  }
  hold->frozen();
  co_return hold->size() > 0;
}

struct Stutter {
  TargetProcess process;
  Rhythm rhythm;
  bool over = false;
  std::shared_ptr<TracedProcess> hold;  // null: it runs

  void let_go() noexcept {
    over = true;
    if (hold) hold->let_go();
  }
};

Task<> serve_until(std::shared_ptr<Stutter> state, Clock& clock, TimePoint end) {
  while (!state->over && clock.now() < end) {
    const TimePoint next = std::min(end, clock.now() + kTraceServiceEvery);
    co_await clock.sleep_until(next);
    if (state->hold) state->hold->service();
  }
}

Task<> serve_until_gone(std::shared_ptr<TracedProcess> hold, Clock& clock) {
  hold->let_go();
  while (!hold->done()) {
    co_await clock.sleep(kFreezePoll);
    hold->service();
  }
}

// One period: stopped first. What cannot be stopped, since a debugger has it or it is asleep in the kernel, runs through this one.
Task<bool> one_period(std::shared_ptr<Stutter> state, Clock& clock, TimePoint begun) {
  state->hold = std::make_shared<TracedProcess>(state->process);
  const std::function<bool()> over = [state] { return state->over; };
  bool ended = false;
  try {
    co_await freeze(state->hold, state->process, over, clock, state->rhythm.stopped);
  } catch (const Error& problem) {
    ended = problem.kind() == ErrorKind::changed && !ProcFs().stat(state->process.pid);
    state->hold->let_go();
  }
  const TimePoint run_again = begun + state->rhythm.stopped;
  co_await serve_until(state, clock, run_again);
  co_await serve_until_gone(state->hold, clock);
  state->hold = nullptr;
  const TimePoint next = begun + state->rhythm.period;
  co_await serve_until(state, clock, next);
  co_return !ended;
}

Task<> keep_stuttering(std::shared_ptr<Stutter> state, Clock& clock) {
  TimePoint begun = clock.now();
  bool there = true;
  while (there && !state->over) {
    there = co_await one_period(state, clock, begun);
    begun = std::max(begun + state->rhythm.period, clock.now());  // late is late: no two stops in a row
  }
}

struct LetGo {
  std::shared_ptr<TracedProcess> hold;
  ~LetGo() { hold->let_go(); }
};

class HeldStutter final : public Held {
 public:
  explicit HeldStutter(std::shared_ptr<Stutter> state) : state_(std::move(state)) {}
  ~HeldStutter() override { state_->let_go(); }
  void release() noexcept override { state_->let_go(); }

 private:
  std::shared_ptr<Stutter> state_;
};

Task<Applied> apply_stutter(Json args, OpContext& context) {
  const ProvenProcess proven = prove_running(args);
  const auto state = std::make_shared<Stutter>();
  state->process = proven.process;
  state->rhythm = rhythm_of(args);
  const auto hold = std::make_shared<TracedProcess>(proven.process);
  const LetGo when_done{hold};
  const auto executor = co_await asio::this_coro::executor;
  asio::co_spawn(executor, keep_serving(hold, context.clock), [](std::exception_ptr) {});
  const std::function<bool()> never = [] { return false; };
  const TimePoint begun = context.clock.now();
  const bool still = co_await freeze(hold, proven.process, never, context.clock, kFreezeLimit);
  co_await serve_until_gone(hold, context.clock);  // before the first period takes hold of it anew
  if (!still) throw Error(ErrorKind::unavailable, fmt::format("{} ended, or did not stop within {}", describe(proven.process), show(kFreezeLimit)), "it was let go");
  Applied applied;
  applied.detail = {{"first_stop_ms", seconds(context.clock.now() - begun) * 1e3}};
  applied.held = std::make_unique<HeldStutter>(state);
  asio::co_spawn(executor, keep_stuttering(state, context.clock), [](std::exception_ptr) {});
  co_return applied;
}

struct Heard {  // of one process
  TargetProcess process;
  bool stopped = false;
  TimePoint since{};
  Duration stopped_for{};
  int stops = 0;
};

bool is_still(const std::optional<ProcStat>& look) { return look && (look->state == 't' || look->state == 'T'); }

// Each moment counts as what was seen before it.
Task<Json> look_rhythm(Json args, OpContext& context) {
  const ProcFs proc;
  const Rhythm rhythm = rhythm_of(args);
  const Duration window = std::clamp(2 * rhythm.period, kShortestWindow, kLongestWindow);
  const Duration pause = std::clamp(rhythm.period / 100, kQuickestSample, kSlowestSample);
  std::vector<Heard> heard;
  for (const Json& identity : args.at("identities")) {
    Heard one;
    one.process = target_process_from_json(identity);
    one.stopped = is_still(proc.stat(one.process.pid));
    one.since = context.clock.now();
    heard.push_back(std::move(one));
  }
  const TimePoint begun = context.clock.now();
  while (context.clock.now() - begun < window) {
    co_await context.clock.sleep(pause);
    for (Heard& one : heard) {
      const bool still = is_still(proc.stat(one.process.pid));
      const TimePoint now = context.clock.now();
      if (one.stopped) one.stopped_for += now - one.since;
      if (still && !one.stopped) ++one.stops;
      one.stopped = still;
      one.since = now;
    }
  }
  const double whole = seconds(context.clock.now() - begun);
  Json answer = {{"processes", Json::array()}, {"window_s", whole}};
  for (const Heard& one : heard) {
    const Sameness same = proc.same_process(one.process);
    Json shown = {{"pid", one.process.pid}, {"same", to_string(same.answer)}, {"because", same.because}, {"stopped_share", seconds(one.stopped_for) / whole}, {"stops", one.stops}};
    answer["processes"].push_back(std::move(shown));
  }
  co_return answer;
}

}  // namespace

OpType process_stutter() {
  OpType type{"process.stutter", Lasts::while_held, "keeps a process from running for a part of every period, by tracing it"};
  type.apply = apply_stutter;
  return type;
}

OpType process_rhythm() {
  OpType type{"process.rhythm", Lasts::look, "the share of the time that processes are seen stopped"};
  type.look = look_rhythm;
  return type;
}

}  // namespace capsize
