#include "probes/http/tls_sessions.h"

namespace capsize {
namespace {

int place() {
  static const int index = ::SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

}  // namespace

TlsSessions::TlsSessions(SSL_CTX& context) : context_(context) {
  ::SSL_CTX_set_ex_data(&context_, place(), this);
  ::SSL_CTX_set_session_cache_mode(&context_, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  ::SSL_CTX_sess_set_new_cb(&context_, took);
}

TlsSessions::~TlsSessions() {
  ::SSL_CTX_sess_set_new_cb(&context_, nullptr);
  ::SSL_SESSION_free(last_);
}

// With TLS 1.3 the session comes some time after the handshake, and each connection gets another.
int TlsSessions::took(SSL* connection, SSL_SESSION* session) {
  auto& self = *static_cast<TlsSessions*>(::SSL_CTX_get_ex_data(::SSL_get_SSL_CTX(connection), place()));
  ::SSL_SESSION_free(self.last_);
  self.last_ = session;
  return 1;  // it is ours
}

}  // namespace capsize
