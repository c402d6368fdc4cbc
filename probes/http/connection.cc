#include "probes/http/connection.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <optional>

#include "injector/base/error.h"

namespace capsize {
namespace {

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

// On a plain connection a request is sent without waiting where that is possible: each wait costs a turn of the loop.
Task<boost::system::error_code> send(tcp::socket& socket, std::string_view wire) {
  boost::system::error_code error;
  const std::size_t sent = socket.write_some(asio::buffer(wire), error);
  if (error == asio::error::would_block) error = {};
  if (error || sent == wire.size()) co_return error;
  co_await asio::async_write(socket, asio::buffer(wire.substr(sent)), asio::redirect_error(asio::use_awaitable, error));
  co_return error;
}

Task<boost::system::error_code> send(ssl::stream<tcp::socket&>& stream, std::string_view wire) {
  boost::system::error_code error;
  co_await asio::async_write(stream, asio::buffer(wire), asio::redirect_error(asio::use_awaitable, error));
  co_return error;
}

// Only a reply that is awaited has a buffer: of thousands of open connections most are idle.
template <class Stream>
Task<boost::system::error_code> receive(Stream& stream, ReplyParser& parser) {
  boost::system::error_code error;
  std::array<char, 2 * 1024> bytes;
  auto state = ReplyParser::State::wants_more;
  while (state == ReplyParser::State::wants_more && !error) {
    const std::size_t got = co_await stream.async_read_some(asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
    if (got > 0) state = parser.feed({bytes.data(), got});
    if (error == asio::error::eof) state = parser.end();
  }
  if (state == ReplyParser::State::complete) error = {};
  if (state == ReplyParser::State::bad && !error) error = make_error_code(boost::system::errc::bad_message);
  co_return error;
}

template <class Stream>
Task<HttpReply> exchange_on(Stream& stream, ReplyParser& parser, std::string wire) {
  HttpReply out;
  parser.begin();
  const auto send_error = co_await send(stream, wire);
  throw_if_cancelled(send_error);
  // Even when the write failed there may be an answer to read: a server that closes early says why first.
  const auto read_error = co_await receive(stream, parser);
  throw_if_cancelled(read_error);
  out.any_bytes = parser.any_bytes();
  if (read_error) {
    out.error = send_error ? send_error : read_error;
    co_return out;
  }
  out.keep_alive = parser.keep_alive() && !send_error;
  out.status = parser.status();
  out.head = parser.head();
  out.body = parser.take_body();
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
    : executor_(std::move(executor)), origin_(std::move(origin)), parser_(origin_->max_body) {}

Connection::~Connection() = default;

Task<ConnectResult> Connection::connect() {
  ConnectResult out;
  for (const auto& endpoint : origin_->endpoints) {
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
  if (!origin_->tls) {
    socket_->plain.non_blocking(true, out.error);
    co_return out;
  }
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
  auto wire = wire_of(request);
  if (socket_->tls) {
    out = co_await exchange_on(*socket_->tls, parser_, std::move(wire));
  } else {
    out = co_await exchange_on(socket_->plain, parser_, std::move(wire));
  }
  used = true;
  co_return out;
}

std::string wire_of(const HttpRequest& request) {
  constexpr std::size_t kRoomForHeaders = 512;
  std::string out;
  out.reserve(request.body().size() + kRoomForHeaders);
  const auto add = [&out](boost::beast::string_view text) { out.append(text.data(), text.size()); };
  add(request.method_string());
  out += ' ';
  add(request.target());
  out += " HTTP/1.1\r\n";
  for (const auto& field : request) {
    add(field.name_string());
    out += ": ";
    add(field.value());
    out += "\r\n";
  }
  out += "\r\n";
  out += request.body();
  return out;
}

bool Connection::quiet() const {
  char byte = 0;
  const ssize_t got = ::recv(socket_->plain.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got > 0) return origin_->tls != nullptr;  // TLS 1.3 sends session tickets when it likes
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace capsize
