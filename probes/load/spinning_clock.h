// A clock for pacing: it sleeps until shortly before the time, and spends the rest looking at the clock, for a thread that sleeps is woken
// tens of microseconds late. What else is ready on the executor runs meanwhile.
#pragma once
#include "injector/base/clock.h"

namespace capsize {

inline constexpr Duration kSpinFor = std::chrono::microseconds(100);

// Thread: as the clock it is made of, which it needs.
class SpinningClock final : public Clock {
 public:
  explicit SpinningClock(Clock& clock) : clock_(clock) {}
  TimePoint now() const override { return clock_.now(); }
  WallTime wall() const override { return clock_.wall(); }
  Task<> sleep_until(TimePoint when) override;

 private:
  Clock& clock_;
};

int cores_of_this_process();  // that it may run on

// Spinning takes kSpinFor of a core for each login: worth it where there is a core to spare, and as long as it stays a fraction of that core.
bool worth_spinning(double logins_per_second);

}  // namespace capsize
