// One HTTP/1.1 connection to one origin, plain or TLS. Nothing here throws for what the other side does: the result says it.
// Cancelled, it throws operation_aborted.
#pragma once
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/task.h"
#include "probes/http/reply_parser.h"
#include "probes/http/socket.h"
#include "probes/http/url.h"

namespace boost::asio::ssl {
class context;
}

namespace capsize {

using HttpRequest = boost::beast::http::request<boost::beast::http::string_body>;

struct TlsOptions {
  bool verify = true;
  std::string ca_file;      // PEM; empty: the system's
  std::string client_cert;  // PEM, with the chain; empty: the client has none
  std::string client_key;   // PEM; empty: it is in client_cert
  bool resume = false;      // begin with the session of the connection before, where the server gave one
};

class TlsSessions;

// Where to connect: resolved once, so that the name server is not part of what is measured.
struct Origin {
  Url url;
  std::vector<asio::ip::tcp::endpoint> endpoints;
  std::shared_ptr<asio::ssl::context> tls;  // null: plain
  std::shared_ptr<TlsSessions> sessions;    // null: each handshake is a full one
  std::size_t max_body = kMaxBodyBytes;     // of an answer; a larger one is an error
};
// Throws Error when the name does not resolve or a file cannot be used.
Task<std::shared_ptr<const Origin>> resolve_origin(Url url, TlsOptions options);

struct ConnectResult {
  boost::system::error_code error;
  bool in_tls = false;  // the TCP connection was there; the handshake failed
};

struct HttpReply {
  ConnectResult connect;            // where a stale connection had to be made anew; nothing else counts when it has an error
  boost::system::error_code error;  // nothing else counts when set
  bool any_bytes = false;           // some of a reply arrived before the error
  unsigned status = 0;
  std::string head;                 // for headers_in()
  std::string body;
  bool keep_alive = false;
};

// The two steps of Connection::connect(), for other protocols. Cancelled, they throw operation_aborted.
Readiness& readiness_of(const asio::any_io_executor& executor);
Task<ConnectResult> connect_plain(Readiness& readiness, std::shared_ptr<const Origin> origin, std::unique_ptr<Socket>& out);  // at the first address that takes it
Task<ConnectResult> secure(Socket& socket, std::shared_ptr<const Origin> origin);                                             // of one with TLS
// A cancelled operation is nobody's answer: the caller's time is up, and it must not be told that the connection broke.
void throw_if_cancelled(const boost::system::error_code& error);

// True for what is the tester's own lack (file descriptors, memory, local ports), not the system's failure.
bool tester_lacks(const boost::system::error_code& error);

// Thread: its executor's. Cancelling a coroutine in here leaves the connection unfit for anything but destruction.
class Connection {
 public:
  Connection(const asio::any_io_executor& executor, std::shared_ptr<const Origin> origin);
  ~Connection();

  Task<ConnectResult> connect();  // also again, from scratch
  // `wire`: a request as it goes on the wire; it lives until the reply is there. Where a used connection ends before the first byte of a reply,
  // the other side had closed it meanwhile: once, the request is sent again on a new one.
  Task<HttpReply> exchange(std::string_view wire);
  bool quiet() const;  // still open, and the other side has neither closed nor sent anything unasked
  bool used = false;   // has waited in a pool or answered a request: the other side may close it at any moment

 private:
  Readiness& readiness_;
  std::shared_ptr<const Origin> origin_;
  std::unique_ptr<Socket> socket_;
  ReplyParser parser_;
};

// The request as it goes on the wire.
std::string wire_of(const HttpRequest& request);

}  // namespace capsize
