#include "injector/netlink/network_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr const char* kOwn = "/proc/thread-self/ns/net";
constexpr const char* kNeedsAdmin = "run capsize as root: entering or making a network namespace needs CAP_SYS_ADMIN";

std::string shown(const NetworkNamespace& place) { return place.path.empty() ? "the network namespace of capsize itself" : "the network namespace " + place.path; }

UniqueFd open_path(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd) return fd;
  const int error = errno;
  if (error == ENOENT || error == ESRCH) throw Error(ErrorKind::unavailable, fmt::format("{}: there is no such network namespace", path), "its process or container has ended, or the name is another");
  throw system_error(error, fmt::format("opening the network namespace {}", path), kNeedsAdmin);
}

std::uint64_t inode_of(const UniqueFd& fd, const std::string& path) {
  struct stat look{};
  if (::fstat(fd.get(), &look) != 0) throw system_error(errno, fmt::format("looking at {}", path));
  return look.st_ino;
}

void enter(const UniqueFd& fd, const std::string& what) {
  if (::setns(fd.get(), CLONE_NEWNET) == 0) return;
  const int error = errno;
  if (error == EINVAL) throw Error(ErrorKind::unavailable, what + " is not a network namespace", "name a file as /proc/PID/ns/net or /run/netns/NAME");
  throw system_error(error, "entering " + what, kNeedsAdmin);
}

// Back where the thread was, whatever `work` did. A thread that stayed in another namespace would harm the wrong machine: never go on then.
class WayBack {
 public:
  WayBack() : home_(open_path(kOwn)) {}
  void left() { left_ = true; }
  ~WayBack() {
    if (!left_ || ::setns(home_.get(), CLONE_NEWNET) == 0) return;
    std::fprintf(stderr, "capsize: cannot come back from another network namespace: %s\n", std::strerror(errno));
    std::abort();
  }
  WayBack(const WayBack&) = delete;
  WayBack& operator=(const WayBack&) = delete;

 private:
  UniqueFd home_;
  bool left_ = false;
};

}  // namespace

UniqueFd open_network_namespace(const NetworkNamespace& place) {
  const std::string path = place.path.empty() ? kOwn : place.path;
  UniqueFd fd = open_path(path);
  const std::uint64_t inode = inode_of(fd, path);
  if (place.inode != 0 && inode != place.inode) {
    throw Error(ErrorKind::changed, fmt::format("{} is another one now: its inode is {}, it was {}", shown(place), inode, place.inode), "plan again: a process or container was replaced");
  }
  return fd;
}

NetworkNamespace look_up_network_namespace(std::string path) {
  NetworkNamespace place{std::move(path), 0};
  place.inode = inode_of(open_network_namespace(place), place.path);
  return place;
}

void in_network_namespace(const NetworkNamespace& place, const std::function<void()>& work) {
  const UniqueFd there = open_network_namespace(place);
  if (place.path.empty()) return work();
  WayBack home;
  enter(there, shown(place));
  home.left();
  work();
}

void in_scratch_namespace(const std::function<void()>& work) {
  WayBack home;
  if (::unshare(CLONE_NEWNET) != 0) throw system_error(errno, "making a network namespace to try things in", kNeedsAdmin);
  home.left();
  work();
}

}  // namespace capsize
