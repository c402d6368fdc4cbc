#include "experiments/lab/lab.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "experiments/lab/haproxy_config.h"
#include "experiments/lab/http_exchange.h"
#include "experiments/lab/lab_files.h"
#include "injector/base/error.h"
#include "injector/base/param_types.h"

namespace capsize {
namespace {

constexpr Duration kReadyLimit = std::chrono::seconds(70);  // more than the supervisor gives itself
constexpr Duration kDownLimit = std::chrono::seconds(7);    // the supervisor gives its parts 5 s
constexpr Duration kKillLimit = std::chrono::seconds(3);
constexpr Duration kStatusLimit = std::chrono::milliseconds(500);
constexpr int kLookMilliseconds = 20;
constexpr std::size_t kReadyLineLimit = 64 * 1024;

struct Supervisor {
  LabProcess process;
  UniqueFd says;  // its stdout
};

void check(const LabOptions& options) {
  lab_profile(options.profile);
  if (options.dir.empty()) throw Error(ErrorKind::refused, "the lab has no folder", "give --dir");
  if (options.servers < 1 || options.servers > kMostLabServers) {
    throw Error(ErrorKind::refused, fmt::format("a lab of {} servers", options.servers), fmt::format("ask for 1 to {}", kMostLabServers));
  }
  if (options.slots < 1 || options.slots > 10'000) throw Error(ErrorKind::refused, fmt::format("servers with {} slots", options.slots), "ask for 1 to 10000");
  if (options.port_base != 0 && (options.port_base < 1024 || options.port_base + options.servers + 1 > 65'535)) {
    throw Error(ErrorKind::refused, fmt::format("port base {}", options.port_base), "give one from 1024 to 65500, or none");
  }
}

// Paths must mean the same to the supervisor and in lab.json wherever they are read.
LabOptions made_absolute(LabOptions options) {
  check(options);
  options.dir = std::filesystem::absolute(options.dir).lexically_normal();
  if (options.programs.empty()) options.programs = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  options.programs = std::filesystem::absolute(options.programs);
  return options;
}

void make_folder(const std::filesystem::path& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir.parent_path(), error);
  if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) throw system_error(errno, "cannot make the lab's folder " + dir.string());
}

Supervisor start_supervisor(const LabOptions& options, int owner) {
  make_folder(options.dir);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw system_error(errno, "cannot make a pipe");
  UniqueFd says(ends[0]);
  const UniqueFd out(ends[1]);
  const std::filesystem::path log = options.dir / kSupervisorLog;
  const UniqueFd err(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!err) throw system_error(errno, "cannot write " + log.string());
  LabCommand command;
  command.words = {(options.programs / "capsize").string(), "lab", "serve"};
  const std::vector<std::string> rest = lab_serve_words(options, owner >= 0);
  command.words.insert(command.words.end(), rest.begin(), rest.end());
  command.in = owner;
  command.out = out.get();
  command.err = err.get();
  command.own_session = true;
  return {start(command), std::move(says)};
}

// The one line that a supervisor says; empty when it says none in time.
std::string first_line(const Clock& clock, int fd, TimePoint deadline) {
  std::string text;
  while (text.find('\n') == std::string::npos && text.size() < kReadyLineLimit) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock.now()).count();
    pollfd readable{fd, POLLIN, 0};
    if (left <= 0 || ::poll(&readable, 1, static_cast<int>(left)) == 0) return {};
    char chunk[4096];
    const ssize_t got = ::read(fd, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return {};
    text.append(chunk, static_cast<std::size_t>(got));
  }
  return text;
}

Json wait_until_ready(const LabOptions& options, const Supervisor& supervisor) {
  const SystemClock clock;
  const Json said = Json::parse(first_line(clock, supervisor.says.get(), clock.now() + kReadyLimit), nullptr, false);
  if (said.is_object() && said.contains("ready")) return said.at("ready");
  const std::string log = log_tail(options.dir / kSupervisorLog);
  signal_all({supervisor.process}, SIGTERM);
  if (!wait_until_gone(clock, {supervisor.process}, clock.now() + kDownLimit)) signal_all({supervisor.process}, SIGKILL);
  if (said.is_object() && said.contains("error")) throw error_from_json(said.at("error"));
  throw Error(ErrorKind::unavailable, "the lab's supervisor did not get ready:" + log, "see whether the machine is overloaded, then try again");
}

// lab.json of a lab that is up there; nothing when none is, or only what a killed one left.
std::optional<Json> running_lab(const std::filesystem::path& dir) {
  auto info = read_lab_file(dir);
  if (!info) return std::nullopt;
  const auto supervisor = lab_supervisor(*info);
  if (!supervisor || state_of(*supervisor) == LabProcessState::gone) return std::nullopt;
  return info;
}

// While a supervisor is starting its lab, its folder is locked and has no lab.json yet.
void wait_out_a_start(const Clock& clock, const std::filesystem::path& dir) {
  const UniqueFd folder(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const TimePoint deadline = clock.now() + kReadyLimit;
  while (folder && !read_lab_file(dir) && clock.now() < deadline) {
    if (::flock(folder.get(), LOCK_SH | LOCK_NB) == 0) return;
    ::poll(nullptr, 0, kLookMilliseconds);
  }
}

bool answers(const std::string& address, std::string_view path) {
  LabRequest request;
  request.address = address;
  request.path = path;
  const auto reply = http_exchange(request, kStatusLimit);
  return reply && reply->status == 200;
}

}  // namespace

Json lab_up(const LabOptions& wanted) {
  const LabOptions options = made_absolute(wanted);
  wait_out_a_start(SystemClock(), options.dir);
  if (auto info = running_lab(options.dir)) {
    if (info->value("profile", "") != options.profile) {
      throw Error(ErrorKind::refused, fmt::format("a lab of the profile {} is up in {}", info->value("profile", "?"), options.dir.string()),
                  "end it with capsize lab down, or give another folder");
    }
    (*info)["already_up"] = true;
    return *info;
  }
  Json info = wait_until_ready(options, start_supervisor(options, -1));
  info["already_up"] = false;
  return info;
}

Json lab_status(const std::filesystem::path& dir) {
  const auto info = read_lab_file(dir);
  if (!info) return {{"up", false}, {"dir", dir.string()}};
  const auto supervisor = lab_supervisor(*info);
  const bool up = supervisor && state_of(*supervisor) != LabProcessState::gone;
  Json processes = Json::array();
  Json servers = Json::array();
  for (const Json& entry : info->at("processes")) {
    const auto process = lab_process_from_json(entry);
    if (!process) continue;
    const LabProcessState state = state_of(*process);
    const std::string address = entry.value("address", "");
    processes.push_back({{"name", entry.value("name", "")}, {"pid", process->pid}, {"state", to_string(state)}});
    if (entry.value("name", "") == "haproxy" || entry.value("name", "") == kDatabasePart) continue;
    const bool answering = state == LabProcessState::running && answers(address, "/health");
    servers.push_back({{"name", entry.value("name", "")}, {"address", address}, {"answering", answering}});
  }
  const std::string frontend = info->at("variables").value("balancer_address", "");
  return {{"up", up},
          {"dir", dir.string()},
          {"profile", info->value("profile", "")},
          {"started", info->value("started", "")},
          {"processes", processes},
          {"frontend", {{"url", info->value("frontend", "")}, {"answering", answers(frontend, kLabAlivePath)}}},
          {"servers", servers}};
}

bool lab_down(const std::filesystem::path& dir) {
  const SystemClock clock;
  wait_out_a_start(clock, dir);
  const auto info = read_lab_file(dir);
  bool any = false;
  if (info) {
    const std::vector<LabProcess> all = lab_processes(*info);
    const auto supervisor = lab_supervisor(*info);
    if (supervisor) any = signal_all({*supervisor}, SIGTERM);
    // Without a supervisor the parts are gone too, or will be in an instant: the kernel kills them.
    if (!wait_until_gone(clock, all, clock.now() + kDownLimit)) {
      signal_all(all, SIGKILL);
      if (!wait_until_gone(clock, all, clock.now() + kKillLimit)) {
        throw Error(ErrorKind::unavailable, "a process of the lab in " + dir.string() + " does not end", "see capsize lab status");
      }
    }
  }
  remove_lab_files(dir, true);
  return any;
}

OwnedLab::OwnedLab(const LabOptions& wanted) {
  const LabOptions options = made_absolute(wanted);
  dir_ = options.dir;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw system_error(errno, "cannot make a pipe");
  const UniqueFd read_end(ends[0]);
  ownership_.reset(ends[1]);
  const Supervisor supervisor = start_supervisor(options, read_end.get());
  supervisor_ = supervisor.process;
  info_ = wait_until_ready(options, supervisor);
}

OwnedLab::~OwnedLab() {
  const SystemClock clock;
  ownership_.reset();
  if (!wait_until_gone(clock, {supervisor_}, clock.now() + kDownLimit)) {
    signal_all({supervisor_}, SIGKILL);
    wait_until_gone(clock, {supervisor_}, clock.now() + kKillLimit);
  }
  remove_lab_files(dir_, true);
}

}  // namespace capsize
