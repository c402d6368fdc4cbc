#include "injector/targets/process_identity.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "injector/base/error.h"
#include "injector/base/unique_fd.h"

namespace capsize {
namespace {

constexpr long kPidfsMagic = 0x50494446;

// Field 22 of /proc/PID/stat. The name in field 2 may contain anything, so fields count from its last ')'.
std::uint64_t start_ticks_of(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::stringstream content;
  content << file.rdbuf();
  const std::string text = content.str();
  const auto name_end = text.rfind(')');
  if (!file || name_end == std::string::npos) throw Error(ErrorKind::unavailable, fmt::format("process {}: /proc/{}/stat cannot be read", pid, pid));
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  std::uint64_t ticks = 0;
  if (!(fields >> ticks)) throw Error(ErrorKind::unavailable, fmt::format("process {}: /proc/{}/stat has no start time", pid, pid));
  return ticks;
}

std::uint64_t pidfs_inode_of(int pidfd) {
  struct statfs filesystem = {};
  struct stat status = {};
  if (fstatfs(pidfd, &filesystem) != 0 || filesystem.f_type != kPidfsMagic) return 0;
  if (fstat(pidfd, &status) != 0) return 0;
  return status.st_ino;
}

std::uint64_t own_pid_namespace() {
  struct stat status = {};
  return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

}  // namespace

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  if (!(file >> id)) throw Error(ErrorKind::unavailable, "the boot id cannot be read from /proc/sys/kernel/random/boot_id", "mount /proc");
  return id;
}

ProcessIdentity identity_of(int pid) {
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) throw system_error(errno, fmt::format("process {}", pid));
  ProcessIdentity identity;
  identity.pid = pid;
  identity.start_ticks = start_ticks_of(pid);
  identity.pidfs_inode = pidfs_inode_of(pidfd.get());
  identity.pid_namespace = own_pid_namespace();
  return identity;
}

ProcessIdentity own_identity() { return identity_of(getpid()); }

Liveness liveness(const ProcessIdentity& identity) {
  if (identity.pid <= 0) return Liveness::unknown;
  if (identity.pid_namespace != 0 && identity.pid_namespace != own_pid_namespace()) return Liveness::unknown;
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, identity.pid, 0)));
  if (!pidfd) return errno == ESRCH ? Liveness::gone : Liveness::unknown;
  const std::uint64_t inode = pidfs_inode_of(pidfd.get());
  if (inode != 0 && identity.pidfs_inode != 0 && inode != identity.pidfs_inode) return Liveness::gone;
  pollfd ended = {pidfd.get(), POLLIN, 0};
  if (poll(&ended, 1, 0) == 1) return Liveness::gone;
  try {
    return start_ticks_of(identity.pid) == identity.start_ticks ? Liveness::alive : Liveness::gone;
  } catch (const Error&) {
    return poll(&ended, 1, 0) == 1 ? Liveness::gone : Liveness::unknown;
  }
}

Json to_json(const ProcessIdentity& identity) {
  return {{"pid", static_cast<std::uint64_t>(identity.pid)}, {"start", identity.start_ticks}, {"pidfs", identity.pidfs_inode}, {"ns", identity.pid_namespace}};
}

ProcessIdentity process_identity_from_json(const Json& json) {
  ProcessIdentity identity;
  if (!json.is_object()) return identity;
  const auto number = [&](const char* key) {
    const auto it = json.find(key);
    return it != json.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
  };
  const std::uint64_t pid = number("pid");
  identity.pid = pid <= 0x7fffffff ? static_cast<int>(pid) : 0;
  identity.start_ticks = number("start");
  identity.pidfs_inode = number("pidfs");
  identity.pid_namespace = number("ns");
  return identity;
}

}  // namespace capsize
