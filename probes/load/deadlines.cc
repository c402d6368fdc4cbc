#include "probes/load/deadlines.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace capsize {

Deadlines::Deadlines(Clock& clock, asio::any_io_executor executor) : executor_(std::move(executor)), state_(std::make_shared<State>(clock)) {}

Deadlines::~Deadlines() { rest(); }

void Deadlines::rest() {
  if (state_->sleeping_until) state_->stop_sleep.emit(asio::cancellation_type::terminal);
}

Task<> Deadlines::sleep(std::shared_ptr<State> state) {
  const auto executor = co_await asio::this_coro::executor;
  while (!state->watches.empty()) {
    Watch& first = *state->watches.begin();
    if (first.when_ > state->clock.now()) {
      state->sleeping_until = first.when_;
      auto sleeping = asio::co_spawn(executor, state->clock.sleep_until(first.when_), asio::bind_cancellation_slot(state->stop_sleep.slot(), asio::use_awaitable));
      try {
        co_await std::move(sleeping);
      } catch (const boost::system::system_error&) {  // woken: something is due sooner, or nothing is left
      }
      state->sleeping_until.reset();
      continue;
    }
    state->watches.erase(state->watches.begin());
    first.passed_ = true;
    first.stop_.emit(asio::cancellation_type::terminal);  // may end the work, and the watch with it
  }
  state->watching = false;  // here, not in the completion, which may come a turn later: a watch in between would have nobody to see to it
}

// Most are entered in the order in which they are due.
Deadlines::Watch::Watch(Deadlines& deadlines, TimePoint when, asio::cancellation_signal& stop) : when_(when), stop_(stop) {
  State& state = *deadlines.state_;
  state.watches.insert(state.watches.cend(), *this);
  if (!state.watching) {
    state.watching = true;
    asio::co_spawn(deadlines.executor_, sleep(deadlines.state_), [](std::exception_ptr bug) {
      if (bug) std::rethrow_exception(bug);
    });
  } else if (state.sleeping_until && when < *state.sleeping_until) {
    deadlines.rest();
  }
}

}  // namespace capsize
