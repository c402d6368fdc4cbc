// Work that must run to its end whatever its caller meets: `settle` gives its outcome as a value, `uncancelled` as a result.
#pragma once
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <variant>

#include "injector/base/task.h"

namespace capsize {

template <class T>
struct Settled {
  explicit Settled(const asio::any_io_executor& executor) : finished(executor) { finished.expires_at(asio::steady_timer::time_point::max()); }
  std::optional<std::conditional_t<std::is_void_v<T>, std::monostate, T>> value;
  std::exception_ptr error;
  bool done = false;
  asio::steady_timer finished;
};

// Runs `work` as a coroutine of its own and waits for its end; never throws what `work` throws. A cancellation of the caller does not
// reach `work`: the caller meets it at its next await. `stop` cancels the work alone. Thread: the coroutine's own executor, of one thread.
template <class T>
Task<std::shared_ptr<Settled<T>>> settle(Task<T> work, asio::cancellation_slot stop = {}) {
  const auto executor = co_await asio::this_coro::executor;
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto state = std::make_shared<Settled<T>>(executor);
  if constexpr (std::is_void_v<T>) {
    asio::co_spawn(executor, std::move(work), asio::bind_cancellation_slot(stop, [state](std::exception_ptr error) {
                     state->error = error;
                     if (!error) state->value.emplace();
                     state->done = true;
                     state->finished.cancel();
                   }));
  } else {
    asio::co_spawn(executor, std::move(work), asio::bind_cancellation_slot(stop, [state](std::exception_ptr error, T value) {
                     state->error = error;
                     if (!error) state->value.emplace(std::move(value));
                     state->done = true;
                     state->finished.cancel();
                   }));
  }
  while (!state->done) {
    boost::system::error_code ignored;
    co_await state->finished.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_await asio::this_coro::throw_if_cancelled(throws);
  co_return state;
}

// The result of `work`, which no cancellation of the caller interrupts.
template <class T>
Task<T> uncancelled(Task<T> work) {
  const auto settled = co_await settle<T>(std::move(work));
  if (settled->error) std::rethrow_exception(settled->error);
  if constexpr (!std::is_void_v<T>) co_return std::move(*settled->value);
}

}  // namespace capsize
