// A disk that is kept busy: threads read and write, past the page cache, a file without a name.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

#include "injector/base/clock.h"
#include "injector/base/error.h"
#include "injector/base/rng.h"
#include "injector/base/unique_fd.h"
#include "injector/burdens/burden.h"
#include "injector/targets/host.h"

namespace capsize {
namespace {

constexpr std::size_t kAlignment = 4096;  // what every device's blocks fit into
constexpr Duration kMostBehind = std::chrono::milliseconds(500);  // a disk that cannot keep up is not owed the rest

struct Job {
  int file = -1;
  bool reads = true;
  bool writes = true;
  std::size_t block = 0;
  std::uint64_t blocks = 0;  // of the file
  Duration every{};          // between two of one worker
};

char* aligned(std::size_t bytes) {
  void* at = std::aligned_alloc(kAlignment, bytes);
  if (at == nullptr) throw Error(ErrorKind::unavailable, "no memory for reading and writing", "use smaller blocks");
  return static_cast<char*>(at);
}

void fill(char* buffer, std::size_t bytes, Rng& chance) {
  for (std::size_t i = 0; i < bytes; ++i) buffer[i] = static_cast<char>(chance.next());
}

void work(Job job, Rng chance) {
  const SystemClock clock;
  Alarm wake;
  char* const buffer = aligned(job.block);
  fill(buffer, job.block, chance);
  for (TimePoint due = clock.now();; due += job.every) {
    const TimePoint now = clock.now();
    if (now - due > kMostBehind) due = now - kMostBehind;
    while (clock.now() < due) {
      wake.set(due);
      pollfd moment = {wake.fd(), POLLIN, 0};
      ::poll(&moment, 1, -1);
    }
    const auto offset = static_cast<off_t>(chance.below(job.blocks) * job.block);
    const bool write = job.writes && (!job.reads || chance.chance(0.5));
    const ssize_t done = write ? ::pwrite(job.file, buffer, job.block, offset) : ::pread(job.file, buffer, job.block, offset);
    if (done < 0 && errno != EINTR) std::_Exit(1);  // a broken disk: the burden ends, and what is measured says so
  }
}

class IoBurden final : public Burden {
 public:
  explicit IoBurden(const Json& order) : path_(order.at("path").get<std::string>()), workers_(order.at("workers").get<unsigned>()), chance_(order.at("seed").get<std::uint64_t>()) {
    const auto rate = order.at("bytes_per_second").get<double>();
    job_.reads = order.at("reads").get<bool>();
    job_.writes = order.at("writes").get<bool>();
    job_.block = order.at("block").get<std::size_t>();
    if (workers_ == 0 || rate <= 0 || job_.block == 0 || job_.block % kAlignment != 0 || !(job_.reads || job_.writes)) throw Error(ErrorKind::bug, "a burden of no reading and writing", "this is a bug in capsize");
    job_.blocks = std::max<std::uint64_t>(1, order.at("file_bytes").get<std::uint64_t>() / job_.block);
    job_.every = from_seconds(static_cast<double>(job_.block) * workers_ / rate);
  }

  Json take_up(const std::function<void()>& begun) override {
    file_.reset(::open(path_.c_str(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600));
    if (!file_ && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
      throw Error(ErrorKind::unavailable, fmt::format("the file system of {} has no files without a name that are read past the page cache (O_TMPFILE, O_DIRECT)", path_), "choose a folder on ext4, xfs or btrfs");
    }
    if (!file_) throw system_error(errno, fmt::format("no file can be made in {}", path_), "choose a folder that capsize may write to");
    begun();
    write_whole_file();  // reading what was never written would not reach the disk
    job_.file = file_.get();
    for (unsigned i = 0; i < workers_; ++i) {
      std::thread(work, job_, chance_.stream(fmt::format("worker {}", i))).detach();  // ends with the process, like everything here
    }
    return {{"file_bytes", job_.blocks * job_.block}};
  }

 private:
  void write_whole_file() {
    char* const buffer = aligned(job_.block);
    fill(buffer, job_.block, chance_);
    for (std::uint64_t i = 0; i < job_.blocks; ++i) {
      if (::pwrite(file_.get(), buffer, job_.block, static_cast<off_t>(i * job_.block)) == static_cast<ssize_t>(job_.block)) continue;
      throw system_error(errno, fmt::format("a file of {} could not be written in {}", show_bytes(job_.blocks * job_.block), path_), "see how much room there is: df");
    }
    std::free(buffer);
  }

  std::string path_;
  unsigned workers_;
  Rng chance_;
  Job job_;
  UniqueFd file_;
};

}  // namespace

std::unique_ptr<Burden> io_burden(const Json& order) { return std::make_unique<IoBurden>(order); }

}  // namespace capsize
