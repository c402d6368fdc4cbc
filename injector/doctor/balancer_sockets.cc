#include "injector/doctor/balancer_sockets.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfiguration = 16u << 20;
constexpr std::size_t kMaxFiles = 1000;

std::uint64_t mount_namespace(const std::string& process) {
  struct stat entry = {};
  return ::stat(("/proc/" + process + "/ns/mnt").c_str(), &entry) == 0 ? static_cast<std::uint64_t>(entry.st_ino) : 0;
}

// How to reach a path that a process names: as it is when it sees the files that we see, else through its root.
class PathsOf {
 public:
  explicit PathsOf(const SeenProcess& process) : folder_(process.folder.empty() ? "/" : process.folder) {
    const std::uint64_t theirs = mount_namespace(std::to_string(process.pid));
    if (theirs != 0 && theirs != mount_namespace("self")) root_ = fmt::format("/proc/{}/root", process.pid);
  }
  std::string operator()(const std::string& path) const { return root_ + (path.starts_with('/') ? path : (fs::path(folder_) / path).string()); }

 private:
  std::string root_;
  std::string folder_;
};

std::vector<std::string> files_of(const std::string& path) {
  std::error_code problem;
  if (!fs::is_directory(path, problem)) return {path};
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(path, problem)) {
    if (entry.path().extension() == ".cfg" && out.size() < kMaxFiles) out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::optional<std::string> read_configuration(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::string out(kMaxConfiguration, '\0');
  in.read(out.data(), static_cast<std::streamsize>(out.size()));
  out.resize(static_cast<std::size_t>(in.gcount()));
  return out;
}

// One word of a configuration, or what is between quotes.
std::string next_word(std::istream& words) {
  std::string out;
  if (words.peek() == '"' || words.peek() == '\'') std::getline(words, out, static_cast<char>(words.get()));
  else words >> out;
  return out;
}

}  // namespace

std::vector<std::string> configurations_of(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  bool only_files = false;  // behind "--"
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (only_files) out.push_back(word);
    else if (word == "--") only_files = true;
    else if (word == "-f" && i + 1 < words.size()) out.push_back(words[++i]);
  }
  return out;
}

std::vector<std::string> sockets_in(std::string_view configuration) {
  std::vector<std::string> out;
  std::istringstream lines{std::string(configuration)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string first, second;
    if (!(words >> first >> second >> std::ws) || first != "stats" || second != "socket") continue;
    std::string address = next_word(words);
    for (const char* prefix : {"unix@", "ipv4@", "ipv6@"}) {
      if (address.starts_with(prefix)) address = address.substr(5);
    }
    if (address.empty() || address.find('@') != std::string::npos || address.find('$') != std::string::npos) continue;  // abstract, inherited, or made of variables
    if (address.starts_with("*:")) address = "127.0.0.1:" + address.substr(2);
    else if (address.starts_with(":::")) address = "[::1]:" + address.substr(3);
    else if (address.starts_with(':')) address = "127.0.0.1" + address;
    out.push_back(address);
  }
  return out;
}

std::vector<std::string> balancer_sockets(const Surroundings& here, Examination& examination) {
  std::vector<std::string> out;
  for (const SeenProcess& process : here.processes) {
    if (process.kernel_thread || process.state == 'Z' || (process.name != "haproxy" && process.program != "haproxy")) continue;
    const PathsOf path(process);
    std::set<std::string> unread;
    for (const std::string& named : configurations_of(process.words)) {
      for (const std::string& file : files_of(path(named))) {
        const auto text = read_configuration(file);
        if (!text) {
          unread.insert(file);
          continue;
        }
        for (const std::string& address : sockets_in(*text)) {
          const bool is_path = address.find('/') != std::string::npos;
          if (!is_path && process.network != here.networks.front().where.inode) {
            examination.unseen.push_back({fmt::format("the servers of HAProxy {}, {}", printable(address, 200), describe(process)), "it is in another network namespace", "run capsize doctor there too"});
            continue;
          }
          const std::string socket = is_path ? path(address) : address;
          if (std::find(out.begin(), out.end(), socket) == out.end()) out.push_back(socket);
        }
      }
    }
    for (const std::string& file : unread) {
      examination.unseen.push_back({"the servers of HAProxy, " + describe(process), "its configuration " + printable(file, 200) + " cannot be read", "run it as root, or name its socket: --haproxy SOCKET"});
    }
  }
  return out;
}

}  // namespace capsize
