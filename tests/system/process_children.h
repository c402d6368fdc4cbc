// Real processes for the tests on processes: children of the test, ended with it, whatever state they were left in.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "injector/fault.h"
#include "injector/ops/process_ops.h"

namespace capsize::process_test {

constexpr Duration kPatience = std::chrono::seconds(20);  // for conditions: the machine may be busy

struct Shared {  // between the test and its children
  std::atomic<std::uint64_t> beats{0};
  std::atomic<std::uint64_t> made{0};
  std::atomic<std::uint64_t> ran{0};
  std::atomic<int> word{0};
};

class SharedMemory {
 public:
  SharedMemory() : shared_(new (::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared) {}
  ~SharedMemory() { ::munmap(shared_, sizeof(Shared)); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  Shared* operator->() const { return shared_; }
  Shared& operator*() const { return *shared_; }

 private:
  Shared* shared_;
};

class Child {
 public:
  explicit Child(const std::function<int()>& body) : pid_(::fork()) {
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (int signal = 1; signal < 32; ++signal) ::signal(signal, SIG_DFL);  // the test's own say that the test was ended
      ::_exit(body());
    }
  }
  explicit Child(int pid) : pid_(pid) {}
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int pid() const { return pid_; }
  // Its wait status when it has ended.
  std::optional<int> poll() {
    int status = 0;
    if (pid_ <= 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
    pid_ = -1;
    return status;
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  int pid_;
};

// The control thread of a host, as far as ops are concerned.
class Control {
 public:
  Control() : context{clock, {}, {}} {}

  // Lets everything run until the condition holds; false when patience ended first.
  bool until(const std::function<bool()>& condition) {
    const TimePoint end = clock.now() + kPatience;
    while (!condition()) {
      if (clock.now() > end) return false;
      io.restart();
      if (io.run_one_for(std::chrono::milliseconds(1)) == 0) ::usleep(200);
    }
    return true;
  }

  template <class T>
  T run(Task<T> task) {
    struct Outcome {  // shared: what ends when patience has ended writes into nothing dead
      std::exception_ptr problem;
      T out{};
      bool done = false;
    };
    const auto outcome = std::make_shared<Outcome>();
    asio::co_spawn(io, std::move(task), [outcome](std::exception_ptr error, T value) {
      outcome->problem = error;
      outcome->out = std::move(value);
      outcome->done = true;
    });
    if (!until([&] { return outcome->done; })) throw std::runtime_error("an op did not end");
    if (outcome->problem) std::rethrow_exception(outcome->problem);
    return std::move(outcome->out);
  }

  Json look(const Op& op) { return run(find_op(op.type)->look(op.args, context)); }
  Applied apply(const Op& op) { return run(find_op(op.type)->apply(op.args, context)); }
  UndoResult undo(const Op& op) { return run(find_op(op.type)->undo(op.args, context)); }
  FaultPlan plan(int pid, Json params = Json::object());
  FaultPlan plan(const char* fault, Json target, Json params = Json::object(), std::set<std::string> allow = {}, std::uint64_t seed = 1);

  SystemClock clock;
  asio::io_context io;
  OpContext context;
};

class LocalView final : public HostView {
 public:
  explicit LocalView(OpContext& context) : context_(context) {}
  Task<Json> inspect(Op query) override { return find_op(query.type)->look(query.args, context_); }

 private:
  OpContext& context_;
};

// Of a target of type "process" or, where it says so itself, another.
inline FaultPlan Control::plan(const char* fault, Json target, Json params, std::set<std::string> allow, std::uint64_t seed) {
  FaultRequest request;
  request.params = std::move(params);
  request.target_type = target.value("type", "process");
  target.erase("type");
  request.target = std::move(target);
  request.allow = std::move(allow);
  request.seed = seed;
  LocalView view(context);
  return run(find_fault(fault)->plan(std::move(request), view));
}

inline FaultPlan Control::plan(int pid, Json params) { return plan("process.pause", {{"pid", pid}}, std::move(params)); }

// Why it is not planned.
struct WhyNot {
  ErrorKind kind = ErrorKind::bug;
  std::string text = "it was planned";
};
inline WhyNot why_not(Control& control, const char* fault, Json target, Json params = Json::object(), std::set<std::string> allow = {}) {
  try {
    control.plan(fault, std::move(target), std::move(params), std::move(allow));
  } catch (const Error& error) {
    return {error.kind(), error.what()};
  }
  return {};
}

// Listens, at a port that the kernel chooses or that is given, and tells it.
inline int listen_at(const char* address, int port, int* opened = nullptr) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, address, &where.sin_addr);
  socklen_t size = sizeof where;
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&where), size) != 0 || ::listen(fd, 5) != 0) return -1;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&where), &size);
  if (opened != nullptr) *opened = fd;
  return ntohs(where.sin_port);
}

