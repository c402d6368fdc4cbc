// The guard's own side: single-threaded, quiet, and nothing to do with chaos until the agent is gone.
#include "injector/undo/guard.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "injector/base/error.h"
#include "injector/undo/guard_wire.h"

namespace capsize {
namespace {

constexpr auto kTick = std::chrono::milliseconds(250);
constexpr auto kAgentEndLimit = std::chrono::seconds(2);  // from its closed socket to its end
constexpr Duration kDrainLimit = std::chrono::seconds(5);
constexpr Duration kLateDrainLimit = std::chrono::seconds(60);
constexpr Duration kPersist = std::chrono::seconds(60);
constexpr Duration kLockPause = std::chrono::milliseconds(20);

class Watch {
 public:
  enum class End { goodbye, agent_gone };

  Watch(int socket, int agent, int signals) : socket_(socket), agent_(agent), signals_(signals) {}

  void say(GuardWord word) const {
    const char byte = static_cast<char>(word);
    if (send(socket_, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) return;  // the agent's end or silence says the rest
  }

  // Time is counted in waits that nothing ended: a pause of the whole machine, or of this process, is one of them, and what the agent
  // sent meanwhile is read first.
  End run() {
    auto silence = std::chrono::milliseconds(0);
    for (;;) {
      std::vector<pollfd> fds = {{socket_, POLLIN, 0}, {agent_, POLLIN, 0}, {signals_, POLLIN, 0}};
      for (const UniqueFd& shared : shared_) fds.push_back({shared.get(), POLLRDHUP, 0});
      const int ready = poll(fds.data(), fds.size(), static_cast<int>(kTick.count()));
      if (ready < 0 && errno != EINTR) return end_agent();
      heard_ = false;
      const bool open = listen();
      if (goodbye_) return End::goodbye;
      if (!open || is_over(agent_, std::chrono::milliseconds(0))) return end_agent();
      if (heard_) silence = {};
      if (ready == 0) silence += kTick;
      if (silence >= kGuardLease) return end_agent();
      if (ready > 0) {
        if (fds[2].revents != 0) told();
        forget_closed(fds);
      }
    }
  }

  std::vector<UniqueFd> take_shared() { return std::move(shared_); }

 private:
  static bool is_over(int pidfd, std::chrono::milliseconds limit) {
    pollfd ended = {pidfd, POLLIN, 0};
    return poll(&ended, 1, static_cast<int>(limit.count())) == 1;
  }

  // Two must never write at once: an agent that is frozen, or lives without its socket, is ended before anything is touched.
  End end_agent() {
    if (!is_over(agent_, listen() ? std::chrono::milliseconds(0) : std::chrono::milliseconds(kAgentEndLimit))) {
      syscall(SYS_pidfd_send_signal, agent_, SIGKILL, nullptr, 0);
      while (!is_over(agent_, kTick)) {
      }
    }
    listen();
    return goodbye_ ? End::goodbye : End::agent_gone;
  }

  void told() {
    signalfd_siginfo info = {};
    if (read(signals_, &info, sizeof info) == sizeof info) say(GuardWord::told);
  }

  // Reads all there is; false at the end of the stream.
  bool listen() {
    for (;;) {
      char byte = 0;
      iovec data = {&byte, 1};
      alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
      msghdr message = {};
      message.msg_iov = &data;
      message.msg_iovlen = 1;
      message.msg_control = space;
      message.msg_controllen = sizeof space;
      const ssize_t count = recvmsg(socket_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) return true;
      if (count <= 0) return false;
      heard_ = true;
      UniqueFd carried;
      const cmsghdr* header = CMSG_FIRSTHDR(&message);
      if (header && header->cmsg_type == SCM_RIGHTS) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        carried.reset(fd);
      }
      take(static_cast<GuardWord>(byte), std::move(carried));
    }
  }

  void take(GuardWord word, UniqueFd carried) {
    if (word == GuardWord::ping) say(GuardWord::pong);
    if (word == GuardWord::goodbye) goodbye_ = true;
    if (word != GuardWord::share) return;
    if (!carried || shared_.size() >= kMaxSharedConnections) return say(GuardWord::full);
    shared_.push_back(std::move(carried));
    say(GuardWord::shared);
  }

