// Time limits for many pieces of work at once, nearly all of which end long before: one sleeper for all of them, where within() has a timer
// and two coroutines for each. For what is done tens of thousands of times a second.
#pragma once
#include <boost/asio/cancellation_signal.hpp>
#include <boost/intrusive/set.hpp>
#include <memory>
#include <optional>

#include "injector/base/clock.h"
#include "injector/base/task.h"

namespace capsize {

// Thread: that of the executor.
class Deadlines {
 public:
  // While it lives: cancels by `stop` what is not done at `when`, and has passed then. What passes while it is being entered is cancelled before
  // it begins. Whoever goes on after that resets its cancellation state. The Deadlines outlive it.
  class Watch : public boost::intrusive::set_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
   public:
    Watch(Deadlines& deadlines, TimePoint when, asio::cancellation_signal& stop);
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    bool passed() const { return passed_; }
    friend bool operator<(const Watch& a, const Watch& b) { return a.when_ < b.when_; }

   private:
    friend class Deadlines;
    const TimePoint when_;
    asio::cancellation_signal& stop_;
    bool passed_ = false;
  };

  Deadlines(Clock& clock, asio::any_io_executor executor);
  ~Deadlines();
  // When nothing is watched any more: the sleeper ends at once instead of at the last deadline it knew of, and the executor has nothing left to do.
  void rest();

 private:
  struct State {
    explicit State(Clock& of) : clock(of) {}
    Clock& clock;
    boost::intrusive::multiset<Watch, boost::intrusive::constant_time_size<false>> watches;
    std::optional<TimePoint> sleeping_until;  // while it sleeps
    bool watching = false;
    asio::cancellation_signal stop_sleep;
  };
  static Task<> sleep(std::shared_ptr<State> state);

  const asio::any_io_executor executor_;
  const std::shared_ptr<State> state_;  // the sleeper may end later
};

}  // namespace capsize
