// Interrupts the system call that this thread waits in (EINTR), for a wait that knows no time limit of its own.
#pragma once
#include <ctime>

#include "injector/base/clock.h"

namespace capsize {

// Of the thread that made it, which alone may use it. It sends that thread SIGURG, with a handler that does nothing, and unblocks it there.
class ThreadAlarm {
 public:
  ThreadAlarm();  // throws Error
  ~ThreadAlarm();
  ThreadAlarm(const ThreadAlarm&) = delete;
  ThreadAlarm& operator=(const ThreadAlarm&) = delete;
  // At `when`, and every `again` from then on until it is set anew: one that comes right before the wait begins would be lost.
  void set(TimePoint when, Duration again);

 private:
  timer_t timer_{};
};

}  // namespace capsize
