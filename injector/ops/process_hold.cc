// process.hold and process.release: a process kept from running by tracing it. The kernel lets it go when we die, however we die.
#include <fmt/format.h>
#include <unistd.h>

#include "injector/ops/process_ops.h"
#include "injector/ops/process_trace.h"

namespace capsize {
namespace {

constexpr Duration kFreezeLimit = std::chrono::seconds(5);
constexpr Duration kFreezePoll = std::chrono::milliseconds(1);
constexpr Duration kLetGoLimit = std::chrono::seconds(3);   // for those asleep in the kernel, who can be let go only when they wake
constexpr Duration kStopSettles = std::chrono::milliseconds(200);
constexpr Duration kLetGoPoll = std::chrono::milliseconds(5);

class HeldProcess final : public Held {
 public:
  explicit HeldProcess(std::shared_ptr<TracedProcess> hold) : hold_(std::move(hold)) {}
  ~HeldProcess() override { hold_->let_go(); }
  void release() noexcept override { hold_->let_go(); }

 private:
  std::shared_ptr<TracedProcess> hold_;
};

Task<Applied> apply_hold(Json args, OpContext& context) {
  const TimePoint begun = context.clock.now();
  const ProvenProcess proven = prove_running(args);
  const auto hold = std::make_shared<TracedProcess>(proven.process);
  Applied applied;
  applied.held = std::make_unique<HeldProcess>(hold);  // from here on, whatever throws lets go
  const auto executor = co_await asio::this_coro::executor;
  asio::co_spawn(executor, keep_serving(hold, context.clock), [](std::exception_ptr) {});
  hold->seize_threads();
  prove_same(proven.process);  // it might have ended, and its number gone to another, in between; what is traced keeps its number
  for (;;) {
    hold->service();
    if (hold->all_still() && hold->has_all()) break;  // in this order: when ours are still and there is no other, nobody makes another
    if (context.clock.now() - begun > kFreezeLimit) {
      throw Error(ErrorKind::unavailable, fmt::format("{} did not stop within {}", describe(proven.process), show(kFreezeLimit)), "it was let go; try method sigstop");
    }
    co_await context.clock.sleep(kFreezePoll);
    hold->seize_threads();
  }
  hold->frozen();
  if (hold->size() == 0) throw Error(ErrorKind::changed, describe(proven.process) + " ended while it was being paused", "plan again");
  applied.detail = {{"threads", hold->size()}, {"asleep_in_kernel", hold->asleep_in_kernel()}, {"took_ms", seconds(context.clock.now() - begun) * 1e3}};
  co_return applied;
}

Tracer tracer_of(const std::vector<ThreadLook>& threads, const ProcFs& proc) {
  for (const ThreadLook& thread : threads) {
    if (thread.tracer == 0) continue;
    const auto look = proc.stat(thread.tracer);
    const auto program = proc.exe(thread.tracer);
    const auto ours = proc.exe(::getpid());
    const bool same_program = program && ours && program->device == ours->device && program->inode == ours->inode;
    return {thread.tracer, look ? printable(look->comm, 64) : "", same_program};
  }
  return {};
}

UndoResult look_for_release(const TargetProcess& process) {
  const ProcFs proc;
  UndoResult result;
  const Sameness same = proc.same_process(process);
  if (same.answer == Proof::no) return {UndoState::nothing_to_undo, same.because, "", {}};
  if (same.answer == Proof::cannot_tell) {
    return {UndoState::failed, same.because, fmt::format("look whether process {} runs; a tracing stop ends with capsize itself", process.pid), {}};
  }
  try {
    const auto threads = proc.threads(process.pid);
    return judge_release(process, threads, tracer_of(threads, proc));
  } catch (const Error& problem) {
    return {UndoState::failed, problem.what(), fmt::format("look at /proc/{}/status", process.pid), {}};
  }
}

Task<UndoResult> undo_hold(Json args, OpContext& context) {
  const TargetProcess process = target_process_from_json(args.value("identity", Json()));
  const TimePoint begun = context.clock.now();
  for (;;) {
    UndoResult result = look_for_release(process);
    const Duration waited = context.clock.now() - begun;
    if (result.state == UndoState::undone || result.state == UndoState::nothing_to_undo) co_return result;
    if (waited >= kLetGoLimit || (result.state == UndoState::refused && waited >= kStopSettles)) co_return result;
    co_await context.clock.sleep(kLetGoPoll);
  }
}

}  // namespace

UndoResult judge_release(const TargetProcess& process, const std::vector<ThreadLook>& threads, const Tracer& tracer) {
  UndoResult result;
  result.detail = {{"states", count_states(threads)}, {"tracer", tracer.pid}};
  const std::string who = describe(process);
  const bool stopped = is_stopped(threads);
  if (has_ended(threads)) {
    result.state = UndoState::nothing_to_undo;
    result.because = who + " has ended";
  } else if (tracer.is_capsize) {
    result.state = UndoState::failed;
    result.because = fmt::format("{} is still held by capsize (process {})", who, tracer.pid);
    result.remedy = fmt::format("end that capsize: kill {}", tracer.pid);
  } else if (tracer.pid != 0 && stopped) {
    result.state = UndoState::refused;
    result.because = fmt::format("{} was let go, but process {} ({}) traces it now and has stopped it", who, tracer.pid, tracer.name);
    result.remedy = "continue it in that debugger, or end the debugger";
  } else if (stopped) {
    result.state = UndoState::refused;
    result.because = fmt::format("{} was let go, but someone else has stopped it meanwhile", who);
    result.remedy = fmt::format("if nobody wants it stopped: kill -CONT {}", process.pid);
  } else {
    result.state = UndoState::undone;
    result.because = fmt::format("{} runs, and capsize does not hold it", who);
  }
  return result;
}

OpType process_hold() {
  OpType type{"process.hold", Lasts::while_held, "keeps every thread of a process from running, by tracing it"};
  type.apply = apply_hold;
  return type;
}

OpType process_release() {
  OpType type{"process.release", Lasts::while_held, "sees to it that a process that was held runs again"};
  type.undo = undo_hold;
  return type;
}

}  // namespace capsize
