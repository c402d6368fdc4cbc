// The agent's side of its guard.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstring>
#include <deque>

#include "injector/base/error.h"
#include "injector/base/spawn.h"
#include "injector/base/within.h"
#include "injector/undo/guard.h"
#include "injector/undo/guard_wire.h"

namespace capsize {
namespace {

constexpr auto kReadyLimit = std::chrono::seconds(10);

struct Answer {  // one waits for the guard's word
  explicit Answer(const asio::any_io_executor& executor) : arrived(executor, asio::steady_timer::time_point::max()) {}
  asio::steady_timer arrived;
  bool done = false;
  GuardWord word = GuardWord::full;
  void give(GuardWord said) {
    word = said;
    done = true;
    arrived.cancel();
  }
};

struct Link : std::enable_shared_from_this<Link> {
  Link(const asio::any_io_executor& executor, Clock& clock_, UniqueFd fd, Child child_)
      : clock(clock_), socket(executor, fd.release()), child(std::move(child_)), ready(std::make_shared<Answer>(executor)) {}

  bool send(GuardWord word, int fd = -1) {
    char byte = static_cast<char>(word);
    iovec data = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
    if (fd >= 0) {
      message.msg_control = space;
      message.msg_controllen = sizeof space;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    return sendmsg(socket.native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
  }

  void lose(const std::string& because) {
    if (lost || leaving) return;
    lost = true;
    kill_child(child);  // a frozen one must not thaw and undo a second time
    ready->give(GuardWord::full);
    fail_answers();
    if (on_lost) on_lost(because);
  }

  void fail_answers() {
    while (!answers.empty()) {
      answers.front()->give(GuardWord::full);
      answers.pop_front();
    }
  }

  void hear(GuardWord word) {
    unanswered = 0;
    if (word == GuardWord::ready) ready->give(word);
    if ((word == GuardWord::shared || word == GuardWord::full) && !answers.empty()) {
      answers.front()->give(word);
      answers.pop_front();
    }
    if (word == GuardWord::told && !was_told && !leaving) {
      was_told = true;
      if (on_lost) on_lost("the guard was told to end (SIGTERM)");
    }
  }

  Clock& clock;
  asio::posix::stream_descriptor socket;
  Child child;
  std::shared_ptr<Answer> ready;
  std::deque<std::shared_ptr<Answer>> answers;
  std::function<void(std::string)> on_lost;
  int unanswered = 0;  // pings without a word back: counted, not timed, so that our own pause is not taken for the guard's
  bool lost = false;
  bool leaving = false;
  bool was_told = false;
};

Task<> listen(std::shared_ptr<Link> link) {
  for (;;) {
    boost::system::error_code error;
    co_await link->socket.async_wait(asio::posix::stream_descriptor::wait_read, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    for (;;) {
      char byte = 0;
      const ssize_t count = recv(link->socket.native_handle(), &byte, 1, MSG_DONTWAIT);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) break;
      if (count <= 0) {
        link->lose("the guard is gone");
        co_return;
      }
      link->hear(static_cast<GuardWord>(byte));
    }
  }
}

Task<> ping(std::shared_ptr<Link> link) {
  const int most = static_cast<int>(kGuardLease / kGuardPing);
  while (!link->lost && !link->leaving) {
    link->send(GuardWord::ping);
    if (link->unanswered++ > most) link->lose(fmt::format("the guard was silent for {} s", kGuardLease.count()));
    co_await link->clock.sleep(kGuardPing);
  }
}

Task<> watch(std::shared_ptr<Link> link) {
  co_await wait_for_end(link->child.pidfd.get());
  const auto ended = reap(link->child);
  link->lose("the guard ended by itself: " + describe(ended.value_or(Ended{})));
}

Task<> wait_for(std::shared_ptr<Answer> answer) {
  while (!answer->done) {
    boost::system::error_code ignored;
    co_await answer->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

class ProcessGuard final : public Guard {
 public:
  ProcessGuard(std::shared_ptr<Link> link, ProcessIdentity identity) : link_(std::move(link)), identity_(identity) {
    link_->on_lost = [this](const std::string& because) {
      if (on_lost) on_lost(because);
    };
  }
  ~ProcessGuard() override {
    link_->on_lost = nullptr;
    link_->leaving = true;
    boost::system::error_code ignored;
    link_->socket.close(ignored);
  }
  ProcessIdentity identity() const override { return identity_; }

  Task<> share(int fd) override {
    const auto link = link_;
    if (link->lost) throw Error(ErrorKind::unavailable, "the guard is gone: no connection is used without it");
    const auto executor = co_await asio::this_coro::executor;
    const auto answer = std::make_shared<Answer>(executor);
    if (!link->send(GuardWord::share, fd)) throw Error(ErrorKind::unavailable, "the guard does not take a connection: it does not read");
    link->answers.push_back(answer);
    co_await wait_for(answer);
    if (answer->word != GuardWord::shared) throw Error(ErrorKind::unavailable, "the guard did not take a connection: nothing was sent over it");
  }

  void goodbye() override {
    link_->leaving = true;
    link_->send(GuardWord::goodbye);
  }

 private:
  std::shared_ptr<Link> link_;
  ProcessIdentity identity_;
};

Task<std::unique_ptr<Guard>> start(Clock& clock, std::vector<std::string> command, StateDir state, std::string run) {
  const auto executor = co_await asio::this_coro::executor;
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw system_error(errno, "the guard: no socket pair");
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  const UniqueFd self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!self) throw system_error(errno, "the guard: this process cannot be named", "a kernel since 5.3 is needed");
  SpawnRequest request;
  request.command = std::move(command);
  for (const std::string& word : {std::string("--run"), run, std::string("--state"), state.path().string()}) request.command.push_back(word);
  request.descriptors = {{kGuardSocketFd, theirs.get()}, {kGuardUndoFd, state.undo_fd()}, {kGuardAgentFd, self.get()}};
  request.from_root = true;
  Child child = spawn(request);
  const int pid = child.pid;
  const auto link = std::make_shared<Link>(executor, clock, std::move(ours), std::move(child));
  asio::co_spawn(executor, listen(link), asio::detached);
  asio::co_spawn(executor, watch(link), asio::detached);
  auto waiting = within<void>(clock, kReadyLimit, wait_for(link->ready));
  const auto in_time = co_await std::move(waiting);
  if (!in_time || link->ready->word != GuardWord::ready) {
    link->lose("the guard did not start");
    throw Error(ErrorKind::unavailable, "the guard did not start: without it nothing is injected", "run capsize guard by hand to see why");
  }
  const ProcessIdentity identity = identity_of(pid);
  asio::co_spawn(executor, ping(link), asio::detached);
  std::unique_ptr<Guard> guard = std::make_unique<ProcessGuard>(link, identity);
  co_return guard;
}

}  // namespace

StartGuard guard_process(Clock& clock, std::vector<std::string> command) {
  return [&clock, command](const StateDir& state, std::string run) { return start(clock, command, state.duplicate(), std::move(run)); };
}

}  // namespace capsize
