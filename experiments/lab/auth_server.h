// The lab's authentication server: the system under test, built to behave as the servers of the
// reference outage did. HTTP/1.1 with keep-alive: POST /login takes a slot and answers with a token, GET /session
// says whose a token is, GET /health and GET /stats look on.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>

#include "experiments/lab/login_desk.h"
#include "experiments/lab/session_token.h"
#include "injector/base/clock.h"

namespace capsize {

inline constexpr std::size_t kAuthHeaderLimit = 8 * 1024;  // bytes
inline constexpr std::size_t kAuthBodyLimit = 4 * 1024;    // bytes
inline constexpr std::size_t kAuthFieldLimit = 128;        // bytes of a user name or password

struct AuthOptions {
  std::string name = "auth1";
  asio::ip::tcp::endpoint listen{asio::ip::address_v4::loopback(), 0};  // port 0: the kernel chooses
  std::string token_key;  // shared by the servers of a lab
  Duration token_lifetime = std::chrono::hours(1);
  LoginDeskOptions desk;
};

// Thread: the one that runs `io`. It and its accounts outlive every run of `io` that serves its connections.
class AuthServer {
 public:
  // Listens at once. Throws Error (unavailable) naming the address when it can't.
  AuthServer(asio::io_context& io, Clock& clock, Accounts& accounts, AuthOptions options);

  asio::ip::tcp::endpoint endpoint() const;  // with the port that was chosen

  // Accepts until cancelled. Where file descriptors run out it says so on stderr and goes on when there are some.
  Task<> serve();

  Json stats() const;

 private:
  struct Answer {
    unsigned status = 200;
    Json body;
  };
  struct Request;

  Task<> converse(asio::ip::tcp::socket socket);
  Task<Answer> answer(const Request& request, asio::ip::tcp::socket& socket);
  Answer health() const;
  Task<Answer> login(const Request& request, asio::ip::tcp::socket& socket);
  Answer session(const Request& request) const;
  std::int64_t unix_seconds() const;

  Clock& clock_;
  Accounts& accounts_;
  AuthOptions options_;
  SessionTokens tokens_;
  LoginDesk desk_;
  asio::ip::tcp::acceptor acceptor_;
};

}  // namespace capsize
