#include "probes/login/byte_stream.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <optional>

namespace capsize {
namespace {

namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;

constexpr std::size_t kReadAtOnce = 4096;

void throw_if_cancelled(const boost::system::error_code& error) {
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
}

}  // namespace

struct ByteStream::Socket {
  Socket(const asio::any_io_executor& executor, const Origin& origin) : plain(executor) {
    if (origin.tls) tls.emplace(plain, *origin.tls);
  }
  tcp::socket plain;
  std::optional<ssl::stream<tcp::socket&>> tls;
  bool secured = false;
};

ByteStream::ByteStream(asio::any_io_executor executor, std::shared_ptr<const Origin> origin) : origin_(std::move(origin)), executor_(std::move(executor)) {}

ByteStream::~ByteStream() = default;

Task<ConnectResult> ByteStream::connect() {
  ConnectResult out;
  for (const auto& endpoint : origin_->endpoints) {
    socket_ = std::make_unique<Socket>(executor_, *origin_);
    out.error = {};
    socket_->plain.open(endpoint.protocol(), out.error);
    if (out.error) co_return out;
    co_await socket_->plain.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, out.error));
    throw_if_cancelled(out.error);
    if (!out.error) break;
  }
  if (out.error) co_return out;
  boost::system::error_code ignored;
  socket_->plain.set_option(tcp::no_delay(true), ignored);
  co_return out;
}

Task<ConnectResult> ByteStream::secure() {
  ConnectResult out;
  out.in_tls = true;
  const std::string& host = origin_->url.address.host;
  boost::system::error_code no_address;
  asio::ip::make_address(host, no_address);
  if (no_address) ::SSL_set_tlsext_host_name(socket_->tls->native_handle(), host.c_str());
  socket_->tls->set_verify_callback(ssl::host_name_verification(host), out.error);
  co_await socket_->tls->async_handshake(ssl::stream_base::client, asio::redirect_error(asio::use_awaitable, out.error));
  throw_if_cancelled(out.error);
  socket_->secured = !out.error;
  co_return out;
}

Task<boost::system::error_code> ByteStream::write(std::string bytes) {
  boost::system::error_code error;
  if (socket_->secured) {
    co_await asio::async_write(*socket_->tls, asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
  } else {
    co_await asio::async_write(socket_->plain, asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
  }
  throw_if_cancelled(error);
  co_return error;
}

Task<BytesRead> ByteStream::read() {
  BytesRead out;
  out.bytes.resize(kReadAtOnce);
  std::size_t size = 0;
  if (socket_->secured) {
    size = co_await socket_->tls->async_read_some(asio::buffer(out.bytes), asio::redirect_error(asio::use_awaitable, out.error));
  } else {
    size = co_await socket_->plain.async_read_some(asio::buffer(out.bytes), asio::redirect_error(asio::use_awaitable, out.error));
  }
  throw_if_cancelled(out.error);
  out.bytes.resize(size);
  co_return out;
}

void ByteStream::write_and_forget(const std::string& bytes) {
  boost::system::error_code ignored;
  socket_->plain.non_blocking(true, ignored);
  if (!socket_->secured) socket_->plain.write_some(asio::buffer(bytes), ignored);
}

}  // namespace capsize
