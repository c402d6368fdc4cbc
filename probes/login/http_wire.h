// What login flows of several requests speak HTTP through: pooled connections in the real world, a script in unit tests.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "probes/http/connection_pool.h"
#include "probes/login/transport.h"

namespace capsize {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpAsk {
  std::string method = "GET";
  Url url;
  HttpHeaders headers;  // besides Host, User-Agent, Accept and Content-Length
  std::string body;
};

struct HttpSaid {
  std::optional<Answer> failed;  // refused or broken; nothing else counts when set
  unsigned status = 0;
  HttpHeaders headers;
  std::string body;
};

// The requests of one login, one after the other, on one connection where the service keeps it open. Cancellable.
class HttpConversation {
 public:
  virtual ~HttpConversation() = default;
  // Throws Error where the tester itself lacks something. The URL's origin is one of those that the wire was made for.
  virtual Task<HttpSaid> send(HttpAsk ask) = 0;
};

// Thread: the executor open() runs on. It outlives its conversations.
class HttpWire {
 public:
  virtual ~HttpWire() = default;
  // Throws Error when a name does not resolve or a certificate cannot be verified.
  virtual Task<> open() { co_return; }
  virtual std::unique_ptr<HttpConversation> start() = 0;
  virtual Task<> close() { co_return; }
};

// `urls`: one of each origin that may be asked; a path does not matter.
std::unique_ptr<HttpWire> make_pooled_wire(Clock& clock, std::vector<Url> urls, PoolOptions pool, TlsOptions tls);

}  // namespace capsize
