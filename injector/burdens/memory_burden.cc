// Memory that is held: filled, and kept from being swapped out where that is allowed.
#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <vector>

#include "injector/base/error.h"
#include "injector/burdens/burden.h"
#include "injector/targets/host.h"

namespace capsize {
namespace {

constexpr std::uint64_t kPiece = std::uint64_t{8} << 20;
constexpr std::uint64_t kPage = 4096;

class MemoryBurden final : public Burden {
 public:
  explicit MemoryBurden(const Json& order) : floor_(order.value("floor", std::uint64_t{0})) {
    if (order.contains("bytes")) bytes_ = order.at("bytes").get<std::uint64_t>();
    else leave_ = order.at("leave").get<std::uint64_t>();
  }

  Json take_up(const std::function<void()>& begun) override {
    if (bytes_ > 0) {
      begun();
      while (held_ < bytes_) {
        if (!floor_allows(bytes_ - held_)) throw at_the_floor();
        take(std::min(kPiece, bytes_ - held_));
      }
    } else {
      begun();
      while (approach()) continue;
    }
    return {{"bytes", held_}, {"locked", locked_}};
  }

  // "leave" stays what it says while others take memory and give it back. "bytes" stays what it is.
  void follow() override {
    if (bytes_ == 0) approach();
  }

 private:
  struct Piece {
    void* at;
    std::uint64_t bytes;
  };

  bool floor_allows(std::uint64_t wanted) const { return memory_of_host().available >= floor_ + std::min(kPiece, wanted); }

  Error at_the_floor() const {
    return Error(ErrorKind::refused, fmt::format("{} of {} were taken when only {} were left on this host", show_bytes(held_), show_bytes(bytes_), show_bytes(memory_of_host().available)),
                 "take less, or allow \"starve_host\"");
  }

  // One step towards what is to be left; false: there. The last step of less than two pieces is not taken, or it would go up and down.
  bool approach() {
    const HostMemory memory = memory_of_host();
    const std::uint64_t available = memory.available;
    const std::uint64_t target = std::max(leave_, floor_);
    const bool all_in_memory = held_ < memory.total - std::min(memory.total, target);  // else what we took was swapped out, and swap is not ours to fill
    if (available > target + kPiece && all_in_memory) {
      take(std::min(kPiece, available - target));
      return true;
    }
    if (available + kPiece < target && !pieces_.empty()) {
      give_back();
      return true;
    }
    return false;
  }

  void take(std::uint64_t bytes) {
    const std::uint64_t whole = (bytes + kPage - 1) / kPage * kPage;
    void* at = ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw system_error(errno, fmt::format("{} more memory cannot be had after {}", show_bytes(whole), show_bytes(held_)), "ask for less, or see the limits of the agent");
    pieces_.push_back({at, whole});
    ::madvise(at, whole, MADV_HUGEPAGE);
    // Nothing that a kernel could squeeze or share.
    auto* words = static_cast<std::uint64_t*>(at);
    for (std::uint64_t i = 0; i < whole / sizeof *words; ++i) words[i] = seed_ = seed_ * 6364136223846793005ULL + 1442695040888963407ULL;
    if (::mlock(at, whole) != 0) locked_ = false;
    held_ += whole;
  }

  void give_back() {
    const Piece last = pieces_.back();
    pieces_.pop_back();
    ::munmap(last.at, last.bytes);
    held_ -= last.bytes;
  }

  std::uint64_t bytes_ = 0;  // 0: `leave_` counts
  std::uint64_t leave_ = 0;
  std::uint64_t floor_ = 0;
  std::uint64_t held_ = 0;
  std::uint64_t seed_ = 1;
  bool locked_ = true;
  std::vector<Piece> pieces_;
};

}  // namespace

std::unique_ptr<Burden> memory_burden(const Json& order) { return std::make_unique<MemoryBurden>(order); }

}  // namespace capsize
