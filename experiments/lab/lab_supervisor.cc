#include "experiments/lab/lab_supervisor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "experiments/lab/http_exchange.h"
#include "experiments/lab/lab_info.h"
#include "experiments/lab/session_token.h"
#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/base/rng.h"

namespace capsize {
namespace {

constexpr Duration kReadyLimit = std::chrono::seconds(15);
constexpr Duration kPrepareLimit = std::chrono::seconds(25);  // each step of making the database
constexpr Duration kLockLimit = std::chrono::seconds(2);  // for a supervisor that is just ending
constexpr Duration kLook = std::chrono::milliseconds(20);
constexpr Duration kAnswerLimit = std::chrono::seconds(2);
constexpr Duration kEndLimit = std::chrono::seconds(5);
constexpr Duration kDatabaseEndLimit = std::chrono::seconds(2);
constexpr int kSpareConnections = 10;  // of the database, for those that keep some to themselves and for a look
constexpr int kPortAttempts = 3;
constexpr int kMostRestarts = 100;  // of one server: one that ends again and again is left alone at last
constexpr std::size_t kKeyBytes = 32;
// HAProxy first binds the socket under a name that is up to 20 bytes longer.
constexpr std::size_t kSocketPathLimit = sizeof(sockaddr_un::sun_path) - 21;

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&set, number);
  return set;
}

bool is_free(int port) {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<std::uint16_t>(port));
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0;
}

// Below the range from which the kernel takes ports for clients: the load itself can't occupy a port of a part
// that is being restarted.
int choose_port_base(int count) {
  constexpr int kLowest = 20'000;
  constexpr int kSpan = 12'000;
  constexpr int kAttempts = 200;
  Rng rng(std::stoull(secret_hex(8), nullptr, 16));
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int base = kLowest + static_cast<int>(rng.below(kSpan));
    int usable = 0;
    while (usable < count && is_free(base + usable)) ++usable;
    if (usable == count) return base;
  }
  throw Error(ErrorKind::unavailable, fmt::format("no {} free ports in a row were found on 127.0.0.1", count), "give --port-base");
}

std::string haproxy_path() {
  std::string_view path = ::getenv("PATH") == nullptr ? "" : ::getenv("PATH");
  const std::string everywhere = std::string(path) + ":/usr/sbin";
  path = everywhere;
  while (!path.empty()) {
    const std::string_view folder = path.substr(0, path.find(':'));
    path.remove_prefix(std::min(path.size(), folder.size() + 1));
    const std::string program = std::string(folder) + "/haproxy";
    if (!folder.empty() && ::access(program.c_str(), X_OK) == 0) return program;
  }
  throw Error(ErrorKind::unavailable, "haproxy is neither on PATH nor in /usr/sbin", "install the package haproxy");
}

std::uint64_t open_files_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_max;
}

}  // namespace

LabSupervisor::LabSupervisor(Clock& clock, LabOptions options, bool owned)
    : clock_(clock), options_(std::move(options)), owned_(owned), profile_(lab_profile(options_.profile)) {
  const sigset_t set = watched_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) throw system_error(errno, "cannot make a signalfd");
  lock_folder();
}

LabSupervisor::~LabSupervisor() {
  end_parts();
  if (folder_) remove_lab_files(options_.dir, false);
}

void LabSupervisor::lock_folder() {
  const std::string name = options_.dir.string();
  UniqueFd folder(::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) throw system_error(errno, "cannot open the lab's folder " + name);
  const TimePoint deadline = clock_.now() + kLockLimit;
  while (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
    if (clock_.now() > deadline || told_to_end(kLook)) {
      throw Error(ErrorKind::refused, "another lab is running in " + name, "end it with capsize lab down, or give another folder");
    }
  }
  folder_ = std::move(folder);
}

