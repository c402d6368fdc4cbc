#include "injector/base/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <csignal>
#include <memory>

#include "injector/base/error.h"

extern char** environ;

namespace capsize {
namespace {

constexpr int kFirstSpareFd = 64;  // above every number a child is given, so that no copy overwrites another

struct FileActions {
  FileActions() { posix_spawn_file_actions_init(&actions); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions); }
  posix_spawn_file_actions_t actions;
};

struct Attributes {
  Attributes() { posix_spawnattr_init(&attributes); }
  ~Attributes() { posix_spawnattr_destroy(&attributes); }
  posix_spawnattr_t attributes;
};

std::optional<Ended> how_if_ended(const Child& child, int options) {
  siginfo_t info = {};
  if (waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(child.pidfd.get()), &info, WEXITED | WNOHANG | options) != 0) {
    if (errno == ECHILD) return Ended{};
    return std::nullopt;
  }
  if (info.si_pid == 0) return std::nullopt;
  return Ended{info.si_code == CLD_EXITED ? Ended::By::exit : Ended::By::signal, info.si_status};
}

std::vector<std::string> environment_with(const std::map<std::string, std::string>& more) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!more.contains(text.substr(0, text.find('=')))) out.push_back(text);
  }
  for (const auto& [name, value] : more) out.push_back(name + "=" + value);
  return out;
}

// What exec takes of a list of texts, which must outlive it.
std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Child spawn(const SpawnRequest& request) {
  CAPSIZE_CHECK(!request.command.empty());
  std::vector<UniqueFd> copies;
  FileActions files;
  for (int fd = 0; fd <= 2; ++fd) {
    if (!request.descriptors.contains(fd)) posix_spawn_file_actions_addopen(&files.actions, fd, "/dev/null", O_RDWR, 0);
  }
  int last = 2;
  for (const auto& [theirs, ours] : request.descriptors) {
    CAPSIZE_CHECK(theirs < kFirstSpareFd);
    copies.emplace_back(fcntl(ours, F_DUPFD_CLOEXEC, kFirstSpareFd));
    if (!copies.back()) throw system_error(errno, "a descriptor for " + request.command.front());
    posix_spawn_file_actions_adddup2(&files.actions, copies.back().get(), theirs);
    last = std::max(last, theirs);
  }
  posix_spawn_file_actions_addclosefrom_np(&files.actions, last + 1);
  if (request.from_root) posix_spawn_file_actions_addchdir_np(&files.actions, "/");

  Attributes attributes;
  sigset_t all;
  sigset_t none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&attributes.attributes, &all);
  posix_spawnattr_setsigmask(&attributes.attributes, &none);
  posix_spawnattr_setflags(&attributes.attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

  std::vector<std::string> words = request.command;
  const std::string program = words.front();
  if (program == "/proc/self/exe") words.front() = "capsize";  // what `ps` shows
  std::vector<std::string> environment = environment_with(request.environment);
  Child child;
  const int code = posix_spawnp(&child.pid, program.c_str(), &files.actions, &attributes.attributes, pointers(words).data(), pointers(environment).data());
  if (code != 0) throw system_error(code, fmt::format("{} cannot be started", program), "see whether it is installed and may be run");
  child.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, child.pid, 0)));  // ours until it is reaped, so the pid cannot be another's
  if (!child.pidfd) {
    const int reason = errno;
    kill(child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
    throw system_error(reason, fmt::format("{} cannot be watched", program), "a kernel since 5.3 is needed");
  }
  return child;
}

std::string describe(const Ended& ended) {
  if (ended.by == Ended::By::unknown) return "nobody knows how";
  return fmt::format("{} {}", ended.by == Ended::By::exit ? "exit code" : "signal", ended.number);
}

std::optional<Ended> reap(const Child& child) { return how_if_ended(child, 0); }

Ended how_it_ended(const Child& child) { return how_if_ended(child, WNOWAIT).value_or(Ended{}); }

void kill_child(const Child& child) {
  if (child.pidfd) syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
}

void kill_group(const Child& child) {
  if (child.pid > 0) kill(-child.pid, SIGKILL);  // its number cannot be another group's while it is not reaped
}

Task<> wait_for_end(int pidfd) {
  const auto executor = co_await asio::this_coro::executor;
  UniqueFd copy(fcntl(pidfd, F_DUPFD_CLOEXEC, 0));
  if (!copy) throw system_error(errno, "a process cannot be watched");
  asio::posix::stream_descriptor ended(executor, copy.release());
  co_await ended.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
}

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) throw system_error(errno, "a pipe cannot be made");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace capsize
