#include "experiments/lab/child_process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "injector/base/error.h"
#include "injector/base/unique_fd.h"

namespace capsize {
namespace {

constexpr int kStartTimeField = 22;  // of /proc/PID/stat, counted from 1 as proc(5) does
constexpr int kExecFailed = 127;

struct Stat {
  char state = 'X';
  std::uint64_t start_time = 0;
};

std::optional<Stat> read_stat(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  // The command name is in parentheses and may itself hold spaces and parentheses.
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  Stat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < kStartTimeField; ++field) fields >> skipped;
  if (!(fields >> stat.start_time)) return std::nullopt;
  return stat;
}

bool has_ended(char state) { return state == 'Z' || state == 'X' || state == 'x'; }

bool become_user(const LabUser& user) {
  return ::chdir("/") == 0 && ::setgroups(0, nullptr) == 0 && ::setresgid(user.gid, user.gid, user.gid) == 0 && ::setresuid(user.uid, user.uid, user.uid) == 0;
}

// Between fork and exec: only what is safe there, in a process that may have had threads.
[[noreturn]] void become(const LabCommand& command, char* const* argv, pid_t parent, int report) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  int wanted[3] = {command.in, command.out, command.err};
  for (int& fd : wanted) {
    if (fd < 0) fd = null;
  }
  bool ok = true;
  for (int target = 0; target < 3; ++target) {
    // dup2 onto itself would leave CLOEXEC set; and a later source must not be overwritten first.
    const int copy = ::fcntl(wanted[target], F_DUPFD_CLOEXEC, 10);
    wanted[target] = copy;
    ok = ok && copy >= 0;
  }
  for (int target = 0; ok && target < 3; ++target) ok = ::dup2(wanted[target], target) == target;
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD}) ::signal(number, SIG_DFL);
  if (command.passed_on >= 0) ok = ok && ::fcntl(command.passed_on, F_SETFD, 0) == 0;
  if (command.own_session) ::setsid();
  // Before the parent-death signal is asked for: a change of user takes it back.
  if (ok && command.user) ok = become_user(*command.user);
  if (command.dies_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(kExecFailed);  // it died before we asked
  }
  if (ok) ::execv(argv[0], argv);
  const int problem = errno;
  [[maybe_unused]] const ssize_t told = ::write(report, &problem, sizeof problem);
  ::_exit(kExecFailed);
}

UniqueFd open_process(const LabProcess& process) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  // The descriptor names one process for good; the start time says whether it is ours.
  if (fd && state_of(process) == LabProcessState::gone) fd.reset();
  return fd;
}

int milliseconds_until(const Clock& clock, TimePoint deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock.now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

}  // namespace

Json to_json(const LabProcess& process) { return {{"pid", process.pid}, {"start_time", process.start_time}}; }

std::optional<LabProcess> lab_process_from_json(const Json& json) {
  if (!json.is_object() || !json.contains("pid") || !json.contains("start_time")) return std::nullopt;
  const Json& pid = json.at("pid");
  const Json& start_time = json.at("start_time");
  if (!pid.is_number_integer() || !start_time.is_number_unsigned() || pid.get<std::int64_t>() <= 1) return std::nullopt;
  return LabProcess{pid.get<pid_t>(), start_time.get<std::uint64_t>()};
}

std::optional<LabProcess> find_lab_process(pid_t pid) {
  const auto stat = read_stat(pid);
  if (!stat || has_ended(stat->state)) return std::nullopt;
  return LabProcess{pid, stat->start_time};
}

std::string_view to_string(LabProcessState state) {
  switch (state) {
    case LabProcessState::running: return "running";
    case LabProcessState::stopped: return "stopped";
    case LabProcessState::gone: return "gone";
  }
  return "gone";
}

LabProcessState state_of(const LabProcess& process) {
  const auto stat = read_stat(process.pid);
  if (!stat || has_ended(stat->state) || stat->start_time != process.start_time) return LabProcessState::gone;
  return stat->state == 'T' || stat->state == 't' ? LabProcessState::stopped : LabProcessState::running;
}

LabProcess start(const LabCommand& command) {
  std::vector<char*> argv;
  for (const std::string& word : command.words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw system_error(errno, "cannot make a pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw system_error(errno, "cannot start " + command.words.front());
  if (child == 0) become(command, argv.data(), parent, write_end.get());
  write_end.reset();
  int problem = 0;
  ssize_t got = 0;
  do {
    got = ::read(read_end.get(), &problem, sizeof problem);  // end of file: the exec closed it
  } while (got < 0 && errno == EINTR);
  if (got == sizeof problem) {
    ::waitpid(child, nullptr, 0);
    throw Error(ErrorKind::unavailable, "cannot execute " + command.words.front() + ": " + std::strerror(problem));
  }
  // Not waited for yet, so the pid is still its own, even if it is a zombie by now.
  const auto stat = read_stat(child);
  return {child, stat ? stat->start_time : 0};
}

bool signal_all(const std::vector<LabProcess>& processes, int signal) {
  bool any = false;
  for (const LabProcess& process : processes) {
    const UniqueFd fd = open_process(process);
    if (fd && ::syscall(SYS_pidfd_send_signal, fd.get(), signal, nullptr, 0) == 0) any = true;
  }
  return any;
}

bool wait_until_gone(const Clock& clock, const std::vector<LabProcess>& processes, TimePoint deadline) {
  bool all_gone = true;
  for (const LabProcess& process : processes) {
    const UniqueFd fd = open_process(process);
    pollfd ended{fd.get(), POLLIN, 0};  // a negative descriptor, of one that has gone, is ignored
    while (fd && ::poll(&ended, 1, milliseconds_until(clock, deadline)) < 0 && errno == EINTR) {
    }
    if (state_of(process) != LabProcessState::gone) all_gone = false;
    ::waitpid(process.pid, nullptr, WNOHANG);  // where it is our child; else an error that says nothing
  }
  return all_gone;
}

}  // namespace capsize
