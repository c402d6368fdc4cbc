#include "injector/ops/process_mark.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "injector/base/error.h"

namespace capsize {

std::string process_mark(const std::string& kind, const Json& args, const TargetProcess& process) {
  const auto folder = args.find("mark_folder");
  if (folder == args.end() || !folder->is_string() || !folder->get_ref<const std::string&>().starts_with('/')) {
    throw Error(ErrorKind::bug, "an op that marks a process, without the folder of marks");
  }
  for (const char c : process.boot_id) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
    if (!plain || process.boot_id.size() > 64) throw Error(ErrorKind::bug, "not the id of a boot: " + printable(process.boot_id, 80));
  }
  return fmt::format("{}/{}-{}-{}-{}-{}", folder->get<std::string>(), kind, process.boot_id, process.pid, process.start_ticks, process.pidfs_inode.value_or(0));
}

void write_mark(const std::string& mark) {
  const std::string folder = std::filesystem::path(mark).parent_path().string();
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  struct stat info = {};
  const UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory || ::fstat(directory.get(), &info) != 0) throw system_error(problem ? problem.value() : errno, "the folder of marks " + folder, "make it writable: nothing was done");
  if (info.st_uid != ::geteuid()) throw Error(ErrorKind::unavailable, "the folder of marks " + folder + " belongs to someone else", "set CAPSIZE_STATE to a folder of your own");
  ::fchmod(directory.get(), 0700);
  const UniqueFd file(::openat(directory.get(), std::filesystem::path(mark).filename().c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) throw system_error(errno, "the mark " + mark, "make its folder writable: nothing was done");
}

MarkLook look_for_mark(const std::string& mark) {
  struct stat info = {};
  if (::lstat(mark.c_str(), &info) == 0) return {Proof::yes, ""};
  if (errno == ENOENT || errno == ENOTDIR) return {Proof::no, ""};
  return {Proof::cannot_tell, fmt::format("the mark {} cannot be looked for: {}", mark, std::strerror(errno))};
}

UndoResult without_mark(UndoResult result, const std::string& mark) {
  if (::unlink(mark.c_str()) == 0 || errno == ENOENT || errno == ENOTDIR) return result;
  const std::string problem = std::strerror(errno);
  return {UndoState::failed, fmt::format("{}, but the mark {} cannot be removed: {}", result.because, mark, problem), "remove that file by hand", Json::object()};
}

}  // namespace capsize
