// How much of a core a thread uses.
#pragma once
#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "injector/base/clock.h"

namespace capsize {

// Thread: the one that `used` speaks of.
class CpuShare {
 public:
  // `used`: how long that thread has run, as thread_cpu_time() does; none where time is virtual. A stretch shorter than `least` says nothing:
  // whoever was held up does in a moment, at full speed, what piled up.
  CpuShare(const Clock& clock, std::function<Duration()> used, Duration least) : clock_(clock), used_(std::move(used)), least_(least) {}

  // 0 to 1, of the time since it was last measured; nothing before there is such a time, or where it cannot be known.
  std::optional<double> now() {
    if (!used_) return std::nullopt;
    const TimePoint at = clock_.now();
    if (measured_at_ && at - *measured_at_ < least_) return share_;
    const Duration used = used_();
    if (measured_at_) share_ = std::clamp(seconds(used - used_then_) / seconds(at - *measured_at_), 0.0, 1.0);
    measured_at_ = at;
    used_then_ = used;
    return share_;
  }

 private:
  const Clock& clock_;
  const std::function<Duration()> used_;
  const Duration least_;
  std::optional<TimePoint> measured_at_;
  Duration used_then_{};
  std::optional<double> share_;
};

}  // namespace capsize
