#include "probes/http/connection.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <optional>

#include "injector/base/error.h"

namespace capsize {
namespace {

namespace http = boost::beast::http;
namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;

bool is_literal(const std::string& host) {
  boost::system::error_code error;
  asio::ip::make_address(host, error);
  return !error;
}

std::shared_ptr<ssl::context> tls_context(const TlsOptions& options) {
  const auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
  boost::system::error_code error;
  if (options.ca_file.empty()) {
    context->set_default_verify_paths(error);
  } else {
    context->load_verify_file(options.ca_file, error);
  }
  if (error) throw Error(ErrorKind::unavailable, fmt::format("the CA file {} cannot be used: {}", options.ca_file, error.message()), "give a file of PEM certificates");
  context->set_verify_mode(options.verify ? ssl::verify_peer : ssl::verify_none);
  return context;
}

// A cancelled operation is nobody's answer: the caller's time is up, and it must not be told that the connection broke.
void throw_if_cancelled(const boost::system::error_code& error) {
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
}

template <class Stream>
Task<HttpReply> exchange_on(Stream& stream, boost::beast::flat_buffer& buffer, HttpRequest request, std::size_t max_body) {
  HttpReply out;
  co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, out.error));
  throw_if_cancelled(out.error);
  // Even when the write failed there may be an answer to read: a server that closes early says why first.
  http::response_parser<http::string_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(kMaxHeaderBytes));
  parser.body_limit(max_body);
  boost::system::error_code read_error;
  co_await http::async_read(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, read_error));
  throw_if_cancelled(read_error);
  out.any_bytes = parser.got_some() || buffer.size() > 0;
  if (read_error) {
    if (!out.error) out.error = read_error;
    co_return out;
  }
  out.keep_alive = parser.keep_alive() && !out.error && buffer.size() == 0;
  out.error = {};
  out.status = parser.get().result_int();
  out.headers = static_cast<http::fields&&>(parser.get().base());
  out.body = std::move(parser.get().body());
  co_return out;
}

}  // namespace

bool tester_lacks(const boost::system::error_code& error) {
  using namespace boost::system::errc;
  return error == too_many_files_open || error == too_many_files_open_in_system || error == no_buffer_space || error == not_enough_memory ||
         error == address_not_available;
}

Task<std::shared_ptr<const Origin>> resolve_origin(Url url, TlsOptions options) {
  const auto executor = co_await asio::this_coro::executor;
  const auto origin = std::make_shared<Origin>();
  origin->url = url;
  if (url.tls) origin->tls = tls_context(options);
  tcp::resolver resolver(executor);
  boost::system::error_code error;
  const std::string port = std::to_string(url.address.port);
  const auto found = co_await resolver.async_resolve(url.address.host, port, asio::redirect_error(asio::use_awaitable, error));
  if (error) throw Error(ErrorKind::unavailable, fmt::format("the host name of {} does not resolve: {}", show(url), error.message()), "correct the URL, or the name service");
  for (const auto& entry : found) origin->endpoints.push_back(entry.endpoint());
  co_return origin;
}

struct Connection::Socket {
  Socket(const asio::any_io_executor& executor, const Origin& origin) : plain(executor) {
    if (origin.tls) tls.emplace(plain, *origin.tls);
  }
  tcp::socket plain;
  std::optional<ssl::stream<tcp::socket&>> tls;
};

Connection::Connection(asio::any_io_executor executor, std::shared_ptr<const Origin> origin)
    : executor_(std::move(executor)), origin_(std::move(origin)), buffer_(kMaxHeaderBytes + kMaxBodyBytes) {}

Connection::~Connection() = default;

Task<ConnectResult> Connection::connect() {
  ConnectResult out;
  for (const auto& endpoint : origin_->endpoints) {
    buffer_.clear();
    used = false;
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
  if (!origin_->tls) co_return out;
  out.in_tls = true;
  const std::string& host = origin_->url.address.host;
  if (!is_literal(host)) ::SSL_set_tlsext_host_name(socket_->tls->native_handle(), host.c_str());
  socket_->tls->set_verify_callback(ssl::host_name_verification(host), out.error);
  co_await socket_->tls->async_handshake(ssl::stream_base::client, asio::redirect_error(asio::use_awaitable, out.error));
  throw_if_cancelled(out.error);
  co_return out;
}

Task<HttpReply> Connection::exchange(HttpRequest request) {
  HttpReply out;
  if (socket_->tls) {
    out = co_await exchange_on(*socket_->tls, buffer_, std::move(request), origin_->max_body);
  } else {
    out = co_await exchange_on(socket_->plain, buffer_, std::move(request), origin_->max_body);
  }
  used = true;
  co_return out;
}

bool Connection::quiet() const {
  char byte = 0;
  const ssize_t got = ::recv(socket_->plain.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got > 0) return origin_->tls != nullptr;  // TLS 1.3 sends session tickets when it likes
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace capsize
