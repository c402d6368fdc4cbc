// A client's TCP socket, plain or with TLS, as bare as the kernel and OpenSSL have it: reads and writes never wait. Nothing here throws for what
// the other side does; cancelled, what waits returns operation_aborted.
#pragma once
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "injector/base/task.h"
#include "injector/base/unique_fd.h"
#include "probes/http/readiness.h"

struct ssl_st;
struct ssl_ctx_st;
struct ssl_session_st;

namespace capsize {

// Thread: that of the io_context. Destroyed, it closes without a word.
class Socket {
 public:
  explicit Socket(Readiness& readiness);
  ~Socket();

  Task<boost::system::error_code> connect(asio::ip::tcp::endpoint to);
  // After connect(). `host`: what the certificate must be for, where `context` verifies; a name is also told to the server (SNI).
  // `session`: of an earlier connection, to be resumed; null: a full handshake.
  Task<boost::system::error_code> shake_hands(ssl_ctx_st& context, const std::string& host, ssl_session_st* session);

  // One try, without a wait: false where it would block; then wait until there is something new, and try again. What was written is taken off
  // `bytes`.
  bool write_some(std::string_view& bytes, boost::system::error_code& error);
  // What has come, at least one byte; it lies in Readiness::scratch() until anyone reads again. Empty with an error: eof where the other side
  // has closed, stream_truncated where it did so without TLS's own good-bye.
  bool read_some(std::string_view& bytes, boost::system::error_code& error);
  template <class Token>
  auto async_wait(Token&& token) {
    return ready_.async_wait(std::forward<Token>(token));
  }

  // Still open, and the other side has neither closed nor sent anything that nobody read. With TLS: not closed, for servers send session
  // tickets when they like. Asks the kernel.
  bool quiet() const;

 private:
  struct FreeTls {
    void operator()(ssl_st* tls) const;
  };
  // What a call of OpenSSL's came to. False: it would block, and its event has been taken back.
  bool settled(int result, boost::system::error_code& error);

  Readiness& readiness_;
  Readiness::Entry ready_;
  UniqueFd fd_;
  std::unique_ptr<ssl_st, FreeTls> tls_;
};

}  // namespace capsize
