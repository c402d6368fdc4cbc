#include "probes/load/deadlines.h"

#include <boost/asio/co_spawn.hpp>

namespace capsize {

void Deadlines::State::watch(const asio::any_io_executor& executor) {
  if (!watching) {
    watching = true;
    asio::co_spawn(executor, sleep(shared_from_this()), [](std::exception_ptr bug) {
      if (bug) std::rethrow_exception(bug);
    });
  } else if (sleeping_until && entries.begin()->first < *sleeping_until) {
    wake();
  }
}

void Deadlines::State::wake() {
  if (sleeping_until) stop_sleep.emit(asio::cancellation_type::terminal);
}

Task<> Deadlines::State::sleep(std::shared_ptr<State> self) {
  const auto executor = co_await asio::this_coro::executor;
  while (!self->entries.empty()) {
    const TimePoint next = self->entries.begin()->first;
    if (next > self->clock.now()) {
      self->sleeping_until = next;
      auto sleeping = asio::co_spawn(executor, self->clock.sleep_until(next), asio::bind_cancellation_slot(self->stop_sleep.slot(), asio::use_awaitable));
      try {
        co_await std::move(sleeping);
      } catch (const boost::system::system_error&) {  // woken: something is due sooner, or nothing is left
      }
      self->sleeping_until.reset();
      continue;
    }
    Entry& late = *self->entries.begin()->second;
    self->entries.erase(self->entries.begin());
    late.passed = true;
    late.stop.emit(asio::cancellation_type::terminal);  // may end it, and the entry with it
  }
  self->watching = false;  // here, not in the completion, which may come a turn later: an entry in between would have nobody to watch it
}

}  // namespace capsize
