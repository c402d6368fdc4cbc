// What the tests on the rules back end share: impairments by rules, tries at a connection, and what nft says.
#pragma once
#include <poll.h>
#include <sys/fsuid.h>

#include <cerrno>

#include "tests/system/net_hold.h"

namespace capsize::net_test {

inline const std::string kNear4 = "10.77.0.1";
inline const std::string kNear6 = "fd77::1";

// Of packets to that port, met as `near` sends them or as `far` receives them.
inline Impairment by_rules(const NetPair& net, Hook hook, const PacketEffect& effect, Protocol protocol = Protocol::any, std::uint16_t port = kPort) {
  Impairment out = impairment(hook == Hook::leave ? net.near : net.far, effect, protocol, port);
  out.backend = ImpairBackend::rules;
  out.affected.front().hook = hook;
  return out;
}

// 0: connected; else the errno, ETIMEDOUT when nothing was heard for that long.
inline int try_to_connect(const NetworkNamespace& from, const std::string& host, std::uint16_t port = kPort, int patience_ms = 400) {
  const UniqueFd fd = socket_in(from, host, SOCK_STREAM | SOCK_NONBLOCK);
  const SocketAddress address = socket_address(host, port);
  if (::connect(fd.get(), address.get(), address.size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd wait{fd.get(), POLLOUT, 0};
  if (::poll(&wait, 1, patience_ms) == 0) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

// The errno of sending a datagram, or of what came back for it within a moment; 0: nothing came back.
struct DatagramTry {
  int send_error = 0;
  int answer = 0;
};
inline DatagramTry try_datagram(const NetworkNamespace& from, const std::string& host, std::uint16_t port = kPort) {
  const UniqueFd fd = connected_in(from, host, port, SOCK_DGRAM);
  DatagramTry out;
  if (::send(fd.get(), "x", 1, 0) < 0) out.send_error = errno;
  pollfd wait{fd.get(), POLLIN, 0};
  if (::poll(&wait, 1, 200) == 0) return out;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  out.answer = error;
  return out;
}

inline std::string output_of_tool(const std::vector<std::string>& words) {
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(ends[1], 1);
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string out;
  char buffer[8192];
  for (ssize_t size; (size = ::read(ends[0], buffer, sizeof buffer)) > 0;) out.append(buffer, static_cast<std::size_t>(size));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (status != 0) out += "(exit status " + std::to_string(status) + ")";
  return out;
}

// nft in that namespace, by the operator's own program.
inline std::string nft(const NetworkNamespace& place, std::vector<std::string> words) {
  words.insert(words.begin(), {"ip", "netns", "exec", name_of(place), "nft"});
  return output_of_tool(words);
}
inline std::string ruleset(const NetworkNamespace& place) { return nft(place, {"-s", "list", "ruleset"}); }

// A pair that answers by ICMP as often as asked (a host answers about once a second).
class ReadyPair : public NetPair {
 public:
  ReadyPair() {
    for (const NetworkNamespace& place : {near, far}) {
      run_tool({"ip", "netns", "exec", name_of(place), "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"});
    }
  }
};

}  // namespace capsize::net_test
