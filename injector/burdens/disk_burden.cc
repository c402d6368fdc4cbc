// A file system that is full, by a file without a name: the kernel takes it away with the process that has it open.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "injector/base/error.h"
#include "injector/base/unique_fd.h"
#include "injector/burdens/burden.h"
#include "injector/targets/host.h"

namespace capsize {
namespace {

constexpr std::uint64_t kPiece = std::uint64_t{256} << 20;  // a kernel asked for more at once may not hear that we were killed
constexpr std::size_t kWritePiece = std::size_t{1} << 20;
constexpr std::uint64_t kSlack = std::uint64_t{1} << 20;    // others' files come and go: not every block is followed

class DiskBurden final : public Burden {
 public:
  explicit DiskBurden(const Json& order)
      : path_(order.at("path").get<std::string>()), leave_(order.at("leave").get<std::uint64_t>()), floor_(order.at("floor").get<std::uint64_t>()) {}

  Json take_up(const std::function<void()>& begun) override {
    file_.reset(::open(path_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file_ && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
      throw Error(ErrorKind::unavailable, fmt::format("the file system of {} has no files without a name (O_TMPFILE): what fills it could outlive capsize", path_), "choose a folder on ext4, xfs, btrfs or tmpfs");
    }
    if (!file_) throw system_error(errno, fmt::format("no file can be made in {}", path_), "choose a folder that capsize may write to");
    grow(true);
    begun();
    while (grow(false)) continue;
    return {{"bytes", size_}, {"left", available()}, {"written", written_}};
  }

  // What others delete is filled again; what they write stays, and only the floor is given back.
  void follow() override {
    const std::uint64_t left = available();
    if (left < floor_) shrink(floor_ - left);
    else if (left > std::max(leave_, floor_) + kSlack) grow(false);
  }

 private:
  std::uint64_t available() const {
    struct statvfs space = {};
    if (::fstatvfs(file_.get(), &space) != 0) throw system_error(errno, path_ + " cannot be looked at");
    return space.f_bavail * space.f_frsize;
  }

  // Takes some of what is too much; false: there is none, or no more can be had.
  bool grow(bool first) {
    const std::uint64_t left = available();
    const std::uint64_t target = std::max(leave_, floor_);
    if (left <= target) return false;
    const std::uint64_t most = written_ ? kWritePiece : kPiece;
    const std::uint64_t wanted = std::min(left - target, first ? std::min(most, kSlack) : most);
    const std::uint64_t got = written_ ? write_some(wanted) : allocate(wanted);
    size_ += got;
    return got > 0;
  }

  std::uint64_t allocate(std::uint64_t bytes) {
    if (::fallocate(file_.get(), 0, static_cast<off_t>(size_), static_cast<off_t>(bytes)) == 0) return bytes;
    if (errno == EINTR) return allocate(bytes);
    if (errno == EOPNOTSUPP || errno == ENOSYS) {
      written_ = true;
      return write_some(std::min<std::uint64_t>(bytes, kWritePiece));
    }
    return none_left(bytes);
  }

  std::uint64_t write_some(std::uint64_t bytes) {
    if (noise_.empty()) {
      noise_.resize(kWritePiece);
      std::uint64_t seed = 1;
      for (char& byte : noise_) byte = static_cast<char>((seed = seed * 6364136223846793005ULL + 1442695040888963407ULL) >> 56);  // what a file system could not compress away
    }
    const ssize_t count = ::pwrite(file_.get(), noise_.data(), std::min<std::uint64_t>(bytes, noise_.size()), static_cast<off_t>(size_));
    return count > 0 ? static_cast<std::uint64_t>(count) : none_left(bytes);
  }

  // ENOSPC a little before the count says so is full, too.
  std::uint64_t none_left(std::uint64_t wanted) const {
    const int reason = errno;
    if (reason == ENOSPC) return 0;
    throw system_error(reason, fmt::format("{} of {} more could not be filled in {}", show_bytes(wanted), show_bytes(size_ + wanted), path_), "see quotas and file size limits (ulimit -f) of the agent");
  }

  void shrink(std::uint64_t bytes) {
    size_ -= std::min(size_, bytes);
    if (::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) throw system_error(errno, "what fills " + path_ + " could not be made smaller");
  }

  std::string path_;
  std::uint64_t leave_;
  std::uint64_t floor_;
  UniqueFd file_;
  std::uint64_t size_ = 0;
  bool written_ = false;
  std::vector<char> noise_;
};

}  // namespace

std::unique_ptr<Burden> disk_burden(const Json& order) { return std::make_unique<DiskBurden>(order); }

}  // namespace capsize
