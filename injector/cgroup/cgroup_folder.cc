#include "injector/cgroup/cgroup_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/cgroup/hierarchy.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxFile = 1024 * 1024;
constexpr int kDeepest = 64;
constexpr const char* kRemedy = "run capsize there as root, or give its user that cgroup (delegation)";

std::vector<int> parse_pids(const std::string& text) {
  std::vector<int> out;
  for (const std::string& line : words_of(text, '\n')) {
    int pid = 0;
    const auto result = std::from_chars(line.data(), line.data() + line.size(), pid);
    if (result.ec == std::errc()) out.push_back(pid);
  }
  return out;
}

void add_below(const CgroupFolder& folder, int depth, std::vector<int>& out) {
  const auto here = folder.processes();
  out.insert(out.end(), here.begin(), here.end());
  if (depth == 0) return;
  for (const std::string& name : folder.children()) {
    const auto child = CgroupFolder::open({folder.ref().folder + "/" + name, 0});
    if (child) add_below(*child, depth - 1, out);
  }
}

}  // namespace

Json to_json(const CgroupRef& ref) { return {{"folder", ref.folder}, {"inode", ref.inode}}; }

CgroupRef cgroup_ref_from_json(const Json& json) {
  try {
    CgroupRef out{json.at("folder").get<std::string>(), json.at("inode").get<std::uint64_t>()};
    if (!out.folder.starts_with('/') || out.folder.find("/../") != std::string::npos || out.folder.ends_with("/..")) throw Error(ErrorKind::bug, "not the folder of a cgroup: " + printable(out.folder, 200));
    return out;
  } catch (const Json::exception& problem) {
    throw Error(ErrorKind::bug, std::string("not a cgroup: ") + problem.what());
  }
}

std::optional<CgroupFolder> CgroupFolder::open(const CgroupRef& ref) {
  UniqueFd fd(::open(ref.folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && errno == ENOENT) return std::nullopt;
  if (!fd) throw system_error(errno, "cgroup " + ref.folder, kRemedy);
  struct statfs filesystem = {};
  struct stat info = {};
  if (::fstatfs(fd.get(), &filesystem) != 0 || ::fstat(fd.get(), &info) != 0) throw system_error(errno, "cgroup " + ref.folder);
  if (filesystem.f_type != CGROUP_SUPER_MAGIC && filesystem.f_type != CGROUP2_SUPER_MAGIC) {
    throw Error(ErrorKind::refused, ref.folder + " is not a cgroup", "nothing was done there");
  }
  if (ref.inode != 0 && info.st_ino != ref.inode) return std::nullopt;
  return CgroupFolder({ref.folder, info.st_ino}, std::move(fd));
}

std::optional<std::string> CgroupFolder::read(const std::string& file) const {
  const UniqueFd in(::openat(fd_.get(), file.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!in && errno == ENOENT) return std::nullopt;
  if (!in) throw system_error(errno, fmt::format("{}/{}", ref_.folder, file), kRemedy);
  std::string out;
  char buffer[4096];
  while (out.size() < kMaxFile) {
    const ssize_t got = ::read(in.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == ENODEV) return std::nullopt;  // removed while we hold it open
    if (got < 0) throw system_error(errno, fmt::format("{}/{}", ref_.folder, file), kRemedy);
    if (got == 0) break;
    out.append(buffer, static_cast<std::size_t>(got));
  }
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

void CgroupFolder::write(const std::string& file, const std::string& text) const {
  const UniqueFd out(::openat(fd_.get(), file.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  ssize_t done = -1;
  while (out) {
    done = ::write(out.get(), text.data(), text.size());
    if (done >= 0 || errno != EINTR) break;
  }
  if (done != static_cast<ssize_t>(text.size())) throw system_error(done < 0 ? errno : EIO, fmt::format("\"{}\" could not be written to {}/{}", text, ref_.folder, file), kRemedy);
}

std::vector<int> CgroupFolder::processes() const { return parse_pids(read("cgroup.procs").value_or("")); }

std::vector<int> CgroupFolder::processes_below() const {
  std::vector<int> out;
  add_below(*this, kDeepest, out);
  return out;
}

std::vector<std::string> CgroupFolder::children() const {
  const int copy = ::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(copy < 0 ? nullptr : ::fdopendir(copy), ::closedir);
  std::vector<std::string> out;
  if (!folder) return out;  // removed meanwhile
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') out.emplace_back(entry->d_name);
  }
  return out;
}

void CgroupFolder::make_child(const std::string& name) const {
  if (::mkdirat(fd_.get(), name.c_str(), 0755) != 0) throw system_error(errno, fmt::format("the cgroup {}/{} could not be made", ref_.folder, name), kRemedy);
}

int CgroupFolder::remove_child(const std::string& name) const { return ::unlinkat(fd_.get(), name.c_str(), AT_REMOVEDIR) == 0 ? 0 : errno; }

}  // namespace capsize
