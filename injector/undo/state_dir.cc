#include "injector/undo/state_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

#include "injector/base/error.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

enum class Missing { make, tell };

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// One step of the way; nothing when it is missing and may not be made.
std::optional<UniqueFd> step_into(int parent, const std::string& name, const fs::path& so_far, int flags, Missing missing) {
  bool made = false;
  for (;;) {
    UniqueFd next(openat(parent, name.c_str(), flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (next) {
      if (made) {
        const UniqueFd folder(openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (folder) fsync(folder.get());
      }
      return next;
    }
    const int code = errno;
    if (code == ENOENT && missing == Missing::tell) return std::nullopt;
    if (code == ENOENT && !made && mkdirat(parent, name.c_str(), 0700) == 0) {
      made = true;
      continue;
    }
    if (code == ENOENT && errno == EEXIST) continue;  // another capsize was faster
    struct stat status = {};
    if (fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode)) {
      throw Error(ErrorKind::refused, fmt::format("state folder: {} is a symbolic link", so_far.string()),
                  "name the real folder with CAPSIZE_STATE or --state");
    }
    const int reason = code == ENOENT ? errno : code;
    throw system_error(reason, "state folder: " + so_far.string(), "name a folder you may write with CAPSIZE_STATE or --state");
  }
}

void check_ours(int fd, const fs::path& path, mode_t forbidden, const char* wanted) {
  struct stat status = {};
  if (fstat(fd, &status) != 0) throw system_error(errno, "state folder: " + path.string());
  if (status.st_uid != geteuid()) {
    throw Error(ErrorKind::refused, fmt::format("state folder: {} belongs to user {}, not to user {}", path.string(), status.st_uid, geteuid()),
                "name another folder with CAPSIZE_STATE or --state");
  }
  if ((status.st_mode & forbidden) != 0) {
    throw Error(ErrorKind::refused, fmt::format("state folder: {} has mode {:04o}: others could change it", path.string(), status.st_mode & 07777u),
                fmt::format("look at what is in it, then chmod {} {}", wanted, path.string()));
  }
}

std::optional<StateDir> walk(const fs::path& wanted, Missing missing) {
  fs::path path = fs::absolute(wanted).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  UniqueFd here(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!here) throw system_error(errno, "state folder: /");
  fs::path so_far = "/";
  for (const auto& part : path.relative_path()) {
    so_far /= part;
    auto next = step_into(here.get(), part.string(), so_far, O_PATH, missing);
    if (!next) return std::nullopt;
    here = std::move(*next);
  }
  check_ours(here.get(), path, S_IWGRP | S_IWOTH, "700");
  auto undo = step_into(here.get(), "undo", path / "undo", O_RDONLY, missing);
  if (!undo) return std::nullopt;
  check_ours(undo->get(), path / "undo", S_IRWXG | S_IRWXO, "700");
  return StateDir(std::move(*undo), path);
}

}  // namespace

fs::path default_state_path() {
  if (const std::string chosen = environment("CAPSIZE_STATE"); !chosen.empty()) return chosen;
  if (geteuid() == 0) return "/var/lib/capsize";
  if (const std::string state = environment("XDG_STATE_HOME"); !state.empty() && state.front() == '/') return fs::path(state) / "capsize";
  if (const std::string home = environment("HOME"); !home.empty()) return fs::path(home) / ".local/state/capsize";
  throw Error(ErrorKind::unavailable, "there is no place for capsize's state: HOME is not set", "name a folder with CAPSIZE_STATE or --state");
}

StateDir StateDir::open(const fs::path& path) { return std::move(*walk(path, Missing::make)); }

std::optional<StateDir> StateDir::open_existing(const fs::path& path) { return walk(path, Missing::tell); }

StateDir StateDir::duplicate() const {
  UniqueFd copy(fcntl(undo_.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) throw system_error(errno, "state folder: " + path_.string());
  return StateDir(std::move(copy), path_);
}

}  // namespace capsize
