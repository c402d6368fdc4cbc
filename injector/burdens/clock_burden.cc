// A command with a wrong clock. The kernel has one wall clock for everybody, so the command is started with libfaketime, which answers its
// questions about the time; and in a pid namespace of its own, so that all that it starts ends with it.
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "injector/base/error.h"
#include "injector/base/json_lines.h"
#include "injector/base/spawn.h"
#include "injector/burdens/bearer_wire.h"
#include "injector/burdens/burden.h"

namespace capsize {
namespace {

class ClockBurden final : public Burden {
 public:
  explicit ClockBurden(const Json& order) : command_(order.at("command").get<std::vector<std::string>>()), shift_(order.at("shift").get<double>()), library_(order.at("library").get<std::string>()) {}

  Json take_up(const std::function<void()>& begun) override {
    if (::access(library_.c_str(), R_OK) != 0) throw system_error(errno, library_ + " cannot be read", "install libfaketime there");
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
      if (errno != EPERM) throw system_error(errno, "the command cannot have a pid namespace of its own");
      throw Error(ErrorKind::privilege, "the command cannot have a pid namespace of its own: what it starts could outlive capsize", "run capsize there with CAP_SYS_ADMIN (as root)");
    }
    // libfaketime keeps a semaphore and shared memory there, and nobody would take them away from a command that is killed.
    const bool apart = ::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0;
    if (!apart || (::mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") != 0 && errno != ENOENT)) {
      throw system_error(errno, "the command cannot have a /dev/shm of its own");
    }
    begun();
    Pipe said = make_pipe();
    const pid_t first = ::fork();  // this process has no other threads
    if (first < 0) throw system_error(errno, "no process could be made for the command");
    if (first == 0) be_first(std::move(said));
    said.write.reset();
    std::string problem;
    char text[4096];
    for (ssize_t count = 0; (count = ::read(said.read.get(), text, sizeof text)) > 0;) problem.append(text, static_cast<std::size_t>(count));
    if (!problem.empty()) throw error_from_json(parse_json_line(problem));
    return {{"command", command_}};
  }

 private:
  // Process 1 of the namespace: when it ends, the kernel ends all others there.
  [[noreturn]] void be_first(Pipe said) const {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(kBearerSocketFd);
    said.read.reset();
    pollfd parent = {said.write.get(), 0, 0};
    if (::poll(&parent, 1, 0) != 0) std::_Exit(0);  // nobody reads there: the bearer died before it was said that we die with it
    Child child;
    try {
      SpawnRequest request;
      request.command = command_;
      request.from_root = true;
      request.environment = clock_environment(library_, shift_);
      child = spawn(request);
    } catch (const Error& problem) {
      const std::string text = to_json(problem).dump(-1, ' ', true, Json::error_handler_t::replace);
      if (::write(said.write.get(), text.data(), text.size()) < 0) std::_Exit(1);
      std::_Exit(1);
    }
    said.write.reset();
    // All that nobody else waits for; with the command, everything here ends.
    for (int status = 0;;) {
      const pid_t ended = ::waitpid(-1, &status, 0);
      if (ended == child.pid || (ended < 0 && errno != EINTR)) std::_Exit(0);
    }
  }

  std::vector<std::string> command_;
  double shift_;
  std::string library_;
};

}  // namespace

std::map<std::string, std::string> clock_environment(const std::string& library, double shift) {
  return {{"LD_PRELOAD", library}, {"FAKETIME", fmt::format("{:+.3f}", shift)}, {"FAKETIME_DONT_FAKE_MONOTONIC", "1"}, {"FAKETIME_NO_CACHE", "1"}};
}

std::unique_ptr<Burden> clock_burden(const Json& order) { return std::make_unique<ClockBurden>(order); }

}  // namespace capsize
