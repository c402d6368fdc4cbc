#include "probes/load/retries.h"

#include <algorithm>
#include <cmath>

#include "injector/base/error.h"
#include "injector/base/scattered.h"

namespace capsize {

bool Retries::again(Answer answer, std::uint64_t made) const {
  if (policy == RetryPolicy::none || made > most) return false;
  switch (answer) {
    case Answer::ok:
    case Answer::wrongly_accepted:
    case Answer::rejected_rightly: return false;
    case Answer::denied:
    case Answer::refused:
    case Answer::timed_out:
    case Answer::broken: break;
  }
  return true;
}

Duration Retries::pause_after(std::uint64_t made, std::uint64_t login) const {
  CAPSIZE_CHECK(made > 0);
  auto whole = static_cast<double>(pause.count());
  if (policy == RetryPolicy::exponential) {
    whole = std::min(std::ldexp(whole, static_cast<int>(std::min<std::uint64_t>(made - 1, 62))), static_cast<double>(longest_pause.count()));
  }
  const double drawn = static_cast<double>(scattered(key, login * (most + 1) + made) >> 11) * 0x1.0p-53;
  return Duration(std::llround(whole * (1 - jitter.value * drawn)));
}

TimePoint Retries::attempt_deadline(TimePoint now, TimePoint login_deadline) const {
  if (policy == RetryPolicy::none || attempt_timeout <= Duration::zero()) return login_deadline;
  return std::min(login_deadline, now + attempt_timeout);
}

}  // namespace capsize
