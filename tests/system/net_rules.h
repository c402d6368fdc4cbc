// What the tests on the rules back end share: impairments by rules, tries at a connection, and what nft says.
#pragma once
#include <poll.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

#include <cerrno>
#include <memory>

#include "injector/net/backends.h"
#include "tests/system/net_pair.h"

namespace capsize::net_test {

inline const std::string kNear4 = "10.77.0.1";
inline const std::string kNear6 = "fd77::1";

inline PacketEffect refusal_of(Refusal refusal) {
  PacketEffect effect;
  effect.refusal = refusal;
  return effect;
}

inline PacketEffect loss_of(double share) {
  PacketEffect effect;
  effect.loss = LossEffect{share, {}};
  return effect;
}

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

inline std::string name_in_run(const NetworkNamespace& place) { return place.path.substr(place.path.rfind('/') + 1); }

// nft in that namespace, by the operator's own program.
inline std::string nft(const NetworkNamespace& place, std::vector<std::string> words) {
  words.insert(words.begin(), {"ip", "netns", "exec", name_in_run(place), "nft"});
  return output_of_tool(words);
}
inline std::string ruleset(const NetworkNamespace& place) { return nft(place, {"-s", "list", "ruleset"}); }

template <class F>
bool comes_true(F&& condition, Duration patience = std::chrono::seconds(20)) {
  const SystemClock clock;
  const TimePoint end = clock.now() + patience;
  while (!condition()) {
    if (clock.now() > end) return false;
    ::usleep(200);
  }
  return true;
}

// A pair whose ends have found each other (a new wire takes up to a second), and that may answer by ICMP as often as asked (a host answers
// about once a second).
class ReadyPair : public NetPair {
 public:
  ReadyPair() {
    for (const NetworkNamespace& place : {near, far}) {
      run_tool({"ip", "netns", "exec", name_in_run(place), "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"});
    }
    for (const std::string& host : {kFar4, kFar6}) {
      if (!comes_true([&] { return try_to_connect(near, host, 1, 50) == ECONNREFUSED; })) throw std::runtime_error(host + " is not reached");
    }
  }
};

// A process that does something, says so, and waits to be killed.
class Keeper {
 public:
  explicit Keeper(const std::function<void()>& begin) {
    int ends[2];
    must(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close(ends[0]);
      keep(begin, ends[1]);
    }
    ::close(ends[1]);
    char word = 0;
    const auto got = ::read(ends[0], &word, 1);
    ::close(ends[0]);
    if (got != 1 || word != 'y') throw std::runtime_error("the keeper did not begin");
  }
  ~Keeper() { kill(); }
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;
  pid_t pid() const { return pid_; }
  void kill(bool wait = true) {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    if (wait) reap();
  }
  void reap() {
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  [[noreturn]] static void keep(const std::function<void()>& begin, int out) {
    char word = 'y';
    try {
      begin();
    } catch (const std::exception& error) {
      word = 'n';
      const std::string text = std::string(error.what()) + "\n";
      [[maybe_unused]] const auto written = ::write(2, text.data(), text.size());
    }
    [[maybe_unused]] const auto said = ::write(out, &word, 1);
    for (;;) ::pause();
  }
  pid_t pid_ = -1;
};

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace capsize::net_test
