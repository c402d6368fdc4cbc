#include "experiments/cli/room_terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstdlib>

namespace capsize {
namespace {

constexpr Duration kLookAgain = std::chrono::milliseconds(500);
constexpr std::size_t kMaxLineBytes = 16384;  // without an end of line; a terminal gives lines of 4096 at most

bool in_foreground(int fd) { return ::tcgetpgrp(fd) == ::getpgrp(); }

void hand_over(std::string& waiting, const Room& room) {
  for (std::size_t end; (end = waiting.find('\n')) != std::string::npos;) {
    const std::string line = waiting.substr(0, end);
    waiting.erase(0, end + 1);
    if (room.on_line) room.on_line(line);
  }
  if (waiting.size() > kMaxLineBytes) waiting.clear();
}

}  // namespace

std::unique_ptr<RoomTerminal> RoomTerminal::open() {
  if (::isatty(STDIN_FILENO) == 0) return nullptr;
  char name[256];
  if (::ttyname_r(STDIN_FILENO, name, sizeof name) != 0) return nullptr;
  UniqueFd fd(::open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd) return nullptr;
  return std::unique_ptr<RoomTerminal>(new RoomTerminal(std::move(fd)));
}

Task<> RoomTerminal::listen(Clock& clock) {
  const auto executor = co_await asio::this_coro::executor;
  asio::posix::stream_descriptor input(executor, ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  std::string waiting;
  for (;;) {
    if (!in_foreground(fd_.get())) {
      co_await clock.sleep(kLookAgain);
      continue;
    }
    co_await input.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    if (!in_foreground(fd_.get())) continue;
    char buffer[4096];
    const ssize_t count = ::read(fd_.get(), buffer, sizeof buffer);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) co_return;
    if (count == 0) {  // Ctrl-D, which ends nothing, or a terminal that hangs up, whose signal ends the run
      co_await clock.sleep(kLookAgain);
      continue;
    }
    waiting.append(buffer, static_cast<std::size_t>(count));
    hand_over(waiting, room);
  }
}

}  // namespace capsize
