// process.descriptors, process.limit_descriptors and process.restore_descriptors: how many files and sockets a process may have open.
// A limit is inherited: the undo also sets it back in the descendants that were born under ours.
#include <dirent.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "injector/net/tcp_table.h"
#include "injector/ops/descriptor_ops.h"
#include "injector/ops/process_ops.h"
#include "injector/targets/proc_file.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxTable = 16 * 1024 * 1024;
constexpr Duration kAcceptLimit = std::chrono::milliseconds(500);
constexpr Duration kAcceptPoll = std::chrono::milliseconds(10);
constexpr Duration kKnocking = std::chrono::seconds(2);  // for all processes of a look together: who asks waits for 5 s
constexpr int kRounds = 10;
constexpr Duration kBirth = std::chrono::milliseconds(20);  // of a child of a process with much memory
constexpr const char* kRemedy = "run capsize there as the user of that process, or with CAP_SYS_RESOURCE (as root with it)";

struct OpenFiles {
  std::set<int> numbers;
  std::set<std::uint64_t> sockets;  // inodes
};

// Nothing: gone. Throws Error when it may not be seen.
std::optional<OpenFiles> open_files(int pid, const ProcFs& proc) {
  const std::string folder = proc.path(pid, "fd");
  const std::unique_ptr<DIR, int (*)(DIR*)> files(::opendir(folder.c_str()), ::closedir);
  if (!files && (errno == ENOENT || errno == ESRCH)) return std::nullopt;
  if (!files) throw system_error(errno, fmt::format("process {}: what it has open ({})", pid, folder), "run capsize there as its user, or with CAP_SYS_PTRACE");
  OpenFiles out;
  while (const dirent* entry = ::readdir(files.get())) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    out.numbers.insert(std::atoi(entry->d_name));
    char target[64] = {};
    const ssize_t length = ::readlink((folder + "/" + entry->d_name).c_str(), target, sizeof target - 1);
    if (length > 8 && std::strncmp(target, "socket:[", 8) == 0) out.sockets.insert(std::strtoull(target + 8, nullptr, 10));
  }
  return out;
}

struct Limits {
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
};

std::optional<Limits> limits_of(int pid) {
  struct rlimit now = {};
  if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &now) == 0) return Limits{now.rlim_cur, now.rlim_max};
  if (errno == ESRCH) return std::nullopt;
  throw system_error(errno, fmt::format("process {}: its limit of open descriptors", pid), kRemedy);
}

std::uint64_t now_in_ticks() {
  const auto look = ProcFs().stat(::getpid());  // for its clock: uptime in the unit that processes are dated in
  const double up = std::strtod(read_file("/proc/uptime", 256).text.c_str(), nullptr);
  const auto ticks = static_cast<std::uint64_t>(up * static_cast<double>(std::max(1L, ::sysconf(_SC_CLK_TCK))));
  return look ? std::max(ticks, look->start_ticks) : ticks;
}

std::vector<TcpTableEntry> tcp_sockets(int pid, const ProcFs& proc) {
  std::vector<TcpTableEntry> out;
  for (const char* table : {"net/tcp", "net/tcp6"}) {
    const auto entries = parse_tcp_table(read_file(proc.path(pid, table), kMaxTable).text);
    out.insert(out.end(), entries.begin(), entries.end());
  }
  return out;
}

// An address where this process, and no other, accepts; nothing: none that we can reach or be sure of.
std::optional<TcpEnd> sole_listener(int pid, const OpenFiles& files, const ProcFs& proc) {
  const FileRead ours = read_file("/proc/self/net/tcp", 1);
  if (ours.error != 0) return std::nullopt;
  std::string own(256, '\0'), theirs(256, '\0');
  const ssize_t one = ::readlink("/proc/self/ns/net", own.data(), own.size());
  const ssize_t two = ::readlink(proc.path(pid, "ns/net").c_str(), theirs.data(), theirs.size());
  if (one <= 0 || one != two || own.compare(0, static_cast<std::size_t>(one), theirs, 0, static_cast<std::size_t>(two)) != 0) return std::nullopt;
  std::map<std::uint64_t, TcpEnd> candidates;
  for (const TcpTableEntry& entry : tcp_sockets(pid, proc)) {
    if (entry.listens && files.sockets.count(entry.inode) > 0) candidates[entry.inode] = entry.local;
  }
  if (candidates.empty()) return std::nullopt;
  for (const int other : proc.pids()) {
    if (other == pid) continue;
    try {
      const auto held = open_files(other, proc);
      if (held) std::erase_if(candidates, [&](const auto& one_of) { return held->sockets.count(one_of.first) > 0; });
    } catch (const Error&) {
      return std::nullopt;  // it might be another that accepts
    }
  }
  // More sockets at one address (SO_REUSEPORT) may be others'.
  const auto table = tcp_sockets(pid, proc);
  for (const auto& [inode, end] : candidates) {
    if (std::count_if(table.begin(), table.end(), [&end](const TcpTableEntry& entry) { return entry.listens && entry.local == end; }) == 1) return end;
  }
  return std::nullopt;
}

