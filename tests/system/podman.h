// Real containers, of Podman, gone with the test. Podman is called through a wrapper, as a playbook may: its storage is the test's own, and it
// runs without the cgroup 2 mount that this crun cannot work beside.
#pragma once
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "injector/base/json.h"
#include "injector/base/run_program.h"
#include "tests/system/process_children.h"

namespace capsize::process_test {

class Podman {
 public:
  explicit Podman(Control& control) : control_(control) {
    std::string pattern = (std::filesystem::temp_directory_path() / "capsize-podman-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    const std::filesystem::path bin = folder_ / "image/bin";
    std::filesystem::create_directories(bin);
    std::filesystem::copy_file("/bin/busybox", bin / "busybox");
    for (const char* applet : {"sh", "sleep", "httpd"}) std::filesystem::create_symlink("busybox", bin / applet);
    std::ofstream(wrapper()) << "#!/bin/bash\nexec unshare -m bash -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec podman --root " << (folder_ / "root").string() << " --runroot "
                             << (folder_ / "run").string() << " --cgroup-manager=cgroupfs --storage-driver=vfs --runtime crun --events-backend=none \"$@\"' podman \"$@\"\n";
    ::chmod(wrapper().c_str(), 0755);
    run({"tar", "-C", (folder_ / "image").string(), "-cf", (folder_ / "image.tar").string(), "."});
    podman({"import", (folder_ / "image.tar").string(), "image:1"});
  }
  ~Podman() {
    for (const std::string& name : names_) {
      try {
        podman({"rm", "-f", "-t", "0", name});
      } catch (const std::exception&) {  // the others are to go all the same
      }
    }
    // A monitor that is still ending writes into the folder, and holds its cgroup.
    for (const TimePoint end = control_.clock.now() + std::chrono::seconds(10); is_in_use() && control_.clock.now() < end;) ::usleep(20'000);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
    for (const auto& hierarchy : std::filesystem::directory_iterator("/sys/fs/cgroup", ignored)) {
      ::rmdir((hierarchy.path() / "libpod_parent/conmon").c_str());
      ::rmdir((hierarchy.path() / "libpod_parent").c_str());
    }
  }
  Podman(const Podman&) = delete;
  Podman& operator=(const Podman&) = delete;

  std::string wrapper() const { return (folder_ / "podman").string(); }
  std::string podman(std::vector<std::string> words) {
    words.insert(words.begin(), wrapper());
    return run(std::move(words));
  }
  // Starts one that runs `command`. Its network: "none" (one of its own, with a loopback) or "host".
  void start(const std::string& name, const std::vector<std::string>& command, const std::string& network = "none") {
    std::vector<std::string> words = {"run", "-d", "--name", name, "--label", "app=test", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--network", network, "image:1"};
    words.insert(words.end(), command.begin(), command.end());
    names_.push_back(name);
    podman(words);
  }
  Json target(const std::string& name) const { return {{"type", "container"}, {"name", name}, {"command", {wrapper()}}}; }
  int pid_of(const std::string& name) { return std::stoi(podman({"inspect", "--format", "{{.State.Pid}}", name})); }

 private:
  bool is_in_use() const {  // some process has the folder in its command line
    const ProcFs proc;
    const auto pids = proc.pids();
    return std::any_of(pids.begin(), pids.end(), [&](int pid) {
      const auto words = proc.arguments(pid);
      if (!words) return false;
      return std::any_of(words->begin(), words->end(), [&](const std::string& word) { return word.find(folder_.string()) != std::string::npos; });
    });
  }
  std::string run(std::vector<std::string> command) {
    const std::string what = command.back();
    constexpr Duration kLimit = kPatience - std::chrono::seconds(5);  // so that it is ended before patience is
    const ProgramResult result = control_.run(run_program(control_.clock, std::move(command), kLimit));
    if (!result.succeeded) throw std::runtime_error(what + ": " + result.how + ": " + result.err);
    return result.out;
  }

  Control& control_;
  std::filesystem::path folder_;
  std::vector<std::string> names_;
};

}  // namespace capsize::process_test
