// A whole `capsize` as its users run it, and the state of the machine it harms, for system tests.
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/error.h"
#include "injector/base/json.h"
#include "injector/base/unique_fd.h"
#include "tests/system/lab_fixture.h"

namespace capsize {

inline std::string read_text(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline void write_text(const std::filesystem::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
}

// A child process of the test with its output in files; killed and reaped with the object.
class Spawned {
 public:
  Spawned(const std::vector<std::string>& words, const std::filesystem::path& output) : output_(output) {
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const std::string err = output.string() + ".err";
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setpgid(0, 0);
      const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      const int error = ::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      const int in = ::open("/dev/null", O_RDONLY);
      ::dup2(in, 0);
      ::dup2(out, 1);
      ::dup2(error, 2);
      ::close_range(3, ~0u, 0);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Spawned() {
    if (pid_ > 0 && !code_) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }
  Spawned(const Spawned&) = delete;
  Spawned& operator=(const Spawned&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  // The exit code, or 128 + signal. Blocks.
  int wait() {
    if (!code_) {
      int status = 0;
      while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
      }
      code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return *code_;
  }
  bool ended() {
    if (code_) return true;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
  }
  std::string out() const { return read_text(output_); }
  std::string err() const { return read_text(output_.string() + ".err"); }

 private:
  std::filesystem::path output_;
  pid_t pid_ = -1;
  std::optional<int> code_;
};

inline std::string capsize_program() { return std::string(CAPSIZE_BINARY_DIR) + "/capsize"; }

struct Ran {
  int code = -1;
  std::string out;
  std::string err;
};

// Runs a program to its end.
inline Ran run_to_end(const std::vector<std::string>& words, const std::filesystem::path& output) {
  Spawned process(words, output);
  Ran ran;
  ran.code = process.wait();
  ran.out = process.out();
  ran.err = process.err();
  return ran;
}

// Runs `capsize words...` to its end.
inline Ran run_capsize(std::vector<std::string> words, const std::filesystem::path& folder) {
  static std::atomic<int> number = 0;
  words.insert(words.begin(), capsize_program());
  return run_to_end(words, folder / ("capsize-" + std::to_string(++number)));
}

// One line of commands to a HAProxy's runtime API, and its answer: a judge of its own, sharing no code with what is tested.
inline std::string ask_haproxy(const std::string& socket_path, const std::string& line) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return "";
  const std::string command = line + "\n";
  if (::send(fd.get(), command.data(), command.size(), MSG_NOSIGNAL) < 0) return "";
  ::shutdown(fd.get(), SHUT_WR);
  std::string out;
  char buffer[8192];
  for (ssize_t count; (count = ::read(fd.get(), buffer, sizeof buffer)) > 0;) out.append(buffer, static_cast<std::size_t>(count));
  return out;
}

// "auth1 weight=10 admin=0; ..." as HAProxy tells it.
inline std::string balancer_state(const std::string& socket_path) {
  std::istringstream lines(ask_haproxy(socket_path, "show servers state auth"));
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::vector<std::string> fields;
    for (std::string word; words >> word;) fields.push_back(word);
    // be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight ...
    if (fields.size() < 8 || fields[0] == "#" || fields[1] != "auth") continue;
    out += fields[3] + " weight=" + fields[7] + " admin=" + fields[6] + "; ";
  }
  return out;
}

inline char process_state(pid_t pid) {
  const std::string stat = read_text("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t at = stat.rfind(')');
  return at == std::string::npos || at + 2 >= stat.size() ? '?' : stat[at + 2];
}

inline bool is_running(pid_t pid) {
  const char state = process_state(pid);
  return state == 'R' || state == 'S' || state == 'D';
}

inline std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string stat = read_text(entry.path() / "stat");
    const std::size_t at = stat.rfind(')');
    if (at == std::string::npos) continue;
    std::istringstream words(stat.substr(at + 1));
    char state = 0;
    pid_t ppid = 0;
    words >> state >> ppid;
    if (ppid == parent) out.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return out;
}

// The records of the one journal in a state folder, as JSON; empty when there is none.
inline std::vector<Json> journal_records(const std::filesystem::path& state) {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(state / "undo", none)) {
    if (entry.path().extension() != ".journal") continue;
    std::istringstream lines(read_text(entry.path()));
    std::vector<Json> out;
    for (std::string line; std::getline(lines, line);) {
      Json json = line.size() > 9 ? Json::parse(line.substr(9), nullptr, false) : Json();
      if (json.is_object()) out.push_back(std::move(json));
    }
    return out;
  }
  return {};
}

}  // namespace capsize
