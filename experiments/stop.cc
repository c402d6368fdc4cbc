#include "experiments/stop.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/system/system_error.hpp>
#include <exception>

namespace capsize {

void StopSource::request(std::string kind, std::string because) {
  if (requested_) return;
  requested_ = true;
  kind_ = std::move(kind);
  because_ = std::move(because);
  signal_.emit(asio::cancellation_type::terminal);
}

Task<> StopSource::unless_stopped(Task<> work) {
  if (requested_) co_return;
  const auto executor = co_await asio::this_coro::executor;
  std::exception_ptr error;
  try {
    co_await asio::co_spawn(executor, std::move(work), asio::bind_cancellation_slot(signal_.slot(), asio::use_awaitable));
  } catch (const boost::system::system_error& problem) {
    if (!requested_ || problem.code() != asio::error::operation_aborted) error = std::current_exception();
  } catch (...) {
    error = std::current_exception();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace capsize
