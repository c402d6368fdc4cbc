// The TLS sessions that a server gave, to begin the next connection with: what a client that resumes has in its memory.
#pragma once
#include <openssl/ssl.h>

namespace capsize {

// Thread: one. It lives as long as connections of its context are open.
class TlsSessions {
 public:
  explicit TlsSessions(SSL_CTX& context);
  ~TlsSessions();
  TlsSessions(const TlsSessions&) = delete;
  TlsSessions& operator=(const TlsSessions&) = delete;

  SSL_SESSION* last() const { return last_; }  // null: the server has given none

 private:
  static int took(SSL* connection, SSL_SESSION* session);

  SSL_CTX& context_;
  SSL_SESSION* last_ = nullptr;
};

}  // namespace capsize
