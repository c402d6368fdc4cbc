#include "probes/login/byte_stream.h"

#include <boost/asio/redirect_error.hpp>

namespace capsize {

ByteStream::ByteStream(const asio::any_io_executor& executor, std::shared_ptr<const Origin> origin) : origin_(std::move(origin)), readiness_(readiness_of(executor)) {}

Task<ConnectResult> ByteStream::connect() { return connect_plain(readiness_, origin_, socket_); }

Task<ConnectResult> ByteStream::secure() { return capsize::secure(*socket_, origin_); }

Task<boost::system::error_code> ByteStream::write(std::string bytes) {
  boost::system::error_code error;
  for (std::string_view rest = bytes; !rest.empty() && !error;) {
    if (socket_->write_some(rest, error)) continue;
    co_await socket_->async_wait(asio::redirect_error(asio::use_awaitable, error));
    throw_if_cancelled(error);
  }
  co_return error;
}

Task<BytesRead> ByteStream::read() {
  BytesRead out;
  std::string_view bytes;
  while (!out.error && !socket_->read_some(bytes, out.error)) {
    co_await socket_->async_wait(asio::redirect_error(asio::use_awaitable, out.error));
    throw_if_cancelled(out.error);
  }
  out.bytes = bytes;
  co_return out;
}

void ByteStream::write_and_forget(const std::string& bytes) {
  boost::system::error_code ignored;
  std::string_view rest = bytes;
  socket_->write_some(rest, ignored);
}

}  // namespace capsize
