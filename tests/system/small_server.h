// An HTTP server on loopback for tests: a thread of its own, answers that a function makes, plain or TLS.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "injector/base/clock.h"

namespace capsize::testing {

struct ServerRequest {
  std::string method;
  std::string target;
  std::string body{};
  std::string authorization;
  std::string content_type;
  int nth_on_connection = 0;  // from 1
};

struct ServerReply {
  int status = 200;
  std::string body{};
  Duration after{0};
  bool close = false;         // close the connection after the reply
  std::string raw{};          // sent instead of status and body, as it is
  bool hang_up = false;       // close without a byte
};

struct ServerStats {
  std::atomic<int> accepted{0};
  std::atomic<int> open{0};
  std::atomic<int> most_open{0};
  std::atomic<int> requests{0};
};

class SmallServer {
 public:
  using Handler = std::function<ServerReply(const ServerRequest&)>;  // called on the server's thread
  // With PEM texts it speaks TLS. `pause` before each TLS handshake.
  explicit SmallServer(Handler handler, std::string certificate = {}, std::string key = {});
  ~SmallServer();

  int port() const;
  std::string url(const std::string& target, const std::string& host = "127.0.0.1") const;
  const ServerStats& stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::thread thread_;
};

// A certificate for `host` (a DNS name or an IP address) that signs itself. PEM.
struct SelfSigned {
  std::string certificate;
  std::string key;
};
SelfSigned self_signed(const std::string& host);

}  // namespace capsize::testing
