#include "probes/http/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <algorithm>
#include <cerrno>

namespace capsize {
namespace {

using boost::system::error_code;

error_code last_error() { return {errno, boost::system::system_category()}; }
bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

bool is_literal(const std::string& host) {
  error_code error;
  asio::ip::make_address(host, error);
  return !error;
}

}  // namespace

Socket::Socket(Readiness& readiness) : readiness_(readiness), ready_(readiness) {}

Socket::~Socket() = default;

// Closed without a good-bye, a session would count as spoilt, and could not be resumed.
void Socket::FreeTls::operator()(ssl_st* tls) const {
  ::SSL_set_shutdown(tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  ::SSL_free(tls);
}

Task<error_code> Socket::connect(asio::ip::tcp::endpoint to) {
  fd_ = UniqueFd(::socket(to.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd_.get() < 0) co_return last_error();
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd_.get(), to.data(), static_cast<socklen_t>(to.size())) != 0 && errno != EINPROGRESS) co_return last_error();
  if (const error_code problem = ready_.watch(fd_.get())) co_return problem;
  error_code error;
  while (!ready_.writable && !error) {
    co_await async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
  if (error) co_return error;
  int problem = 0;
  socklen_t size = sizeof problem;
  ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &problem, &size);
  co_return error_code(problem, boost::system::system_category());
}

Task<error_code> Socket::shake_hands(ssl_ctx_st& context, const std::string& host, ssl_session_st* session) {
  tls_.reset(::SSL_new(&context));
  error_code error(ENOMEM, boost::system::system_category());
  if (!tls_ || ::SSL_set_fd(tls_.get(), fd_.get()) != 1) co_return error;
  const bool named = is_literal(host) ? ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(tls_.get()), host.c_str()) == 1
                                      : ::SSL_set_tlsext_host_name(tls_.get(), host.c_str()) == 1 && ::SSL_set1_host(tls_.get(), host.c_str()) == 1;
  if (!named) co_return make_error_code(boost::system::errc::invalid_argument);  // or nobody would look whose certificate it is
  if (session != nullptr) ::SSL_set_session(tls_.get(), session);
  ready_.readable = ready_.writable = true;
  for (;;) {
    ::ERR_clear_error();
    errno = 0;
    if (settled(::SSL_connect(tls_.get()), error)) co_return error;
    co_await async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return error;
  }
}

bool Socket::quiet() const {
  if (!tls_ && ready_.readable) return false;
  char byte = 0;
  const ssize_t got = ::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got > 0) return tls_ != nullptr;
  return got < 0 && would_block();
}

bool Socket::settled(int result, error_code& error) {
  error = {};
  switch (::SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_NONE: return true;
    case SSL_ERROR_WANT_READ: ready_.readable = false; return false;
    case SSL_ERROR_WANT_WRITE: ready_.writable = false; return false;
    case SSL_ERROR_ZERO_RETURN: error = asio::error::eof; return true;
    case SSL_ERROR_SYSCALL: error = errno != 0 ? last_error() : make_error_code(asio::ssl::error::stream_truncated); return true;
    default: break;
  }
  const unsigned long problem = ::ERR_get_error();
  error = ERR_GET_REASON(problem) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? make_error_code(asio::ssl::error::stream_truncated)
                                                                         : error_code(static_cast<int>(problem), asio::error::get_ssl_category());
  return true;
}

bool Socket::write_some(std::string_view& bytes, error_code& error) {
  if (tls_) {
    std::size_t sent = 0;
    ::ERR_clear_error();
    errno = 0;
    const bool done = settled(::SSL_write_ex(tls_.get(), bytes.data(), bytes.size(), &sent), error);
    bytes.remove_prefix(sent);
    return done;
  }
  const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent >= 0) {
    bytes.remove_prefix(static_cast<std::size_t>(sent));
    return true;
  }
  if (would_block()) {
    ready_.writable = false;
    return false;
  }
  error = last_error();
  return true;
}

// What fits into less than the buffer was all there was: the kernel tells when there is more. What it has not told of is not asked for.
bool Socket::read_some(std::string_view& bytes, error_code& error) {
  if (!ready_.readable) return false;
  auto& buffer = readiness_.scratch();
  if (tls_) {
    std::size_t got = 0;
    ::ERR_clear_error();
    errno = 0;
    const bool done = settled(::SSL_read_ex(tls_.get(), buffer.data(), buffer.size(), &got), error);
    bytes = {buffer.data(), got};
    return done;
  }
  const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (got < 0 && would_block()) {
    ready_.readable = false;
    return false;
  }
  if (got <= 0) error = got == 0 ? make_error_code(asio::error::eof) : last_error();
  bytes = {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
  if (bytes.size() < buffer.size()) ready_.readable = ready_.ended;
  return true;
}

}  // namespace capsize
