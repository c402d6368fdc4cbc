// process.identify and process.state: what is known of a process without touching it.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <set>

#include "injector/ops/process_ops.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxSelected = 200;
constexpr Duration kCpuWindow = std::chrono::milliseconds(100);

bool is_gone(const ThreadLook& thread) { return thread.state == 'Z' || thread.state == 'X'; }

std::string why_forbidden(int pid, const ProcFs& proc) {
  struct stat entry = {};
  if (::stat(proc.path(pid, "").c_str(), &entry) == 0 && entry.st_uid != ::geteuid()) {
    return fmt::format("it belongs to user {}, capsize runs as user {}", entry.st_uid, ::geteuid());
  }
  std::ifstream file("/proc/sys/kernel/yama/ptrace_scope");
  int scope = 0;
  if (file >> scope && scope > 0) return fmt::format("kernel.yama.ptrace_scope is {}", scope);
  return "the security policy of this machine forbids it";
}

// The kernel asks the same question of who opens a process's memory as of who traces it, and opening changes nothing.
Json may_trace(int pid, const ProcFs& proc) {
  const UniqueFd memory(::open(proc.path(pid, "mem").c_str(), O_RDONLY | O_CLOEXEC));
  return {{"allowed", static_cast<bool>(memory)}, {"because", memory ? "" : why_forbidden(pid, proc)}};
}

Json may_signal(int pid, const ProcFs& proc) {
  const bool allowed = ::kill(pid, 0) == 0;
  return {{"allowed", allowed}, {"because", allowed ? "" : why_forbidden(pid, proc)}};
}

Json tracer_json(const std::vector<ThreadLook>& threads, const ProcFs& proc) {
  for (const ThreadLook& thread : threads) {
    if (thread.tracer == 0) continue;
    const auto look = proc.stat(thread.tracer);
    return {{"pid", thread.tracer}, {"name", look ? printable(look->comm, 64) : ""}};
  }
  return nullptr;
}

// In one order, whatever the machine says: a plan repeats.
Task<Json> look_identify(Json args, OpContext& context) {
  const ProcessParams params = process_params().parse_or_throw(args);
  const ProcFs proc;
  const SelectedProcesses selected = select_processes(params, proc);
  co_return look_at_processes(selected, context);
}

struct Sample {
  TargetProcess process;
  Sameness before;
  std::optional<ProcStat> first;
};

Json state_after(const Sample& sample, const ProcFs& proc) {
  const TargetProcess& process = sample.process;
  Json answer = {{"same", to_string(sample.before.answer)}, {"because", sample.before.because}};
  if (sample.before.answer != Proof::yes) return answer;
  const auto threads = proc.threads(process.pid);
  const auto second = proc.stat(process.pid);
  const Sameness after = proc.same_process(process);
  answer["same"] = to_string(after.answer);
  answer["because"] = after.because;
  if (after.answer != Proof::yes) return answer;
  answer["threads"] = threads.size();
  answer["states"] = count_states(threads);
  answer["tracer"] = tracer_json(threads, proc);
  if (sample.first && second) {
    answer["cpu_ticks"] = second->cpu_ticks;
    answer["cpu_ticks_in_window"] = second->cpu_ticks - std::min(sample.first->cpu_ticks, second->cpu_ticks);
    answer["window"] = show(kCpuWindow);
  }
  return answer;
}

// Of "identity", or of each of "identities" within the same window.
Task<Json> look_state(Json args, OpContext& context) {
  const ProcFs proc;
  const bool several = args.contains("identities");
  const Json identities = several ? args["identities"] : Json::array({args.value("identity", Json())});
  std::vector<Sample> samples;
  bool any = false;
  for (const Json& identity : identities) {
    Sample sample;
    sample.process = target_process_from_json(identity);
    sample.before = proc.same_process(sample.process);
    if (sample.before.answer == Proof::yes) sample.first = proc.stat(sample.process.pid);
    any = any || sample.before.answer == Proof::yes;
    samples.push_back(std::move(sample));
  }
  if (any) {
    co_await context.clock.sleep(kCpuWindow);
  }
  Json answers = Json::array();
  for (const Sample& sample : samples) answers.push_back(state_after(sample, proc));
  if (several) co_return Json{{"processes", std::move(answers)}};
  co_return answers.at(0);
}

}  // namespace