// Whether we are to end, now or within `wait`: a signal came, or the owner has gone.
bool LabSupervisor::told_to_end(Duration wait) {
  if (ending_) return true;
  pollfd watched[2] = {{signals_.get(), POLLIN, 0}, {owned_ ? STDIN_FILENO : -1, POLLIN, 0}};
  const int limit = wait == Duration::max() ? -1 : static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(wait).count());
  ::poll(watched, 2, limit);
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo != SIGCHLD) ending_ = true;
  }
  if (watched[1].revents != 0) {
    char ignored[64];
    if (::read(STDIN_FILENO, ignored, sizeof ignored) <= 0) ending_ = true;
  }
  reap();
  return ending_;
}

void LabSupervisor::reap() {
  for (Part& part : parts_) {
    int status = 0;
    if (part.ended || ::waitpid(part.process.pid, &status, WNOHANG) != part.process.pid) continue;
    part.ended = true;
    part.ended_at = clock_.now();
    const std::string how = WIFSIGNALED(status) ? fmt::format("by signal {}", WTERMSIG(status)) : fmt::format("with exit code {}", WEXITSTATUS(status));
    fmt::print(stderr, "{} {} (pid {}) ended {}\n", iso8601(clock_.wall()), part.name, part.process.pid, how);
    std::fflush(stderr);
  }
}

std::string LabSupervisor::address(int offset) const { return fmt::format("127.0.0.1:{}", port_base_ + offset); }

