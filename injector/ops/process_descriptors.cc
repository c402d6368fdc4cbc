// process.descriptors: how many files and sockets a process has open and may have, and whether it still takes a connection.
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
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
  const auto network = proc.namespace_of(pid, "net");
  if (!network || network != proc.own_namespace("net")) return std::nullopt;
  std::map<std::uint64_t, TcpEnd> candidates;
  for (const TcpTableEntry& entry : tcp_sockets(pid, proc)) {
    if (entry.listens && files.holds_socket(entry.inode)) candidates[entry.inode] = entry.local;
  }
  if (candidates.empty()) return std::nullopt;
  for (const int other : proc.pids()) {
    if (other == pid) continue;
    const OpenFiles held = proc.open_files(other);
    if (held.error != 0 && !held.gone()) return std::nullopt;  // it might be another that accepts
    // So might one of which only the numbers are seen, as process 1 of a container whose root has fewer privileges: what it accepts counts as accepted.
    std::erase_if(candidates, [&](const auto& one_of) { return held.holds_socket(one_of.first); });
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
  const auto limits = descriptor_limits_of(process.pid);
  const OpenFiles files = proc.open_files(process.pid);
  if (!limits || files.gone()) {
    out.update({{"same", "no"}, {"because", describe(process) + " has ended"}});
    co_return out;
  }
  if (files.error != 0) throw system_error(files.error, describe(process) + ": what it has open", "run capsize there as its user, or with CAP_SYS_PTRACE");
  std::set<int> numbers;
  for (const auto& [number, socket] : files.socket_of) numbers.insert(number);
  out.update({{"soft", limits->soft}, {"hard", limits->hard}, {"open", numbers.size()}, {"free", free_below(numbers, limits->soft)}, {"now_ticks", now_in_ticks()}});
  out["limit"] = limit_that_spares(numbers, spare);
  if (!connect) co_return out;
  const Json connection = co_await try_to_connect(process, files, context);
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

}  // namespace capsize
