// A time limit for a piece of work. Asio's `work || timeout` waits for the first *success* and can drop an exception; this does neither.
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

#include "injector/base/clock.h"
#include "injector/base/task.h"

namespace capsize {

namespace within_detail {

template <class T>
using Stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
struct State {
  explicit State(const asio::any_io_executor& executor) : finished(executor) { finished.expires_at(asio::steady_timer::time_point::max()); }
  std::optional<Stored<T>> value;
  std::exception_ptr error;
  bool work_done = false;
  bool sleep_done = false;
  bool expired = false;
  asio::cancellation_signal stop_work;
  asio::cancellation_signal stop_sleep;
  asio::steady_timer finished;

  void work_ended() {
    work_done = true;
    if (!sleep_done) stop_sleep.emit(asio::cancellation_type::terminal);
    if (sleep_done) finished.cancel();
  }
  void sleep_ended(std::exception_ptr problem) {
    sleep_done = true;
    if (!work_done && !problem) {
      expired = true;
      stop_work.emit(asio::cancellation_type::terminal);
    }
    if (work_done) finished.cancel();
  }
};

template <class T>
void start_work(const asio::any_io_executor& executor, const std::shared_ptr<State<T>>& state, Task<T> work) {
  if constexpr (std::is_void_v<T>) {
    asio::co_spawn(executor, std::move(work), asio::bind_cancellation_slot(state->stop_work.slot(), [state](std::exception_ptr error) {
                     state->error = error;
                     if (!error) state->value.emplace();
                     state->work_ended();
                   }));
  } else {
    asio::co_spawn(executor, std::move(work), asio::bind_cancellation_slot(state->stop_work.slot(), [state](std::exception_ptr error, T value) {
                     state->error = error;
                     if (!error) state->value.emplace(std::move(value));
                     state->work_ended();
                   }));
  }
}

}  // namespace within_detail

// The result of `work`, or nothing when `limit` passed first (then `work` has been cancelled and has ended). What `work` throws is thrown
// here. Cancelling the caller cancels `work`, waits for its end and throws operation_aborted. T needs a default constructor.
// Thread: the coroutine's own executor, which must be of one thread.
template <class T>
Task<std::optional<within_detail::Stored<T>>> within(Clock& clock, Duration limit, Task<T> work) {
  const auto executor = co_await asio::this_coro::executor;
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto state = std::make_shared<within_detail::State<T>>(executor);
  within_detail::start_work<T>(executor, state, std::move(work));
  asio::co_spawn(executor, clock.sleep_until(clock.now() + limit),
                 asio::bind_cancellation_slot(state->stop_sleep.slot(), [state](std::exception_ptr problem) { state->sleep_ended(problem); }));
  auto cancelled = asio::cancellation_type::none;
  while (!state->work_done || !state->sleep_done) {
    boost::system::error_code ignored;
    co_await state->finished.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    const auto cancellation = co_await asio::this_coro::cancellation_state;
    if (cancelled == asio::cancellation_type::none && cancellation.cancelled() != asio::cancellation_type::none) {
      cancelled = cancellation.cancelled();
      co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
      if (!state->work_done) state->stop_work.emit(asio::cancellation_type::terminal);
      if (!state->sleep_done) state->stop_sleep.emit(asio::cancellation_type::terminal);
    }
  }
  if (cancelled != asio::cancellation_type::none) throw boost::system::system_error(asio::error::operation_aborted);
  if (state->value) co_return std::move(state->value);
  if (state->expired) co_return std::nullopt;
  std::rethrow_exception(state->error);
}

}  // namespace capsize
