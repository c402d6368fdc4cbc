#include "experiments/lab/auth_server.h"

#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cstdio>

#include "experiments/lab/credentials.h"
#include "injector/base/error.h"

namespace capsize {

namespace http = boost::beast::http;
using asio::ip::tcp;

struct AuthServer::Request : http::request<http::string_body> {};

namespace {

constexpr Duration kAcceptRetry = std::chrono::milliseconds(100);

std::string text_of(const tcp::endpoint& endpoint) {
  return endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
}

tcp::acceptor listen_at(asio::io_context& io, const tcp::endpoint& where) {
  try {
    return tcp::acceptor(io, where, true);
  } catch (const boost::system::system_error& error) {
    throw Error(ErrorKind::unavailable, "cannot listen on " + text_of(where) + ": " + error.code().message(),
                "give --listen an address that is free, or port 0 to have one chosen");
  }
}

// Whether the peer has closed or reset its side. Data that waits (a pipelined request) means it is there.
bool has_gone(tcp::socket& socket) {
  char byte = 0;
  const ssize_t got = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

Json complaint(const std::string& text) { return Json::object({{"error", text}}); }

// The answer to a request that could not be read, or 0 when the peer has just gone.
unsigned status_of_unreadable(const boost::system::error_code& error) {
  if (error == http::error::header_limit) return 431;
  if (error == http::error::body_limit) return 413;
  const bool is_syntax = error.category() == http::make_error_code(http::error::bad_method).category();
  const bool just_gone = error == http::error::end_of_stream || error == http::error::partial_message;
  return is_syntax && !just_gone ? 400 : 0;
}

}  // namespace

AuthServer::AuthServer(asio::io_context& io, Clock& clock, Accounts& accounts, AuthOptions options)
    : clock_(clock),
      accounts_(accounts),
      options_(std::move(options)),
      tokens_(options_.token_key),
      desk_(clock, accounts, options_.desk),
      acceptor_(listen_at(io, options_.listen)) {}

tcp::endpoint AuthServer::endpoint() const { return acceptor_.local_endpoint(); }

std::int64_t AuthServer::unix_seconds() const {
  return std::chrono::duration_cast<std::chrono::seconds>(clock_.wall().time_since_epoch()).count();
}

Json AuthServer::stats() const {
  Json stats = desk_.stats();
  stats["name"] = options_.name;
  return stats;
}

Task<> AuthServer::serve() {
  const auto executor = co_await asio::this_coro::executor;
  bool complained = false;
  for (;;) {
    boost::system::error_code error;
    tcp::socket socket(executor);
    co_await acceptor_.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
    if (!error) {
      complained = false;
      asio::co_spawn(executor, converse(std::move(socket)), [this](const std::exception_ptr& failed) {
        if (failed) std::fprintf(stderr, "%s: a connection ended with an unexpected error\n", options_.name.c_str());
      });
      continue;
    }
    if (error == asio::error::operation_aborted) co_return;
    if (!complained) {
      std::fprintf(stderr, "%s: cannot accept a connection: %s; raise the limit of open files (ulimit -n)\n",
                   options_.name.c_str(), error.message().c_str());
    }
    complained = true;
    co_await clock_.sleep_until(clock_.now() + kAcceptRetry);
  }
}

Task<> AuthServer::converse(tcp::socket socket) {
  socket.set_option(tcp::no_delay(true));
  boost::beast::flat_buffer buffer;
  for (;;) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(kAuthHeaderLimit);
    parser.body_limit(kAuthBodyLimit);
    boost::system::error_code error;
    co_await http::async_read(socket, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    Answer reply;
    bool keep_alive = false;
    if (error) {
      reply.status = status_of_unreadable(error);
      if (reply.status == 0) co_return;
      reply.body = complaint("the request cannot be read: " + error.message());
    } else {
      Request request;
      static_cast<http::request<http::string_body>&>(request) = parser.release();
      keep_alive = request.keep_alive();
      reply = co_await answer(request, socket);
    }
    http::response<http::string_body> response(static_cast<http::status>(reply.status), 11);
    response.set(http::field::content_type, "application/json");
    response.set(http::field::server, options_.name);
    response.keep_alive(keep_alive);
    response.body() = reply.body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    response.prepare_payload();
    co_await http::async_write(socket, response, asio::redirect_error(asio::use_awaitable, error));
    if (error || !keep_alive) co_return;
  }
}

Task<AuthServer::Answer> AuthServer::answer(const Request& request, tcp::socket& socket) {
  const std::string_view target(request.target().data(), request.target().size());
  const std::string_view path = target.substr(0, target.find('?'));
  const bool is_get = request.method() == http::verb::get;
  Answer reply;
  if (path == "/login" && request.method() == http::verb::post) {
    reply = co_await login(request, socket);
  } else if (path == "/session" && is_get) {
    reply = session(request);
  } else if (path == "/health" && is_get) {
    reply = health();
  } else if (path == "/stats" && is_get) {
    reply.body = stats();
  } else if (path == "/login" || path == "/session" || path == "/health" || path == "/stats") {
    reply.status = 405;
    reply.body = complaint("this method is not for this path: POST /login, GET /session, /health or /stats");
  } else {
    reply.status = 404;
    reply.body = complaint("no such path: there are /login, /session, /health and /stats");
  }
  co_return reply;
}

// Not healthy before the database has answered for the first time. Later it says nothing of the database: else one that is slow for a
// moment would take every server out of the balancer at once.
AuthServer::Answer AuthServer::health() const {
  Answer reply;
  const bool ready = accounts_.ready();
  reply.status = ready ? 200 : 503;
  reply.body = Json::object({{"status", ready ? "ok" : "waiting for the database"}, {"name", options_.name}});
  return reply;
}

Task<AuthServer::Answer> AuthServer::login(const Request& request, tcp::socket& socket) {
  const auto type = request[http::field::content_type];
  const auto credentials = parse_credentials({type.data(), type.size()}, request.body());
  Answer reply;
  if (!credentials || credentials->user.size() > kAuthFieldLimit || credentials->password.size() > kAuthFieldLimit) {
    reply.status = 400;
    reply.body = complaint("a login needs user and password, as JSON or as a form, of 128 bytes at most each");
    co_return reply;
  }
  const std::function<bool()> client_gone = [&socket] { return has_gone(socket); };
  const auto result = co_await desk_.login(credentials->user, credentials->password, client_gone);
  if (result == DeskAnswer::ok) {
    const auto lifetime = std::chrono::duration_cast<std::chrono::seconds>(options_.token_lifetime).count();
    reply.body = Json::object({{"token", tokens_.issue(credentials->user, unix_seconds() + lifetime)}});
  } else if (result == DeskAnswer::unavailable) {
    reply.status = 503;
    reply.body = complaint("the database does not answer");
  } else {
    reply.status = 401;
    reply.body = complaint("wrong user or password");
  }
  co_return reply;
}

AuthServer::Answer AuthServer::session(const Request& request) const {
  static constexpr std::string_view kScheme = "Bearer ";
  const auto field = request[http::field::authorization];
  const std::string_view authorization(field.data(), field.size());
  Answer reply;
  if (authorization.starts_with(kScheme)) {
    const auto user = tokens_.verify(authorization.substr(kScheme.size()), unix_seconds());
    if (user) {
      reply.body = Json::object({{"user", *user}});
      return reply;
    }
  }
  reply.status = 401;
  reply.body = complaint("the token is missing, expired or not ours");
  return reply;
}

}  // namespace capsize
