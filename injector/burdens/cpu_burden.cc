// Processor time that is taken: a thread on each chosen CPU runs for a share of the time, and sleeps for the rest.
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <vector>

#include "injector/base/cpu_time.h"
#include "injector/base/error.h"
#include "injector/burdens/burden.h"

namespace capsize {
namespace {

constexpr Duration kPeriod = std::chrono::milliseconds(20);
constexpr Duration kMostOwed = std::chrono::milliseconds(200);  // what others took from us and we still make up for

void stay_on(int cpu) {
  std::vector<cpu_set_t> set(static_cast<std::size_t>(cpu) / CPU_SETSIZE + 1);
  const std::size_t bytes = set.size() * sizeof(cpu_set_t);
  CPU_ZERO_S(bytes, set.data());
  CPU_SET_S(static_cast<std::size_t>(cpu), bytes, set.data());
  if (::sched_setaffinity(0, bytes, set.data()) != 0) throw system_error(errno, fmt::format("CPU {} cannot be used", cpu), "see which CPUs the agent may use: taskset -p");
}

Duration part_of(double share, Duration whole) { return Duration(static_cast<Duration::rep>(share * static_cast<double>(whole.count()))); }

void run_for(Duration processor_time) {
  const Duration end = thread_cpu_time() + processor_time;
  volatile std::uint64_t work = 1;
  while (thread_cpu_time() < end) {
    for (int i = 0; i < 2000; ++i) work = work * 6364136223846793005ULL + 1442695040888963407ULL;
  }
}

// Measured in processor time, so that a share is one also where others want the CPU too.
void burn(double share) {
  const SystemClock clock;
  Alarm wake;
  TimePoint begun = clock.now();
  const Duration used_before = thread_cpu_time();
  for (;;) {
    const TimePoint now = clock.now();
    Duration owed = part_of(share, now - begun + kPeriod) - (thread_cpu_time() - used_before);
    if (owed > kMostOwed) {
      begun += from_seconds(seconds(owed - kMostOwed) / share);
      owed = kMostOwed;
    }
    if (owed.count() > 0) run_for(std::min(owed, kPeriod));
    if (share >= 1 || clock.now() >= now + kPeriod) continue;
    wake.set(now + kPeriod);
    pollfd due = {wake.fd(), POLLIN, 0};
    ::poll(&due, 1, -1);
  }
}

class CpuBurden final : public Burden {
 public:
  explicit CpuBurden(const Json& order) : cpus_(order.at("cpus").get<std::vector<int>>()), share_(order.at("share").get<double>()) {
    if (cpus_.empty() || share_ <= 0 || share_ > 1 || *std::min_element(cpus_.begin(), cpus_.end()) < 0) throw Error(ErrorKind::bug, "a burden of no CPU", "this is a bug in capsize");
  }

  Json take_up(const std::function<void()>& begun) override {
    cpu_set_t before;
    const bool known = ::sched_getaffinity(0, sizeof before, &before) == 0;
    for (const int cpu : cpus_) {
      stay_on(cpu);  // for the thread that begins here
      std::thread([share = share_] { burn(share); }).detach();  // ends with the process, like everything here
    }
    if (known) ::sched_setaffinity(0, sizeof before, &before);
    begun();
    return {{"cpus", cpus_}, {"share", share_}};
  }

 private:
  std::vector<int> cpus_;
  double share_;
};

}  // namespace

std::unique_ptr<Burden> cpu_burden(const Json& order) { return std::make_unique<CpuBurden>(order); }

}  // namespace capsize
