#include "experiments/lab/lab_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <fstream>

#include "experiments/lab/lab.h"
#include "experiments/lab/lab_database.h"
#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/base/unique_fd.h"

namespace capsize {
namespace {

constexpr std::size_t kTailLineBytes = 300;
constexpr std::size_t kTailLines = 10;

void write_all(int fd, std::string_view text, const std::string& name) {
  while (!text.empty()) {
    const ssize_t wrote = ::write(fd, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) throw system_error(errno, "cannot write " + name);
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
}

}  // namespace

void write_file(const std::filesystem::path& file, const std::string& text, unsigned mode) {
  const std::string name = file.string();
  const std::string unfinished = name + ".new";
  ::unlink(unfinished.c_str());
  UniqueFd fd(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) throw system_error(errno, "cannot create " + unfinished);
  write_all(fd.get(), text, unfinished);
  fd.reset();
  if (::rename(unfinished.c_str(), name.c_str()) != 0) throw system_error(errno, "cannot rename " + unfinished + " to " + name);
}

std::optional<Json> read_lab_file(const std::filesystem::path& dir) {
  std::ifstream stream(dir / kLabFile);
  if (!stream) return std::nullopt;
  Json info = Json::parse(stream, nullptr, false);
  if (!info.is_object() || !info.contains("supervisor") || !info.contains("processes")) return std::nullopt;
  return info;
}

std::optional<LabProcess> lab_supervisor(const Json& info) { return lab_process_from_json(info.value("supervisor", Json())); }

std::vector<LabProcess> lab_processes(const Json& info) {
  std::vector<LabProcess> all;
  if (const auto supervisor = lab_supervisor(info)) all.push_back(*supervisor);
  for (const Json& entry : info.value("processes", Json::array())) {
    if (const auto process = lab_process_from_json(entry)) all.push_back(*process);
  }
  return all;
}

std::string log_tail(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::deque<std::string> last;
  for (std::string line; std::getline(stream, line);) {
    last.push_back(printable(line, kTailLineBytes));
    if (last.size() > kTailLines) last.pop_front();
  }
  std::string text;
  for (const std::string& line : last) text += "\n  " + line;
  return text.empty() ? " (its log is empty)" : text;
}

void remove_lab_files(const std::filesystem::path& dir, bool logs) {
  std::vector<std::string> names = {kLabFile, std::string(kLabFile) + ".new", "haproxy.cfg", "haproxy.sock", "haproxy.pid", "token.key", "database.pid", "database.key"};
  std::vector<std::string> log_names = {kSupervisorLog, "haproxy.log", "database.log"};
  for (int i = 1; i <= kMostLabServers; ++i) {
    names.push_back("auth" + std::to_string(i) + ".pid");
    log_names.push_back("auth" + std::to_string(i) + ".log");
  }
  if (logs) names.insert(names.end(), log_names.begin(), log_names.end());
  remove_lab_database(dir);
  std::error_code ignored;
  for (const std::string& name : names) std::filesystem::remove(dir / name, ignored);
  if (logs) ::rmdir(dir.c_str());  // fails, as it should, when something else is in it
}

}  // namespace capsize
