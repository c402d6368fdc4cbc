// process.tamper_syscalls and process.syscalls: what the tamper engine does to a process of this machine, and what it counts.
#include <fmt/format.h>

#include <map>

#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/ops/process_ops.h"
#include "injector/ops/syscall_ops.h"
#include "injector/syscall/tamper_engine.h"

namespace capsize {
namespace {

constexpr Duration kBeginLimit = std::chrono::seconds(10);
constexpr Duration kBeginPoll = std::chrono::milliseconds(1);

// Control thread only.
std::map<std::string, std::weak_ptr<TamperEngine>>& engines() {
  static std::map<std::string, std::weak_ptr<TamperEngine>> table;
  return table;
}

std::string key_of(const TargetProcess& process) { return fmt::format("{}-{}-{}", process.pid, process.start_ticks, process.pidfs_inode.value_or(0)); }

TamperPlan plan_from(const Json& args, const TargetProcess& process) {
  try {
    TamperPlan out;
    out.process = process;
    out.calls = args.at("calls").get<std::set<long>>();
    out.error = args.value("error", 0);
    out.delay = Duration(args.value("delay_ns", std::int64_t{0}));
    out.share = args.at("share").get<double>();
    out.seed = args.at("seed").get<std::uint64_t>();
    if (out.calls.empty() || (out.error != 0) == (out.delay.count() > 0) || out.error < 0 || out.error > 4095) throw Error(ErrorKind::bug, "neither a failure nor a delay of system calls");
    return out;
  } catch (const Json::exception& problem) {
    throw Error(ErrorKind::bug, std::string("not a plan for system calls: ") + problem.what());
  }
}

class HeldTampering final : public Held {
 public:
  explicit HeldTampering(std::shared_ptr<TamperEngine> engine) : engine_(std::move(engine)) {}
  ~HeldTampering() override { engine_->stop(); }
  void release() noexcept override { engine_->stop(); }

 private:
  std::shared_ptr<TamperEngine> engine_;
};

Task<Applied> apply_tamper(Json args, OpContext& context) {
  const ProvenProcess proven = prove_running(args);
  if (!can_tamper()) throw Error(ErrorKind::unavailable, "capsize knows only the system calls of x86_64", "run it on such a machine, or choose another fault");
  const auto engine = std::make_shared<TamperEngine>(plan_from(args, proven.process));
  Applied applied;
  applied.held = std::make_unique<HeldTampering>(engine);  // from here on, whatever throws lets go
  const TimePoint end = context.clock.now() + kBeginLimit;
  while (engine->state() == TamperEngine::State::starting && context.clock.now() < end) {
    co_await context.clock.sleep(kBeginPoll);
  }
  if (engine->problem()) std::rethrow_exception(engine->problem());
  if (engine->state() != TamperEngine::State::on) throw Error(ErrorKind::changed, describe(proven.process) + " ended while it was begun to be traced", "plan again");
  std::erase_if(engines(), [](const auto& entry) { return entry.second.expired(); });
  engines()[key_of(proven.process)] = engine;
  applied.detail = {{"threads", engine->counts().threads}};
  co_return applied;
}

Json counts_of(const TargetProcess& process, const ProcFs& proc) {
  const Sameness same = proc.same_process(process);
  Json out = {{"same", to_string(same.answer)}, {"because", same.because}, {"tampered", false}};
  const auto entry = engines().find(key_of(process));
  const auto engine = entry == engines().end() ? nullptr : entry->second.lock();
  if (!engine) return out;
  const TamperCounts counts = engine->counts();
  out["tampered"] = engine->state() == TamperEngine::State::on;
  out.update({{"calls", counts.calls}, {"hit", counts.hit}, {"all_calls", counts.all_calls}, {"threads", counts.threads}, {"delayed", counts.delayed}});
  if (counts.delayed > 0) out["mean_delay_ms"] = seconds(counts.delayed_by) * 1e3 / static_cast<double>(counts.delayed);
  return out;
}

Task<Json> look_syscalls(Json args, OpContext&) {
  const ProcFs proc;
  Json out = {{"processes", Json::array()}};
  for (const Json& identity : args.at("identities")) out["processes"].push_back(counts_of(target_process_from_json(identity), proc));
  co_return out;
}

}  // namespace

OpType process_syscalls() {
  OpType type{"process.syscalls", Lasts::look, "how many system calls of processes that are tampered with were met, failed and delayed"};
  type.look = look_syscalls;
  return type;
}

OpType process_tamper_syscalls() {
  OpType type{"process.tamper_syscalls", Lasts::while_held, "fails or delays system calls of a process, by tracing it"};
  type.apply = apply_tamper;
  return type;
}

}  // namespace capsize
