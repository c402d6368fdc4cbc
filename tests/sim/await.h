// Runs one coroutine to its end in virtual time and returns what it returns or throws what it throws.
#pragma once
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>
#include <stdexcept>

#include "injector/base/clock.h"

namespace capsize {

template <class T>
T await_in(SimClock& clock, asio::io_context& io, Task<T> work) {
  std::optional<T> value;
  std::exception_ptr error;
  asio::co_spawn(io, std::move(work), [&](std::exception_ptr problem, T result) {
    error = problem;
    if (!problem) value.emplace(std::move(result));
  });
  clock.run(io);
  if (error) std::rethrow_exception(error);
  if (!value) throw std::logic_error("the coroutine waits for something that never happens");
  return std::move(*value);
}

inline void await_in(SimClock& clock, asio::io_context& io, Task<> work) {
  bool done = false;
  std::exception_ptr error;
  asio::co_spawn(io, std::move(work), [&](std::exception_ptr problem) {
    error = problem;
    done = true;
  });
  clock.run(io);
  if (error) std::rethrow_exception(error);
  if (!done) throw std::logic_error("the coroutine waits for something that never happens");
}

}  // namespace capsize