UniqueFd LabSupervisor::open_log(const std::string& part, bool anew) const {
  const std::filesystem::path log = log_of(part);
  UniqueFd output(::open(log.c_str(), O_WRONLY | O_CREAT | (anew ? O_TRUNC : 0) | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!output) throw system_error(errno, "cannot write " + log.string());
  return output;
}

void LabSupervisor::run_part(Part& part, LabCommand command) {
  const UniqueFd output = open_log(part.name, part.restarts == 0);
  command.out = output.get();
  command.err = output.get();
  command.dies_with_parent = true;
  part.process = start(command);
  part.ended = false;
  write_file(options_.dir / (part.name + ".pid"), fmt::format("{}\n", part.process.pid));
}

void LabSupervisor::start_part(const std::string& name, const std::string& address, LabCommand command) {
  Part part;
  part.name = name;
  part.address = address;
  run_part(part, std::move(command));
  parts_.push_back(part);
}

void LabSupervisor::start_server(const std::string& name, const std::string& address, LabCommand command) {
  start_part(name, address, command);
  parts_.back().again = std::move(command);
}

Duration LabSupervisor::until_restart() const {
  Duration wait = Duration::max();
  for (const Part& part : parts_) {
    if (part.ended && part.again && part.restarts < kMostRestarts) wait = std::min(wait, std::max(Duration(), part.ended_at + kLabRestartAfter - clock_.now()));
  }
  return wait;
}

void LabSupervisor::restart_servers() {
  bool any = false;
  for (Part& part : parts_) {
    if (!part.ended || !part.again || part.restarts >= kMostRestarts || clock_.now() < part.ended_at + kLabRestartAfter) continue;
    ++part.restarts;
    part.ended_at = clock_.now();
    try {
      run_part(part, *part.again);
      any = true;
      fmt::print(stderr, "{} {} was started again (pid {})\n", iso8601(clock_.wall()), part.name, part.process.pid);
    } catch (const Error& error) {
      any = any || !part.ended;
      fmt::print(stderr, "{} {} was not started again as it should: {}\n", iso8601(clock_.wall()), part.name, error.what());
    }
  }
  try {
    if (any) write_file(options_.dir / kLabFile, describe().dump(2) + "\n");
  } catch (const Error& error) {  // a full disk is no reason to end the lab
    fmt::print(stderr, "{} {}\n", iso8601(clock_.wall()), error.what());
  }
  std::fflush(stderr);
}

// Of what prepares the database. `meanwhile` is for work of our own beside it.
void LabSupervisor::run_to_end(LabCommand command, const std::string& what, const std::function<void()>& meanwhile) {
  const UniqueFd output = open_log(kDatabasePart, true);
  command.out = output.get();
  command.err = output.get();
  command.own_session = true;  // a process group of its own: initdb starts others
  const TimePoint deadline = clock_.now() + kPrepareLimit;
  const LabProcess process = start(command);
  meanwhile();
  int status = 0;
  while (::waitpid(process.pid, &status, WNOHANG) == 0) {
    const bool ending = told_to_end(kLook);
    if (!ending && clock_.now() <= deadline) continue;
    ::kill(-process.pid, SIGKILL);
    wait_until_gone(clock_, {process}, clock_.now() + kEndLimit);
    if (ending) throw Error(ErrorKind::unavailable, "the lab was told to end before it was up");
    throw Error(ErrorKind::unavailable, fmt::format("{} takes longer than {}:{}", what, show(kPrepareLimit), log_tail(log_of(kDatabasePart))),
                "see whether the machine is overloaded, then try again");
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw Error(ErrorKind::unavailable, fmt::format("{} failed:{}", what, log_tail(log_of(kDatabasePart))));
}

void LabSupervisor::make_database() {
  database_.emplace(options_.dir);
  const std::string password = secret_hex(kKeyBytes);
  write_file(options_.dir / "database.key", password);
  std::string statements;
  run_to_end(database_->make_cluster(), "initdb of the lab's PostgreSQL", [&] { statements = database_contents(password); });
  const UniqueFd file(::memfd_create("statements", MFD_CLOEXEC));
  if (!file || ::write(file.get(), statements.data(), statements.size()) != static_cast<ssize_t>(statements.size()) || ::lseek(file.get(), 0, SEEK_SET) != 0) {
    throw system_error(errno, "cannot hold the database's statements in memory");
  }
  run_to_end(database_->fill(file.get()), "filling the lab's PostgreSQL", [] {});
  database_->configure();
}

void LabSupervisor::write_balancer_config() {
  HaproxyConfig config;
  config.profile = profile_;
  config.frontend = address(0);
  config.socket = options_.dir / "haproxy.sock";
  config.slots = options_.slots;
  config.open_files = open_files_limit();
  for (int i = 1; i <= options_.servers; ++i) config.servers.push_back({fmt::format("auth{}", i), address(i)});
  if (config.socket.string().size() > kSocketPathLimit) {
    throw Error(ErrorKind::refused, fmt::format("the path {} is too long for a unix socket", config.socket.string()), "choose a folder with a shorter path");
  }
  write_file(options_.dir / "haproxy.cfg", haproxy_config(config));
}

// A part that has ended will not answer any more; one that hangs has until the deadline.
void LabSupervisor::wait_until_answering(const LabRequest& request, const Part& part, TimePoint deadline) {
  for (;;) {
    const auto reply = http_exchange(request, kAnswerLimit);
    if (reply && reply->status == 200) return;
    if (told_to_end(kLook)) throw Error(ErrorKind::unavailable, "the lab was told to end before it was up");
    for (const Part& started : parts_) {
      if (started.ended) throw Error(ErrorKind::unavailable, fmt::format("{} of the lab ended at once:{}", started.name, log_tail(log_of(started.name))));
    }
    if (clock_.now() > deadline) {
      const std::string answer = reply ? fmt::format("answers {} with {}", request.path, reply->status) : "does not answer " + request.path;
      throw Error(ErrorKind::unavailable, fmt::format("{} of the lab {}:{}", part.name, answer, log_tail(log_of(part.name))), "see whether the machine is overloaded, then try again");
    }
  }
}

void LabSupervisor::bring_up_at(int port_base) {
  port_base_ = port_base;
  const TimePoint deadline = clock_.now() + kReadyLimit;
  write_balancer_config();
  const std::string database = address(options_.servers + 1);
  if (database_) start_part(kDatabasePart, database, database_->serve(port_base + options_.servers + 1, options_.servers * options_.slots + kSpareConnections));
  for (int i = 1; i <= options_.servers; ++i) {
    const std::string name = fmt::format("auth{}", i);
    LabCommand server;
    server.words = {(options_.programs / "capsize-auth").string(), "--listen", address(i), "--name", name, "--slots", std::to_string(options_.slots),
                    "--service-time", show(options_.service_time), "--token-key-file", (options_.dir / "token.key").string()};
    if (database_) {
      for (const std::string& word : {std::string("--database"), database, std::string("--database-password-file"), (options_.dir / "database.key").string()}) server.words.push_back(word);
    }
    start_server(name, address(i), server);
  }
  // Before the balancer starts: its first checks must not find a server that waits for the database, and take it out.
  for (const Part& part : std::vector<Part>(parts_)) {
    if (part.name != kDatabasePart) wait_until_answering({part.address, "GET", "/health", "", ""}, part, deadline);
  }
  LabCommand balancer;
  // -db: in the foreground and without a master, whose worker would outlive us.
  balancer.words = {haproxy_path(), "-db", "-f", (options_.dir / "haproxy.cfg").string()};
  start_part("haproxy", address(0), balancer);
  wait_until_answering({address(0), "POST", "/login", "user=user1&password=pw1", ""}, parts_.back(), deadline);
}

Json LabSupervisor::bring_up() {
  haproxy_path();  // says at once what is missing
  if (options_.database) postgresql_programs();
  remove_lab_files(options_.dir, false);
  write_file(options_.dir / "token.key", secret_hex(kKeyBytes));
  const bool ours = options_.port_base == 0;
  const auto must_be_free = [](int port) {
    if (!is_free(port)) throw Error(ErrorKind::unavailable, fmt::format("port {} of 127.0.0.1 is taken", port), "give another --port-base, or none");
  };
  for (int port = 0; !ours && port <= options_.servers + (options_.database ? 1 : 0); ++port) must_be_free(options_.port_base + port);
  if (options_.database) make_database();
  for (int attempt = 1;; ++attempt) {
    const int base = ours ? choose_port_base(ports()) : options_.port_base;
    try {
      bring_up_at(base);
      break;
    } catch (const Error&) {
      // Somebody may have taken a port since we looked.
      if (!ours || ending_ || attempt == kPortAttempts) throw;
    }
    end_parts();
  }
  started_ = iso8601(clock_.wall());
  const Json info = describe();
  write_file(options_.dir / kLabFile, info.dump(2) + "\n");
  return info;
}

Json LabSupervisor::describe() const {
  LabFacts facts;
  facts.profile = options_.profile;
  facts.dir = options_.dir;
  facts.started = started_;
  facts.supervisor = find_lab_process(::getpid()).value_or(LabProcess{});
  for (const Part& part : parts_) facts.parts.push_back(part);
  return lab_info(facts);
}

bool LabSupervisor::watch() {
  while (!told_to_end(until_restart())) restart_servers();
  bool all_there = true;
  for (const Part& part : parts_) all_there = all_there && !part.ended;
  return all_there;
}

void LabSupervisor::end_parts() {
  std::vector<LabProcess> databases;
  std::vector<LabProcess> left;
  for (const Part& part : parts_) {
    if (!part.ended) (part.name == kDatabasePart ? databases : left).push_back(part.process);
  }
  signal_all(left, SIGKILL);
  // An "immediate shutdown": its processes end with it, and it takes its shared memory away.
  signal_all(databases, SIGQUIT);
  signal_all(databases, SIGCONT);
  if (!wait_until_gone(clock_, databases, clock_.now() + kDatabaseEndLimit)) signal_all(databases, SIGKILL);
  left.insert(left.end(), databases.begin(), databases.end());
  if (!wait_until_gone(clock_, left, clock_.now() + kEndLimit)) fmt::print(stderr, "a part of the lab does not end\n");
  parts_.clear();
}

}  // namespace capsize