  void forget_closed(const std::vector<pollfd>& fds) {
    for (std::size_t i = fds.size(); i-- > 3;) {
      if ((fds[i].revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0) shared_.erase(shared_.begin() + static_cast<std::ptrdiff_t>(i - 3));
    }
  }

  int socket_;
  int agent_;
  int signals_;
  std::vector<UniqueFd> shared_;
  bool goodbye_ = false;
  bool heard_ = false;
};

// Ends our side of each connection and reads to the end of theirs: then every command that was sent has been carried out.
bool drain(std::vector<UniqueFd>& shared, Duration limit) {
  const SystemClock clock;
  const TimePoint end = clock.now() + limit;
  for (const UniqueFd& fd : shared) shutdown(fd.get(), SHUT_WR);
  while (!shared.empty() && clock.now() < end) {
    std::vector<pollfd> fds;
    for (const UniqueFd& fd : shared) fds.push_back({fd.get(), POLLIN, 0});
    poll(fds.data(), fds.size(), static_cast<int>(kTick.count()));
    for (std::size_t i = shared.size(); i-- > 0;) {
      char ignored[4096];
      ssize_t count = 1;
      while (count > 0) count = recv(shared[i].get(), ignored, sizeof ignored, MSG_DONTWAIT);
      if (count == 0 || (errno != EAGAIN && errno != EINTR)) shared.erase(shared.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  return shared.empty();
}

Task<> undo_everything(StateDir& state, std::string run, std::vector<UniqueFd> shared, FindOp find) {
  SystemClock clock;
  const bool drained = drain(shared, kDrainLimit);
  auto journal = Journal::open(state, run);
  if (!journal) co_return;
  while (!journal->try_lock()) {
    if (journal->gone()) co_return;  // somebody else has finished it
    const auto named = read_journal(state, run);
    if (!named) co_return;
    co_await clock.sleep(kLockPause);
  }
  RevertOptions options;
  options.find = std::move(find);
  options.boot_id = boot_id();
  options.persist = drained ? kPersist : Duration{};
  co_await revert_journal(*journal, clock, options);
  if (!drained) {  // a stalled peer may still carry out what the agent sent last: undo it then, too
    drain(shared, kLateDrainLimit);
    options.persist = kPersist;
    options.again = true;
    co_await revert_journal(*journal, clock, options);
  }
  if (!journal->contents().outstanding()) journal->set_aside(kFinishedSuffix);
}

void become_quiet() {
  for (const int number : {SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2}) signal(number, SIG_IGN);
  close_range(kGuardAgentFd + 1, ~0U, 0);
  for (const int fd : {kGuardSocketFd, kGuardUndoFd, kGuardAgentFd}) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

// Best effort: a guard that is swapped out or chosen by the OOM killer helps nobody, but one without these privileges still does.
void become_hard_to_kill() {
  const UniqueFd score(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  if (score && write(score.get(), "-900", 4) != 4) errno = 0;
  mlockall(MCL_CURRENT);
}

UniqueFd term_signals() {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, nullptr);
  return UniqueFd(signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK));
}

}  // namespace

int guard_main(int argc, char** argv, FindOp find) {
  std::string run;
  std::string path;
  for (int i = 2; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--run") == 0) run = argv[i + 1];
    if (std::strcmp(argv[i], "--state") == 0) path = argv[i + 1];
  }
  if (run.empty() || fcntl(kGuardSocketFd, F_GETFD) < 0 || fcntl(kGuardUndoFd, F_GETFD) < 0 || fcntl(kGuardAgentFd, F_GETFD) < 0) {
    std::fputs("capsize guard: started by an agent, not by hand\n", stderr);
    return kExitUsage;
  }
  become_quiet();
  const UniqueFd signals = term_signals();
  Watch watch(kGuardSocketFd, kGuardAgentFd, signals.get());
  watch.say(GuardWord::ready);
  become_hard_to_kill();
  if (watch.run() == Watch::End::goodbye) return 0;
  try {
    StateDir state(UniqueFd(kGuardUndoFd), path);
    asio::io_context io;
    std::exception_ptr problem;
    asio::co_spawn(io, undo_everything(state, run, watch.take_shared(), std::move(find)), [&](std::exception_ptr error) { problem = error; });
    io.run();
    return problem ? kExitResidue : 0;  // the journal says what is left
  } catch (const std::exception&) {
    return kExitResidue;
  }
}

}  // namespace capsize
