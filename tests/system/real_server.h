// A server program of Debian's, started by a test on loopback in a folder of its own, ended by its pid.
#pragma once
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <csignal>
#include <string>
#include <vector>

#include "experiments/lab/child_process.h"
#include "injector/base/unique_fd.h"
#include "tests/system/machine.h"

namespace capsize::testing {

inline sockaddr_in loopback(int port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(static_cast<std::uint16_t>(port));
  out.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return out;
}

// A port of loopback that nobody has, for SOCK_STREAM or SOCK_DGRAM.
inline int free_port(int type) {
  const UniqueFd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof(address);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) throw system_error(errno, "cannot bind a test's socket");
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

inline bool listens(int port) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

class RealServer {
 public:
  RealServer(std::vector<std::string> words, std::filesystem::path log) : log_(std::move(log)) {
    const UniqueFd out(::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    LabCommand command;
    command.words = std::move(words);
    command.out = out.get();
    command.err = out.get();
    command.dies_with_parent = true;
    process_ = start(command);
  }
  ~RealServer() { end(); }
  RealServer(const RealServer&) = delete;
  RealServer& operator=(const RealServer&) = delete;

  void stop() { signal_all({process_}, SIGSTOP); }
  void resume() { signal_all({process_}, SIGCONT); }
  void end() {
    signal_all({process_}, SIGKILL);
    wait_until_gone(SystemClock(), {process_}, SystemClock().now() + std::chrono::seconds(10));
  }
  std::string log() const { return read_text(log_); }

 private:
  std::filesystem::path log_;
  LabProcess process_;
};

}  // namespace capsize::testing