class Listener {  // of the test itself: closed with it
 public:
  Listener() : port_(listen_at("127.0.0.1", 0, &fd_)) {}
  ~Listener() { ::close(fd_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  int port() const { return port_; }

 private:
  int fd_ = -1;
  int port_;
};

inline int sleep_on() {
  for (;;) ::pause();
  return 0;
}

// A program of this test alone, gone with it.
class Program {
 public:
  Program() {
    std::string pattern = (std::filesystem::temp_directory_path() / "capsize-program-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    std::filesystem::copy_file("/bin/sleep", folder_ / "server");
  }
  ~Program() { std::filesystem::remove_all(folder_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  std::string path() const { return (folder_ / "server").string(); }
  void replace() const {
    std::filesystem::copy_file("/bin/sleep", folder_ / "new");
    std::filesystem::rename(folder_ / "new", folder_ / "server");
  }
  void run(Control& control, std::vector<std::unique_ptr<Child>>& children, const char* argument = "600", const char* second = nullptr) const {
    const std::string file = path();
    children.push_back(std::make_unique<Child>([&file, argument, second] {
      ::execl(file.c_str(), "server", argument, second, nullptr);
      return 1;
    }));
    const int pid = children.back()->pid();
    if (!control.until([&] {
          const auto program = ProcFs().exe(pid);
          return program && program->path.find("/server") != std::string::npos;
        })) {
      throw std::runtime_error("the program did not start");
    }
  }

 private:
  std::filesystem::path folder_;
};

// Counts, with a rest after each.
inline int beat(Shared& shared) {
  shared.word = 1;
  for (;;) {
    shared.beats.fetch_add(1);
    ::usleep(1000);
  }
}

// So many threads that count without rest.
inline int spin(Shared& shared, int threads) {
  for (int i = 1; i < threads; ++i) {
    std::thread([&shared] {
      for (;;) shared.beats.fetch_add(1, std::memory_order_relaxed);
    }).detach();
  }
  shared.word = 1;
  for (;;) shared.beats.fetch_add(1, std::memory_order_relaxed);
}

inline std::vector<int> pids_of(const FaultPlan& plan) {
  std::vector<int> out;
  for (const Step& step : plan.steps) out.push_back(step.apply.args["identity"]["pid"]);
  return out;
}

// Its exit code, when it has ended in time; negative: it has not, or by a signal.
inline int exit_code_of(Child& child) {
  Control control;
  std::optional<int> status;
  control.until([&] {
    status = child.poll();
    return status.has_value();
  });
  return status && WIFEXITED(*status) ? WEXITSTATUS(*status) : -1;
}

inline std::string states(int pid) { return count_states(ProcFs().threads(pid)).dump(); }
inline bool all_in(int pid, char state) {
  const auto threads = ProcFs().threads(pid);
  for (const ThreadLook& thread : threads) {
    if (thread.state != state) return false;
  }
  return !threads.empty();
}
inline bool runs(int pid) {
  const auto threads = ProcFs().threads(pid);
  return !has_ended(threads) && !is_stopped(threads);
}

// A folder for marks, gone with the test.
class StateFolder {
 public:
  explicit StateFolder(Control& control) {
    std::string pattern = (std::filesystem::temp_directory_path() / "capsize-state-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    control.context.state_folder = path_.string();
  }
  ~StateFolder() {
    std::filesystem::remove_all(path_);
  }
  StateFolder(const StateFolder&) = delete;
  StateFolder& operator=(const StateFolder&) = delete;
  std::size_t marks() const {
    const auto folder = path_ / "marks";
    if (!std::filesystem::exists(folder)) return 0;
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
  }

 private:
  std::filesystem::path path_;
};

}  // namespace capsize::process_test
