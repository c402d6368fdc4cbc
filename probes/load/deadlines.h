// Time limits for many pieces of work at once, nearly all of which end long before: one sleeper for all of them, where within() has a timer
// and two coroutines for each. For what is done tens of thousands of times a second.
#pragma once
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <memory>
#include <optional>

#include "injector/base/clock.h"
#include "injector/base/task.h"

namespace capsize {

// Thread: that of the executor of whoever calls limit(), always the same.
class Deadlines {
 public:
  explicit Deadlines(Clock& clock) : state_(std::make_shared<State>(clock)) {}

  // When nothing is under way any more: the sleeper ends at once instead of at the last deadline it knew of, and the executor has nothing left to do.
  void rest() { state_->wake(); }

  // The result of `work`, or nothing when it was not done at `when`: then it has been cancelled and has ended. What `work` throws is thrown
  // here. Not cancellable from outside. T needs a default constructor.
  template <class T>
  Task<std::optional<T>> limit(TimePoint when, Task<T> work) {
    const auto executor = co_await asio::this_coro::executor;
    const auto state = state_;
    Entry entry(*state, when);
    state->watch(executor);
    if (entry.passed) co_return std::nullopt;  // while it was being entered: nothing has begun, and a cancellation now would be lost
    std::optional<T> out;
    auto running = asio::co_spawn(executor, std::move(work), asio::bind_cancellation_slot(entry.stop.slot(), asio::use_awaitable));
    try {
      out = co_await std::move(running);
    } catch (const boost::system::system_error& error) {
      if (!entry.passed || error.code() != asio::error::operation_aborted) throw;
    }
    co_return out;
  }

 private:
  struct Entry;
  struct State : std::enable_shared_from_this<State> {
    explicit State(Clock& of) : clock(of) {}
    void watch(const asio::any_io_executor& executor);  // until nothing is left to watch
    void wake();
    static Task<> sleep(std::shared_ptr<State> self);

    Clock& clock;
    std::multimap<TimePoint, Entry*> entries;
    std::optional<TimePoint> sleeping_until;  // while it sleeps
    bool watching = false;
    asio::cancellation_signal stop_sleep;
  };
  struct Entry {
    Entry(State& of, TimePoint when) : state(of), place(of.entries.emplace(when, this)) {}
    ~Entry() {
      if (!passed) state.entries.erase(place);
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

    State& state;
    std::multimap<TimePoint, Entry*>::iterator place;
    asio::cancellation_signal stop;
    bool passed = false;  // and no longer in the map
  };

  std::shared_ptr<State> state_;
};

}  // namespace capsize