// A connection in progress to `end`, and its own port; nothing: it could not even be begun.
struct Knock {
  UniqueFd fd;
  std::uint16_t port = 0;
};
std::optional<Knock> knock(TcpEnd end) {
  Knock out;
  out.fd.reset(::socket(end.address.v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!out.fd) return std::nullopt;
  const bool any = std::all_of(end.address.bytes.begin(), end.address.bytes.end(), [](std::uint8_t byte) { return byte == 0; });
  if (any) (end.address.v6 ? end.address.bytes[15] : end.address.bytes[0]) = end.address.v6 ? 1 : 127;
  if (!end.address.v6 && end.address.bytes[0] == 127 && end.address.bytes[3] == 0) end.address.bytes[3] = 1;
  sockaddr_in6 six = {};
  sockaddr_in four = {};
  six.sin6_family = AF_INET6;
  four.sin_family = AF_INET;
  six.sin6_port = four.sin_port = htons(end.port);
  std::memcpy(&six.sin6_addr, end.address.bytes.data(), 16);
  std::memcpy(&four.sin_addr, end.address.bytes.data(), 4);
  const auto* address = end.address.v6 ? reinterpret_cast<const sockaddr*>(&six) : reinterpret_cast<const sockaddr*>(&four);
  if (::connect(out.fd.get(), address, end.address.v6 ? sizeof six : sizeof four) != 0 && errno != EINPROGRESS) return std::nullopt;
  sockaddr_in6 own = {};
  socklen_t size = sizeof own;
  if (::getsockname(out.fd.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0) return std::nullopt;
  out.port = ntohs(own.sin6_port);  // at the same place in both families
  return out;
}

// The kernel completes a connection by itself; only when the process has accepted it does its end belong to a file.
bool is_accepted(const TcpEnd& listener, std::uint16_t our_port, int pid, const ProcFs& proc) {
  for (const TcpTableEntry& entry : tcp_sockets(pid, proc)) {
    if (!entry.listens && entry.local.port == listener.port && entry.peer.port == our_port) return entry.inode != 0;
  }
  return false;
}

Task<Json> try_to_connect(TargetProcess process, OpenFiles files, OpContext& context) {
  const ProcFs proc;
  const auto listener = sole_listener(process.pid, files, proc);
  if (!listener) co_return Json("not tried");
  const auto door = knock(*listener);
  const TimePoint end = context.clock.now() + kAcceptLimit;
  while (door && context.clock.now() < end) {
    if (is_accepted(*listener, door->port, process.pid, proc)) co_return Json("accepted");
    co_await context.clock.sleep(kAcceptPoll);
  }
  co_return Json("not accepted");
}

Task<Json> look_at(TargetProcess process, std::uint64_t spare, bool connect, OpContext& context) {
  const ProcFs proc;
  const Sameness same = proc.same_process(process);
  Json out = {{"same", to_string(same.answer)}, {"because", same.because}};
  if (same.answer != Proof::yes) co_return out;
  const auto limits = limits_of(process.pid);
  const auto files = open_files(process.pid, proc);
  if (!limits || !files) {
    out.update({{"same", "no"}, {"because", describe(process) + " has ended"}});
    co_return out;
  }
  out.update({{"soft", limits->soft}, {"hard", limits->hard}, {"open", files->numbers.size()}, {"free", free_below(files->numbers, limits->soft)}, {"now_ticks", now_in_ticks()}});
  out["limit"] = limit_that_spares(files->numbers, spare);
  if (!connect) co_return out;
  const Json connection = co_await try_to_connect(process, *files, context);
  out["connection"] = connection;
  co_return out;
}

Task<Json> look_descriptors(Json args, OpContext& context) {
  Json out = {{"processes", Json::array()}};
  const auto spare = args.value("spare", std::uint64_t{0});
  const bool connect = args.value("connect", false);
  const TimePoint end = context.clock.now() + kKnocking;
  for (const Json& identity : args.at("identities")) {
    const bool in_time = context.clock.now() < end;
    Json one = co_await look_at(target_process_from_json(identity), spare, connect && in_time, context);
    if (connect && !in_time && one.at("same") == "yes") one["connection"] = "not tried";
    out["processes"].push_back(std::move(one));
  }
  co_return out;
}

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
  const auto now = limits_of(pid);
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
  const std::string text = read_file(proc.path(pid, "limits"), kMaxTable).text;
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
    if (other->hard == 0 && !limits_of(step.process.pid)) return std::nullopt;
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

std::uint64_t limit_that_spares(const std::set<int>& open, std::uint64_t spare) {
  std::uint64_t limit = 0;
  for (std::uint64_t free = 0;; ++limit) {
    const bool taken = open.count(static_cast<int>(limit)) > 0;
    if (!taken && free == spare) return limit;
    free += taken ? 0 : 1;
  }
}

std::uint64_t free_below(const std::set<int>& open, std::uint64_t limit) {
  const auto taken = static_cast<std::uint64_t>(std::count_if(open.begin(), open.end(), [limit](int number) { return static_cast<std::uint64_t>(number) < limit; }));
  return limit - taken;
}

OpType process_descriptors() {
  OpType type{"process.descriptors", Lasts::look, "how many descriptors a process has and may have open, and whether it still takes a connection"};
  type.look = look_descriptors;
  return type;
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
