// Time is a parameter. Nothing outside this file's implementation asks what time it is or waits for it.
#pragma once
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "injector/base/task.h"
#include "injector/base/unique_fd.h"

namespace capsize {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;  // monotonic, of this machine
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;  // for people

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
  virtual WallTime wall() const = 0;
  // Returns at `when`, at once if that has passed. Throws boost::system::system_error (operation_aborted) when cancelled.
  virtual Task<> sleep_until(TimePoint when) = 0;

  Task<> sleep(Duration how_long);
};

// The machine's own clock. Thread: any; each coroutine sleeps on its own executor.
class SystemClock final : public Clock {
 public:
  TimePoint now() const override;
  WallTime wall() const override;
  Task<> sleep_until(TimePoint when) override;
};

// Virtual time for tests and simulations: jumps from one sleeper to the next when nothing is runnable. One thread.
class SimClock final : public Clock {
 public:
  SimClock();
  TimePoint now() const override { return now_; }
  WallTime wall() const override;
  Task<> sleep_until(TimePoint when) override;

  // Runs until nothing is runnable and nobody sleeps, or until `limit` of virtual time has passed.
  // Returns false when the limit was met first.
  bool run(asio::io_context& io, Duration limit = std::chrono::hours(24));

 private:
  struct Sleeper;
  TimePoint start_;
  TimePoint now_;
  std::multimap<TimePoint, std::shared_ptr<Sleeper>> sleepers_;
};

// A descriptor that becomes readable at a time of SystemClock, for a thread that waits in poll(): exact to the kernel's timers, where a
// poll's own limit is whole milliseconds, or late by the thread's timer slack.
class Alarm {
 public:
  Alarm();  // throws Error
  int fd() const { return fd_.get(); }
  void set(TimePoint when);  // in place of what was set; at once for a time that has passed
  void clear();

 private:
  UniqueFd fd_;
};

double seconds(Duration duration);
Duration from_seconds(double value);
std::string iso8601(WallTime time);  // "2026-11-22T22:00:03.123Z"

}  // namespace capsize
