// The agent's side of a bearer.
#include "injector/burdens/bearer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <vector>

#include "injector/base/error.h"
#include "injector/base/json_lines.h"
#include "injector/base/param_types.h"
#include "injector/base/within.h"
#include "injector/burdens/bearer_wire.h"
#include "injector/targets/process.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

constexpr Duration kTakeUpLimit = std::chrono::seconds(20);
constexpr Duration kEndPoll = std::chrono::milliseconds(2);

// Those that were let go of here and are not reaped yet.
std::map<std::string, Child>& let_go() {
  static std::map<std::string, Child> children;
  return children;
}

struct SocketPair {
  UniqueFd ours;
  UniqueFd theirs;
};

SocketPair socket_pair() {
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw system_error(errno, "a socket for a burden's bearer cannot be made");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// The next message; nothing at the end of the stream.
Task<std::optional<Json>> hear(asio::posix::stream_descriptor& socket) {
  std::vector<char> buffer(kMaxBearerMessage);
  for (;;) {
    co_await socket.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    const ssize_t count = recv(socket.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count <= 0) co_return std::nullopt;
    co_return parse_json_line(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
  }
}

Error ended_early(const Child& child) {
  const Ended ended = reap(child).value_or(Ended{});
  if (ended.by == Ended::By::signal && ended.number == SIGKILL) {
    return Error(ErrorKind::unavailable, "the process that bears the burden was killed while it took it up", "the kernel had no memory for it: ask for less, or see the limits of the agent's cgroup");
  }
  return Error(ErrorKind::unavailable, fmt::format("the process that bears the burden ended while it took it up ({})", describe(ended)), "see the log of the kernel (dmesg)");
}

// Gives the order and waits for what becomes of it. The detail of the apply, or nothing when it ended without a word.
Task<std::optional<Json>> give_order(asio::posix::stream_descriptor& socket, Json order, bool& begun) {
  for (;;) {
    const auto heard = co_await hear(socket);
    if (!heard) co_return std::nullopt;
    const std::string word = heard->value("word", "");
    if (word == "refused") throw error_from_json(heard->value("error", Json()));
    if (word == "in_place") co_return heard->value("detail", Json::object());
    if (word == "begun") begun = true;
    if (word != "ready") continue;
    const std::string text = order.dump();
    if (send(socket.native_handle(), text.data(), text.size(), MSG_NOSIGNAL) < 0) co_return std::nullopt;
  }
}

std::string first_line(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string line;
  std::getline(in, line, '\n');
  return line;
}

// "capsize burden --id ID", as the kernel has it: words that end in a zero byte. Empty as soon as the process is ending.
bool is_its_command(const std::string& line, const std::string& id) {
  std::vector<std::string> words(1);
  for (const char c : line) {
    if (c == '\0') words.emplace_back();
    else words.back() += c;
  }
  return words.size() == 5 && words[1] == "burden" && words[2] == "--id" && words[3] == id && words[4].empty();
}

BearerLook look_at(int pid, const std::string& id) {
  const ProcFs proc;
  const auto stat = proc.stat(pid);
  // An ended leader whose threads still work is ending.
  if (!stat || stat->comm != bearer_name(id) || (stat->state == 'Z' && stat->threads <= 1) || stat->state == 'X') return {};
  struct stat owner = {};  // anybody may take that name
  if (::stat(proc.path(pid, "").c_str(), &owner) != 0 || (owner.st_uid != ::geteuid() && owner.st_uid != 0)) return {};
  const std::string line = first_line(proc.path(pid, "cmdline"));
  if (line.empty()) return {pid, true};
  return is_its_command(line, id) ? BearerLook{pid, false} : BearerLook{};
}

}  // namespace

Task<std::unique_ptr<Bearer>> Bearer::start(Clock& clock, std::string id, Json order) {
  CAPSIZE_CHECK(is_burden_id(id));
  SocketPair pair = socket_pair();
  SpawnRequest request;
  request.command = {"/proc/self/exe", "burden", "--id", id};
  request.descriptors[kBearerSocketFd] = pair.theirs.get();
  request.from_root = true;
  std::unique_ptr<Bearer> bearer(new Bearer(id, spawn(request)));
  pair.theirs.reset();
  const auto executor = co_await asio::this_coro::executor;
  asio::posix::stream_descriptor socket(executor, pair.ours.release());
  bool begun = false;
  auto work = within<std::optional<Json>>(clock, kTakeUpLimit, give_order(socket, std::move(order), begun));
  const auto answer = co_await std::move(work);
  if (answer && !*answer) {  // its end is heard before it can be reaped
    auto ending = within<void>(clock, std::chrono::seconds(2), wait_for_end(bearer->child_.pidfd.get()));
    const auto ended = co_await std::move(ending);
    if (!ended) kill_child(bearer->child_);
    throw ended_early(bearer->child_);
  }
  if (!answer && !begun) throw Error(ErrorKind::unavailable, fmt::format("the process that bears the burden did not begin within {}", show(kTakeUpLimit)), "the machine is too busy: try again");
  bearer->detail_ = answer ? **answer : Json::object();
  bearer->detail_["in_place"] = answer.has_value();
  bearer->detail_["pid"] = bearer->pid();
  bearer->socket_.reset(socket.release());
  co_return bearer;
}

void Bearer::end() noexcept {
  if (!child_.pidfd) return;
  kill_child(child_);
  try {
    let_go()[id_] = std::move(child_);
  } catch (const std::exception&) {  // no memory: it ends all the same, only unseen
  }
  child_ = {};
}

BearerLook find_bearer(const std::string& id) {
  CAPSIZE_CHECK(is_burden_id(id));
  std::error_code problem;
  for (fs::directory_iterator it("/proc", problem), end; !problem && it != end; it.increment(problem)) {
    const auto pid = parse_pid(it->path().filename().string());
    if (!pid) continue;
    try {
      const BearerLook found = look_at(*pid, id);
      if (found.pid != 0) return found;
    } catch (const Error&) {  // not ours to see: then it is not ours
    }
  }
  return {};
}

int command_of_bearer(const std::string& id) {
  std::map<int, int> parents;
  std::error_code problem;
  std::set<int> bearers;  // the bearer, and the first process of the command's pid namespace, which is made from it
  const ProcFs proc;
  for (fs::directory_iterator it("/proc", problem), end; !problem && it != end; it.increment(problem)) {
    const auto pid = parse_pid(it->path().filename().string());
    if (!pid) continue;
    std::optional<ProcStat> stat;
    try {
      stat = proc.stat(*pid);
    } catch (const Error&) {  // not ours to see: then it is not ours
    }
    if (!stat || stat->state == 'Z' || stat->state == 'X') continue;
    parents[*pid] = stat->parent;
    if (look_at(*pid, id).pid != 0) bearers.insert(*pid);
  }
  for (const auto& [pid, parent] : parents) {
    if (bearers.contains(parent) && !bearers.contains(pid)) return pid;
  }
  return 0;
}

Task<BearerEnd> end_bearer(std::string id, Clock& clock, Duration limit, int& pid) {
  const TimePoint end = clock.now() + limit;
  const auto ours = let_go().find(id);
  bool seen = ours != let_go().end();
  if (seen) {
    pid = ours->second.pid;
    auto work = within<void>(clock, limit, wait_for_end(ours->second.pidfd.get()));
    const auto ended = co_await std::move(work);
    if (!ended) co_return BearerEnd::still_there;
    reap(let_go().at(id));
    let_go().erase(id);
  }
  for (;;) {  // one that another process started; and what this one had started in turn, which dies right after it
    const BearerLook found = find_bearer(id);
    if (found.pid == 0) co_return seen ? BearerEnd::ended : BearerEnd::was_not_there;
    if (!seen) pid = found.pid;
    seen = true;
    const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, found.pid, 0)));
    const BearerLook again = look_at(found.pid, id);  // what the pidfd is of cannot be another's from here on
    if (pidfd && again.pid == found.pid && !again.ending) syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    if (clock.now() > end) co_return BearerEnd::still_there;
    co_await clock.sleep(kEndPoll);
  }
}

}  // namespace capsize
