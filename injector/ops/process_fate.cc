// process.fate and process.revive: what became of processes that were sent a signal, and that somebody takes their place.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <set>

#include "injector/netlink/network_namespace.h"
#include "injector/netlink/sock_diag.h"
#include "injector/ops/process_mark.h"
#include "injector/ops/process_ops.h"
#include "injector/ops/process_signal.h"
#include "injector/targets/signal.h"

namespace capsize {
namespace {

constexpr Duration kSupervisorPatience = std::chrono::seconds(3);  // an attempt of an undo has 10
constexpr Duration kCommandPatience = std::chrono::seconds(7);
constexpr Duration kEndPatience = std::chrono::seconds(2);         // with the command's within one attempt
constexpr Duration kPoll = std::chrono::milliseconds(50);
constexpr std::size_t kNamed = 5;

bool same_program(const TargetProcess& one, const TargetProcess& other) {
  const auto path = [](const TargetProcess& process) {
    std::string text = process.exe ? process.exe->path : "";
    if (text.ends_with(" (deleted)")) text.resize(text.size() - 10);
    return text;
  };
  return path(one) == path(other);
}

// A pid file that nobody has removed may name a stranger by now.
bool takes_place_of(const SignalOrder& order, const TargetProcess& process) {
  const auto& old = order.processes;
  if (std::any_of(order.others.begin(), order.others.end(), [&](const TargetProcess& one) { return same_identity(one, process); })) return false;
  if (std::any_of(old.begin(), old.end(), [&](const TargetProcess& one) { return same_identity(one, process); })) return false;
  return !order.target.contains("pid_file") || std::any_of(old.begin(), old.end(), [&](const TargetProcess& one) { return same_program(one, process); });
}

std::vector<Json> looks_of(const Json& answer) {
  if (answer.contains("found")) return answer["found"].get<std::vector<Json>>();
  std::vector<Json> out;
  for (const Json& container : answer.at("containers")) {
    for (const Json& look : container.at("found")) out.push_back(look);
  }
  return out;
}

std::string reaction_of(const ProcStatus& status, int signal) {
  const std::uint64_t bit = 1ULL << (signal - 1);
  if ((status.pending & bit) != 0) return "pending";
  if (signal == SIGKILL) return "ends";
  if ((status.caught & bit) != 0) return "caught";
  if ((status.ignored & bit) != 0) return "ignored";
  return ends_by_default(signal) ? "ends" : "nothing";
}

Json fate_of(const SignalOrder& order, const TargetProcess& process, const ProcFs& proc) {
  const Sameness same = proc.same_process(process);
  const bool there = same.answer == Proof::yes && !has_ended(proc.threads(process.pid));
  Json out = {{"pid", process.pid}, {"name", process.comm}, {"because", same.because}};
  out["runs"] = same.answer == Proof::cannot_tell ? "cannot_tell" : there ? "yes" : "no";
  out["signalled"] = look_for_mark(signal_mark(order, process)).there == Proof::yes;
  const auto status = there ? proc.status(process.pid) : std::nullopt;
  if (status) out["reaction"] = reaction_of(*status, order.signal);
  return out;
}

Task<Json> look_fate(Json args, OpContext& context) {
  const SignalOrder order = signal_order_from_json(args);
  const ProcFs proc;
  Json answer = {{"processes", Json::array()}, {"successors", Json::array()}};
  std::vector<TargetProcess> there;
  for (const TargetProcess& process : order.processes) {
    answer["processes"].push_back(fate_of(order, process, proc));
    if (answer["processes"].back()["runs"] == "yes") there.push_back(process);
  }
  const std::vector<TargetProcess> others = co_await successors(order, context);
  for (const TargetProcess& process : others) {
    answer["successors"].push_back({{"pid", process.pid}, {"name", process.comm}});
    there.push_back(process);
  }
  answer["listening"] = listening_points(there);
  co_return answer;
}

std::string in_words(const std::vector<TargetProcess>& processes) {
  std::string out;
  for (std::size_t i = 0; i < std::min(processes.size(), kNamed); ++i) out += (i == 0 ? "" : ", ") + describe(processes[i]);
  return processes.size() > kNamed ? fmt::format("{} and {} more", out, processes.size() - kNamed) : out;
}

std::string command_words(const std::vector<std::string>& command) {
  std::string out;
  for (const std::string& word : command) out += (out.empty() ? "" : " ") + printable(word, 200);
  return out;
}

UndoResult answer(UndoState state, std::string because, std::string remedy = {}) { return {state, std::move(because), std::move(remedy), Json::object()}; }

UndoResult settled(UndoResult result, const SignalOrder& order) {
  for (const TargetProcess& process : order.processes) result = without_mark(std::move(result), signal_mark(order, process));
  return without_mark(std::move(result), restart_mark(order));
}

struct Outcome {
  std::vector<TargetProcess> ended;  // that were sent the signal
  bool any_mark = false;
  bool may_end = false;              // one was sent it and runs: it may be on its way out
  bool unsure = false;               // for as long as it likes: it has a handler, or has not got to it yet
  std::string doubt;                 // why it cannot be told
};

Outcome outcome_of(const SignalOrder& order) {
  const ProcFs proc;
  Outcome out;
  for (const TargetProcess& process : order.processes) {
    const MarkLook mark = look_for_mark(signal_mark(order, process));
    const Sameness same = proc.same_process(process);
    if (mark.there == Proof::cannot_tell) out.doubt = mark.because;
    if (mark.there == Proof::yes && same.answer == Proof::cannot_tell) out.doubt = same.because;
    if (mark.there != Proof::yes) continue;
    out.any_mark = true;
    if (same.answer == Proof::no || (same.answer == Proof::yes && has_ended(proc.threads(process.pid)))) {
      out.ended.push_back(process);
      continue;
    }
    const auto status = same.answer == Proof::yes ? proc.status(process.pid) : std::nullopt;
    const std::string reaction = status ? reaction_of(*status, order.signal) : "";
    out.unsure = out.unsure || reaction == "caught" || reaction == "pending";
    out.may_end = out.may_end || out.unsure || reaction == "ends";
  }
  return out;
}

// A moment later, where what was told to end has not ended yet.
Task<Outcome> outcome_in_time(SignalOrder order, OpContext& context) {
  const TimePoint begun = context.clock.now();
  Outcome outcome = outcome_of(order);
  while (asks_to_end(order.signal) && outcome.may_end && outcome.doubt.empty() && context.clock.now() - begun < kEndPatience) {
    co_await context.clock.sleep(kPoll);
    outcome = outcome_of(order);
  }
  co_return outcome;
}

Task<std::vector<TargetProcess>> wait_for_others(SignalOrder order, OpContext& context, Duration limit) {
  const TimePoint begun = context.clock.now();
  for (;;) {
    auto others = co_await successors(order, context);
    if (!others.empty() || has_no_successor(order) || context.clock.now() - begun >= limit) co_return others;
    co_await context.clock.sleep(kPoll);
  }
}

Task<UndoResult> by_command(SignalOrder order, std::string who, OpContext& context) {
  const std::string command = command_words(order.restart);
  Revival revival;
  std::string problem;
  try {
    revival = co_await start_again(order, context, kCommandPatience);
  } catch (const Error& error) {
    problem = error.what();
  }
  if (revival.back && revival.processes.empty()) {
    co_return settled(answer(UndoState::undone, fmt::format("{} ended, and `{}` was run; whether it runs again its old pid cannot say", who, command)), order);
  }
  if (revival.back) co_return settled(answer(UndoState::undone, fmt::format("{} ended; `{}` has started {}", who, command, in_words(revival.processes))), order);
  if (problem.empty()) problem = revival.problem.empty() ? fmt::format("nothing took its place within {}", show(kCommandPatience)) : revival.problem;
  co_return answer(UndoState::failed, fmt::format("{} ended, and `{}` has not started it again: {}", who, command, problem), "start it by hand: " + command);
}

Task<UndoResult> undo_signal(Json args, OpContext& context) {
  const SignalOrder order = signal_order_from_json(args);
  const Outcome outcome = co_await outcome_in_time(order, context);
  const std::string sent = signal_name(order.signal);
  const std::string all = in_words(order.processes);
  if (!outcome.doubt.empty()) co_return answer(UndoState::failed, outcome.doubt, "look whether it runs, and start it if it does not");
  if (!outcome.any_mark) co_return answer(UndoState::nothing_to_undo, fmt::format("capsize has not sent {} to {}, or has taken care of it", sent, all));
  if (asks_to_end(order.signal) && outcome.unsure && !order.restart.empty()) {
    co_return answer(UndoState::failed, fmt::format("{} got {} and has not ended yet; when it has, it must be started again", all, sent), "when it has ended, revert again; or start it by hand: " + command_words(order.restart));
  }
  if (outcome.ended.empty()) co_return settled(answer(UndoState::nothing_to_undo, fmt::format("{} got {} and still runs: a signal is not taken back", all, sent)), order);
  const std::string who = in_words(outcome.ended);
  const Duration patience = order.restart.empty() ? kSupervisorPatience : Duration::zero();
  const std::vector<TargetProcess> others = co_await wait_for_others(order, context, patience);
  if (!others.empty()) co_return settled(answer(UndoState::undone, fmt::format("{} ended by {}; {} has taken its place", who, sent, in_words(others))), order);
  if (order.restart.empty()) {
    const std::string left = has_no_successor(order) ? "whether it was started again its old pid cannot say" : "nothing has started it again";
    co_return settled(answer(UndoState::nothing_to_undo, fmt::format("{} ended by {}, which nothing takes back, and {}: that is left to its supervisor, or to you", who, sent, left), "start it again if it does not run"), order);
  }
  auto result = co_await by_command(order, who, context);
  co_return result;
}

}  // namespace

bool has_no_successor(const SignalOrder& order) { return order.target_type != "container" && order.target.contains("pid"); }

Task<std::vector<TargetProcess>> successors(SignalOrder order, OpContext& context) {
  std::vector<TargetProcess> out;
  if (has_no_successor(order)) co_return out;
  const OpType* look = find_op(order.target_type == "container" ? "container.identify" : "process.identify");
  Json seen;
  try {
    seen = co_await look->look(order.target, context);
  } catch (const Error&) {
    seen = nullptr;  // it matches nothing, or it cannot be told
  }
  if (!seen.is_object()) co_return out;
  for (const Json& one : looks_of(seen)) {
    TargetProcess process = target_process_from_json(one.at("identity"));
    const bool may_be = one.at("never_a_target").get_ref<const std::string&>().empty() && !one.at("ended").get<bool>();
    if (may_be && takes_place_of(order, process)) out.push_back(std::move(process));
  }
  co_return out;
}

std::vector<std::string> listening_points(const std::vector<TargetProcess>& processes) {
  const ProcFs proc;
  std::map<std::uint64_t, std::vector<TcpSocket>> by_namespace;
  std::set<std::string> out;
  for (const TargetProcess& process : processes) {
    const auto place = proc.namespace_of(process.pid, "net");
    if (!place) continue;
    try {
      if (by_namespace.count(*place) == 0) by_namespace[*place] = list_tcp_sockets(look_up_network_namespace(proc.path(process.pid, "ns/net")), {TcpState::listen});
    } catch (const Error&) {
      continue;
    }
    const OpenFiles files = proc.open_files(process.pid);
    for (const TcpSocket& socket : by_namespace[*place]) {
      if (files.holds_socket(socket.inode)) out.insert(show(Address{show(socket.local), socket.local_port}));
    }
  }
  return {out.begin(), out.end()};
}

OpType process_fate() {
  OpType type{"process.fate", Lasts::look, "what became of processes that were sent a signal, and who has taken their place"};
  type.look = look_fate;
  return type;
}

OpType process_revive() {
  OpType type{"process.revive", Lasts::until_restart, "sees to it that somebody has taken the place of processes that ended by our signal, with the playbook's command where it has one"};
  type.undo = undo_signal;
  return type;
}

}  // namespace capsize
