// process.signal: a signal to processes, each proven to be the one that was planned right before. Nobody takes it back.
#include "injector/ops/process_signal.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "injector/base/spawn.h"
#include "injector/ops/process_mark.h"
#include "injector/ops/process_ops.h"
#include "injector/targets/signal.h"

namespace capsize {
namespace {

constexpr Duration kPoll = std::chrono::milliseconds(20);
constexpr Duration kSettled = std::chrono::milliseconds(300);  // a command that runs on so long has started what it starts
constexpr Duration kLongestWait = std::chrono::seconds(25);    // an apply has 30

std::vector<ProvenProcess> prove_all(const SignalOrder& order) {
  std::vector<ProvenProcess> out;
  for (const TargetProcess& process : order.processes) out.push_back(prove_same(process));
  return out;
}

bool all_ended(const SignalOrder& order) {
  const ProcFs proc;
  for (const TargetProcess& process : order.processes) {
    const Sameness same = proc.same_process(process);
    if (same.answer == Proof::cannot_tell || (same.answer == Proof::yes && !has_ended(proc.threads(process.pid)))) return false;
  }
  return true;
}

bool all_listened_at(const std::vector<std::string>& wanted, const std::vector<std::string>& now) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& point) { return std::find(now.begin(), now.end(), point) != now.end(); });
}

// Until others listen where these have listened.
Task<Json> wait_until_back(SignalOrder order, std::vector<std::string> points, OpContext& context, Duration limit) {
  const TimePoint begun = context.clock.now();
  const auto left = [&] { return limit - (context.clock.now() - begun); };
  while (!all_ended(order)) {
    if (left() <= Duration{}) throw Error(ErrorKind::unavailable, fmt::format("{} did not end within {} of {}", describe(order.processes.front()), show(limit), signal_name(order.signal)), "send SIGKILL");
    co_await context.pause(kPoll);
  }
  const double ended = seconds(context.clock.now() - begun);
  Revival revival;
  if (!order.restart.empty()) {
    revival = co_await start_again(order, context, left());
    if (!revival.problem.empty()) throw Error(ErrorKind::unavailable, fmt::format("{} did not start it again: {}", order.restart.front(), revival.problem), "run it by hand to see why");
  }
  for (;;) {
    revival.processes = co_await successors(order, context);
    if (!revival.processes.empty() && all_listened_at(points, listening_points(revival.processes))) break;
    if (left() <= Duration{}) {
      throw Error(ErrorKind::unavailable, fmt::format("{} ended, and nothing took its place within {}", describe(order.processes.front()), show(limit)), "start it; name a \"restart\" command, or a longer \"within\"");
    }
    co_await context.pause(kPoll);
  }
  Json back = Json::array();
  for (const TargetProcess& process : revival.processes) back.push_back({{"pid", process.pid}, {"name", process.comm}});
  co_return Json{{"ended_after_s", ended}, {"back_after_s", seconds(context.clock.now() - begun)}, {"back", std::move(back)}};
}

Task<Applied> apply_signal(Json args, OpContext& context) {
  const SignalOrder order = signal_order_from_json(args);
  const std::vector<ProvenProcess> proven = prove_all(order);
  const bool until_back = args.contains("within");
  const std::vector<std::string> points = until_back ? listening_points(order.processes) : std::vector<std::string>();
  for (const ProvenProcess& one : proven) write_mark(signal_mark(order, one.process));
  int sent = 0;
  int gone = 0;
  for (const ProvenProcess& one : proven) {
    if (::syscall(SYS_pidfd_send_signal, one.pidfd.get(), order.signal, nullptr, 0) == 0) {
      ++sent;
      continue;
    }
    const int error = errno;
    if (error != ESRCH) {
      for (auto rest = proven.begin() + (&one - proven.data()); rest != proven.end(); ++rest) ::unlink(signal_mark(order, rest->process).c_str());
      throw system_error(error, fmt::format("{} could not be sent {}", describe(one.process), signal_name(order.signal)), "run capsize there with CAP_KILL (as root), or as the same user");
    }
    ++gone;  // with the one before it, as the processes of a container with their first
  }
  if (sent == 0) {
    for (const ProvenProcess& one : proven) ::unlink(signal_mark(order, one.process).c_str());
    throw Error(ErrorKind::changed, describe(order.processes.front()) + " ended before it was sent a signal", "plan again");
  }
  Applied applied;
  applied.detail = {{"signal", signal_name(order.signal)}, {"sent", sent}, {"already_gone", gone}};
  if (until_back) {
    const auto within = parse_duration(args["within"].get<std::string>());
    const Duration limit = std::holds_alternative<Duration>(within) ? std::min(std::get<Duration>(within), kLongestWait) : kLongestWait;
    const Json restarted = co_await wait_until_back(order, points, context, limit);
    applied.detail.update(restarted);
  }
  co_return applied;
}

}  // namespace

SignalOrder signal_order_from_json(const Json& args) {
  try {
    SignalOrder out;
    for (const Json& identity : args.at("identities")) out.processes.push_back(target_process_from_json(identity));
    for (const Json& other : args.value("others", Json::array())) out.others.push_back(target_process_from_json(other));
    const auto number = signal_number(args.at("signal").get<std::string>());
    if (out.processes.empty() || !number) throw Error(ErrorKind::bug, "an order without processes or signal");
    out.signal = *number;
    out.target_type = args.at("target_type").get<std::string>();
    out.target = args.at("target");
    out.restart = args.value("restart", std::vector<std::string>());
    out.mark_args = {{"mark_folder", args.at("mark_folder")}};
    return out;
  } catch (const Json::exception& problem) {
    throw Error(ErrorKind::bug, std::string("not an order to signal: ") + problem.what());
  }
}

std::string signal_mark(const SignalOrder& order, const TargetProcess& process) { return process_mark("signalled", order.mark_args, process); }
std::string restart_mark(const SignalOrder& order) { return process_mark("restarted", order.mark_args, order.processes.front()); }

Task<Revival> start_again(SignalOrder order, OpContext& context, Duration limit) {
  Revival out;
  const std::string mark = restart_mark(order);
  std::optional<Child> child;
  if (look_for_mark(mark).there == Proof::no) {
    write_mark(mark);
    SpawnRequest request;
    request.command = order.restart;
    request.from_root = true;
    try {
      child = spawn(request);
    } catch (const Error&) {
      ::unlink(mark.c_str());  // it was not run
      throw;
    }
  }
  const TimePoint begun = context.clock.now();
  for (;;) {
    const std::optional<Ended> how = child ? reap(*child) : std::nullopt;
    if (how) {
      if (how->by != Ended::By::exit || how->number != 0) out.problem = describe(*how);
      child.reset();
    }
    const bool ended = !child;
    out.processes = co_await successors(order, context);
    const Duration waited = context.clock.now() - begun;
    const bool nobody_to_see = has_no_successor(order) && (ended || waited > kSettled);
    out.back = !out.processes.empty() || (nobody_to_see && out.problem.empty());
    if (out.back || !out.problem.empty() || waited >= limit) break;
    co_await context.pause(kPoll);
  }
  if (out.back) out.problem.clear();
  co_return out;
}

OpType process_signal() {
  OpType type{"process.signal", Lasts::until_restart, "sends a signal to processes; with \"within\" it waits until others have taken their place"};
  type.apply = apply_signal;
  return type;
}

}  // namespace capsize
