#include "probes/http/connection.h"

#include <fmt/format.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>

#include "injector/base/error.h"
#include "probes/http/tls_sessions.h"

namespace capsize {
namespace {

namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;

void present_certificate(ssl::context& context, const TlsOptions& options) {
  boost::system::error_code error;
  context.use_certificate_chain_file(options.client_cert, error);
  if (error) throw Error(ErrorKind::unavailable, fmt::format("the client certificate {} cannot be used: {}", options.client_cert, error.message()), "give a PEM file: the certificate, then its chain");
  const std::string& key = options.client_key.empty() ? options.client_cert : options.client_key;
  context.use_private_key_file(key, ssl::context::pem, error);
  if (error) throw Error(ErrorKind::unavailable, fmt::format("the key {} of the client certificate cannot be used: {}", key, error.message()), "give the PEM file of its key, without a passphrase");
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
  ::SSL_CTX_set_session_cache_mode(context->native_handle(), SSL_SESS_CACHE_OFF);
  if (!options.client_cert.empty()) present_certificate(*context, options);
  return context;
}

}  // namespace

void throw_if_cancelled(const boost::system::error_code& error) {
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
}

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
  if (url.tls && options.resume) origin->sessions = std::make_shared<TlsSessions>(*origin->tls->native_handle());
  tcp::resolver resolver(executor);
  boost::system::error_code error;
  const std::string port = std::to_string(url.address.port);
  const auto found = co_await resolver.async_resolve(url.address.host, port, asio::redirect_error(asio::use_awaitable, error));
  if (error) throw Error(ErrorKind::unavailable, fmt::format("the host name of {} does not resolve: {}", show(url), error.message()), "correct the URL, or the name service");
  for (const auto& entry : found) origin->endpoints.push_back(entry.endpoint());
  co_return origin;
}

Readiness& readiness_of(const asio::any_io_executor& executor) { return asio::use_service<Readiness>(asio::query(executor, asio::execution::context)); }

Task<ConnectResult> connect_plain(Readiness& readiness, std::shared_ptr<const Origin> origin, std::unique_ptr<Socket>& out) {
  ConnectResult result;
  for (const auto& endpoint : origin->endpoints) {
    out = std::make_unique<Socket>(readiness);
    result.error = co_await out->connect(endpoint);
    throw_if_cancelled(result.error);
    if (!result.error || tester_lacks(result.error)) break;
  }
  co_return result;
}

Task<ConnectResult> secure(Socket& socket, std::shared_ptr<const Origin> origin) {
  ConnectResult result;
  result.in_tls = true;
  result.error = co_await socket.shake_hands(*origin->tls->native_handle(), origin->url.address.host, origin->sessions ? origin->sessions->last() : nullptr);
  throw_if_cancelled(result.error);
  co_return result;
}

Connection::Connection(const asio::any_io_executor& executor, std::shared_ptr<const Origin> origin)
    : readiness_(readiness_of(executor)), origin_(std::move(origin)), parser_(origin_->max_body) {}

Connection::~Connection() = default;

Task<ConnectResult> Connection::connect() {
  used = false;
  auto out = co_await connect_plain(readiness_, origin_, socket_);
  if (out.error || !origin_->tls) co_return out;
  out = co_await secure(*socket_, origin_);
  co_return out;
}

Task<HttpReply> Connection::exchange(std::string_view wire) {
  HttpReply out;
  for (bool may_be_stale = used;; may_be_stale = false) {
    parser_.begin();
    boost::system::error_code send_error;
    for (std::string_view rest = wire; !rest.empty() && !send_error;) {
      if (socket_->write_some(rest, send_error)) continue;
      co_await socket_->async_wait(asio::redirect_error(asio::use_awaitable, send_error));
      throw_if_cancelled(send_error);
    }
    // Even when the write failed there may be an answer to read: a server that closes early says why first.
    out.error = {};
    auto state = ReplyParser::State::wants_more;
    while (state == ReplyParser::State::wants_more && !out.error) {
      std::string_view bytes;
      if (socket_->read_some(bytes, out.error)) {
        if (!out.error) state = parser_.feed(bytes);
        if (out.error == asio::error::eof) state = parser_.end();
        continue;
      }
      co_await socket_->async_wait(asio::redirect_error(asio::use_awaitable, out.error));
      throw_if_cancelled(out.error);
    }
    used = true;
    out.any_bytes = parser_.any_bytes();
    if (state == ReplyParser::State::complete) {
      out.error = {};
      out.keep_alive = parser_.keep_alive() && !send_error;
      out.status = parser_.status();
      out.head = parser_.take_head();
      out.body = parser_.take_body();
      co_return out;
    }
    if (!out.error) out.error = make_error_code(boost::system::errc::bad_message);
    if (send_error) out.error = send_error;
    if (out.any_bytes || !may_be_stale) co_return out;
    out.connect = co_await connect();
    if (out.connect.error) co_return out;
  }
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

bool Connection::quiet() const { return socket_->quiet(); }

}  // namespace capsize
