// process.limit_descriptors and process.restore_descriptors: how many files and sockets a process may have open.
// A limit is inherited: the undo also sets it back in the descendants that were born under ours.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include "injector/base/error.h"
#include "injector/ops/descriptor_ops.h"
#include "injector/ops/process_ops.h"
#include "injector/targets/proc_file.h"

namespace capsize {
namespace {

using Limits = DescriptorLimits;

constexpr std::size_t kMaxLimitsFile = 64 * 1024;
constexpr int kRounds = 10;
constexpr Duration kBirth = std::chrono::milliseconds(20);  // of a child of a process with much memory
constexpr const char* kRemedy = "run capsize there as the user of that process, or with CAP_SYS_RESOURCE (as root with it)";

struct DescriptorStep {
  TargetProcess process;
  std::uint64_t was = 0;   // soft
  std::uint64_t hard = 0;
  std::uint64_t set = 0;   // soft
  std::uint64_t since_ticks = 0;
};

DescriptorStep step_from(const Json& args) {
  try {
    DescriptorStep out{target_process_from_json(args.at("identity")), args.at("was").get<std::uint64_t>(), args.at("hard").get<std::uint64_t>(), args.at("set").get<std::uint64_t>(),
                       args.at("since_ticks").get<std::uint64_t>()};
    if (out.set >= out.was || out.was > out.hard) throw Error(ErrorKind::bug, "a limit of descriptors that is none");
    return out;
  } catch (const Json::exception& problem) {
    throw Error(ErrorKind::bug, std::string("not a limit of descriptors: ") + problem.what());
  }
}

// Sets the soft limit if it is `expected`; what it was, when it was another. The kernel answers with the old one in the same call.
std::optional<Limits> exchange(int pid, const Limits& expected, std::uint64_t soft) {
  const struct rlimit wanted = {soft, expected.hard};
  struct rlimit old = {};
  const auto now = descriptor_limits_of(pid);
  if (!now || now->soft != expected.soft || now->hard != expected.hard) return now.value_or(Limits{});
  if (::prlimit(pid, RLIMIT_NOFILE, &wanted, &old) != 0) {
    if (errno == ESRCH) return Limits{};
    throw system_error(errno, fmt::format("process {}: its limit of open descriptors could not be set to {}", pid, soft), kRemedy);
  }
  if (old.rlim_cur == expected.soft && old.rlim_max == expected.hard) return std::nullopt;
  ::prlimit(pid, RLIMIT_NOFILE, &old, nullptr);  // somebody was faster by a hair
  return Limits{old.rlim_cur, old.rlim_max};
}

Task<Applied> apply_limit(Json args, OpContext&) {
  const DescriptorStep step = step_from(args);
  const ProvenProcess proven = prove_running(args);
  const auto other = exchange(step.process.pid, {step.was, step.hard}, step.set);
  if (other) {
    throw Error(ErrorKind::changed, fmt::format("{} may have {} descriptors open (at most {}) now, and {} ({}) when it was planned", describe(step.process), other->soft, other->hard, step.was, step.hard),
                "plan again: nothing was done to it");
  }
  const Sameness still = ProcFs().same_process(step.process);
  if (still.answer != Proof::yes) {  // its number may have come to mean another in the moment before
    exchange(step.process.pid, {step.set, step.hard}, step.was);
    throw Error(ErrorKind::changed, still.because, "plan again");
  }
  Applied applied;
  applied.detail = {{"limit", step.set}, {"was", step.was}};
  co_return applied;
}

bool has_ours(const std::optional<Limits>& limits, const DescriptorStep& step) { return limits && limits->soft == step.set && limits->hard == step.hard; }

// Of everybody, without any right: "Max open files            1024                 4096                 files".
std::optional<Limits> limits_seen(int pid, const ProcFs& proc) {
  constexpr std::string_view kLine = "Max open files";
  const std::string text = read_file(proc.path(pid, "limits"), kMaxLimitsFile).text;
  const auto at = text.find(kLine);
  if (at == std::string::npos) return std::nullopt;
  char* rest = nullptr;
  const std::uint64_t soft = std::strtoull(text.c_str() + at + kLine.size(), &rest, 10);  // never unlimited: fs.nr_open is above all
  return Limits{soft, std::strtoull(rest, nullptr, 10)};
}

// Of those born since ours, the ones that have it now: descendants of the process, or all the others.
std::vector<int> with_our_limit(const DescriptorStep& step, bool descendants, const ProcFs& proc) {
  std::vector<int> out;
  for (const int pid : proc.pids()) {
    const auto look = proc.stat(pid);
    if (!look || look->start_ticks < step.since_ticks || pid == step.process.pid) continue;
    if (!has_ours(limits_seen(pid, proc), step) || has_ended(proc.threads(pid))) continue;
    const auto line = proc.ancestors(pid);
    if ((std::find(line.begin(), line.end(), step.process.pid) != line.end()) == descendants) out.push_back(pid);
  }
  return out;
}

struct Heirs {
  std::size_t restored = 0;
  int pid = 0;       // the first that keeps our limit, and
  std::string left;  // why; empty: none does
};

Heirs restore_those(const std::vector<int>& pids, const DescriptorStep& step, const ProcFs& proc) {
  Heirs out;
  for (const int pid : pids) {
    std::string problem = "it was set to that again";
    try {
      if (!exchange(pid, {step.set, step.hard}, step.was)) ++out.restored;
    } catch (const Error& error) {  // it may have changed its user; or have ended
      problem = error.what();
    }
    if (!out.left.empty() || !has_ours(limits_seen(pid, proc), step)) continue;
    out.pid = pid;
    out.left = fmt::format("process {}, which it has started meanwhile, keeps our limit of {}: {}", pid, step.set, problem);
  }
  return out;
}

// A process that is being born while we look is not to be seen yet, and has our limit: two looks in a row must find no more.
Task<Heirs> restore_heirs(DescriptorStep step, OpContext& context) {
  const ProcFs proc;
  Heirs out;
  int quiet = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Heirs now = restore_those(with_our_limit(step, true, proc), step, proc);
    out = {out.restored + now.restored, now.pid, now.left};
    quiet = now.restored == 0 ? quiet + 1 : 0;
    if (quiet == 2) break;
    co_await context.clock.sleep(kBirth);
  }
  if (quiet == 0 && out.left.empty()) out = {out.restored, step.process.pid, "processes with our limit are born faster than it can be set back"};
  co_return out;
}

UndoResult answer(UndoState state, std::string because, std::string remedy = {}) { return {state, std::move(because), std::move(remedy), Json::object()}; }

std::string by_hand(const DescriptorStep& step, int pid) { return fmt::format("prlimit --pid {} --nofile={}:{}", pid, step.was, step.hard); }

// Nobody says who was a child of a process that has ended: what looks like one is named, and left alone.
UndoResult judge_ended(const DescriptorStep& step, const std::string& because, const ProcFs& proc) {
  const auto alike = with_our_limit(step, false, proc);
  if (alike.empty()) return answer(UndoState::nothing_to_undo, because);
  return answer(UndoState::refused, fmt::format("{}; process {}, started since, has our limit of {} and may be an heir; it was left alone", because, alike.front(), step.set),
                "if it is: " + by_hand(step, alike.front()));
}

// Nothing: it has ended.
std::optional<UndoResult> restore_target(const DescriptorStep& step) {
  const std::string who = describe(step.process);
  try {
    const auto other = exchange(step.process.pid, {step.set, step.hard}, step.was);
    if (!other) return answer(UndoState::undone, fmt::format("{} may have {} descriptors open again", who, step.was));
    if (other->hard == 0 && !descriptor_limits_of(step.process.pid)) return std::nullopt;
    if (other->soft == step.was) return answer(UndoState::nothing_to_undo, fmt::format("{} may have {} descriptors open, as before", who, step.was));
    return answer(UndoState::refused, fmt::format("{} may have {} descriptors open (at most {}) now: someone else has changed what capsize set to {}, and it was left alone", who, other->soft, other->hard, step.set),
                  "if it should be as before: " + by_hand(step, step.process.pid));
  } catch (const Error& problem) {
    return answer(UndoState::failed, problem.what(), by_hand(step, step.process.pid));
  }
}

UndoResult judge_heirs(const DescriptorStep& step, UndoResult target, const Heirs& heirs) {
  if (heirs.restored > 0) {
    target.because += fmt::format("; the limit is set back in {} processes that it has started meanwhile", heirs.restored);
    if (target.state == UndoState::nothing_to_undo) target.state = UndoState::undone;
  }
  if (heirs.left.empty()) return target;
  return answer(UndoState::failed, fmt::format("{}; but {}", target.because, heirs.left), by_hand(step, heirs.pid) + (target.remedy.empty() ? "" : "; " + target.remedy));
}

Task<UndoResult> undo_limit(Json args, OpContext& context) {
  const DescriptorStep step = step_from(args);
  const ProcFs proc;
  std::string problem;
  try {
    const Sameness same = proc.same_process(step.process);
    if (same.answer == Proof::cannot_tell) co_return answer(UndoState::failed, same.because, "if it is still the same: " + by_hand(step, step.process.pid));
    if (same.answer == Proof::no) co_return judge_ended(step, same.because, proc);
    std::optional<UndoResult> target;
    if (!has_ended(proc.threads(step.process.pid))) target = restore_target(step);  // else its children have another parent already
    if (!target) co_return judge_ended(step, describe(step.process) + " has ended", proc);
    const Heirs heirs = co_await restore_heirs(step, context);
    co_return judge_heirs(step, *target, heirs);
  } catch (const Error& error) {
    problem = error.what();
  }
  co_return answer(UndoState::failed, problem, by_hand(step, step.process.pid));
}

}  // namespace

std::optional<DescriptorLimits> descriptor_limits_of(int pid) {
  struct rlimit now = {};
  if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &now) == 0) return DescriptorLimits{now.rlim_cur, now.rlim_max};
  if (errno == ESRCH) return std::nullopt;
  throw system_error(errno, fmt::format("process {}: its limit of open descriptors", pid), kRemedy);
}

OpType process_limit_descriptors() {
  OpType type{"process.limit_descriptors", Lasts::until_restart, "lowers how many descriptors a process may have open"};
  type.apply = apply_limit;
  return type;
}

OpType process_restore_descriptors() {
  OpType type{"process.restore_descriptors", Lasts::until_restart, "sets back how many descriptors a process may have open, unless someone else has changed it"};
  type.undo = undo_limit;
  return type;
}

}  // namespace capsize