Json look_at_processes(const SelectedProcesses& selected, const OpContext& context) {
  if (selected.processes.size() > kMaxSelected) {
    throw Error(ErrorKind::refused, fmt::format("{} processes {}: more than {}", selected.processes.size(), selected.that, kMaxSelected), "select less");
  }
  const ProcFs proc;
  Json answer = {{"that", selected.that}, {"found", Json::array()}};
  for (const TargetProcess& process : selected.processes) {
    const auto threads = proc.threads(process.pid);
    Json look = {{"never_a_target", never_a_target(process.pid, proc)}, {"identity", to_json(process)}};
    look["threads"] = threads.size();
    look["states"] = count_states(threads);
    look["ended"] = has_ended(threads);
    look["stopped"] = is_stopped(threads);
    const auto status = proc.status(process.pid);
    look["filtered"] = status && status->filtered;
    look["tracer"] = tracer_json(threads, proc);
    look["trace"] = may_trace(process.pid, proc);
    look["signal"] = may_signal(process.pid, proc);
    look["mark_folder"] = context.state_folder.empty() ? "" : context.state_folder + "/marks";  // ours alone, and outlives us
    answer["found"].push_back(std::move(look));
  }
  return answer;
}

bool is_stopped(const std::vector<ThreadLook>& threads) {
  return std::any_of(threads.begin(), threads.end(), [](const ThreadLook& thread) { return !is_gone(thread) && (thread.state == 'T' || thread.state == 't' || thread.stop_pending); });
}

bool has_ended(const std::vector<ThreadLook>& threads) { return std::all_of(threads.begin(), threads.end(), is_gone); }

Json count_states(const std::vector<ThreadLook>& threads) {
  std::map<std::string, int> counts;
  for (const ThreadLook& thread : threads) ++counts[std::string(1, thread.state)];
  return counts;
}

ProvenProcess prove_same(TargetProcess process) {
  const ProcFs proc;
  Sameness same = proc.same_process(process);
  if (same.answer == Proof::no) throw Error(ErrorKind::changed, same.because, "plan again: nothing was done to it");
  if (same.answer == Proof::cannot_tell) throw Error(ErrorKind::unavailable, same.because, "nothing was done, since it may be another process");
  const std::string forbidden = never_a_target(process.pid, proc);
  if (!forbidden.empty()) throw Error(ErrorKind::refused, forbidden, "choose another process");
  if (has_ended(proc.threads(process.pid))) throw Error(ErrorKind::changed, describe(process) + " has ended", "plan again: nothing was done to it");
  ProvenProcess out;
  out.process = std::move(process);
  out.pidfd = std::move(same.pidfd);
  return out;
}

ProvenProcess prove_running(const Json& args) {
  ProvenProcess out = prove_same(target_process_from_json(args.value("identity", Json())));
  const auto threads = ProcFs().threads(out.process.pid);
  if (is_stopped(threads)) {
    throw Error(ErrorKind::changed, fmt::format("{} has been stopped by someone since it was planned (thread states {})", describe(out.process), count_states(threads).dump()),
                "find out by whom, continue it and plan again");
  }
  return out;
}

OpType process_identify() {
  OpType type{"process.identify", Lasts::look, "which processes a selector means, their state, and whether they may be traced and signalled"};
  type.look = look_identify;
  return type;
}

OpType process_state() {
  OpType type{"process.state", Lasts::look, "the states of all threads of a process, and the processor time it uses in a tenth of a second"};
  type.look = look_state;
  return type;
}

}  // namespace capsize
