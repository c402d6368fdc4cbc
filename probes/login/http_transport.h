// Logins over HTTP: POST the credentials, take the token from the JSON answer, use it once. Redirects are not followed.
#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "probes/http/connection_pool.h"
#include "probes/login/transport.h"

namespace capsize {

enum class LoginBody { json, form };
template <>
struct EnumWords<LoginBody> {
  static constexpr std::array<std::pair<LoginBody, std::string_view>, 2> words = {{{LoginBody::json, "json"}, {LoginBody::form, "form"}}};
};

struct HttpLoginOptions {
  Url url;
  std::optional<Url> session_url;  // GET with "Authorization: Bearer <token>" must answer 200; without it a token is taken to work
  LoginBody body = LoginBody::json;
  std::string user_field = "user";
  std::string password_field = "password";
  std::string token_pointer = "/token";  // RFC 6901, in the answer
  PoolOptions pool;
  TlsOptions tls;
};

// How an attempt maps to an Answer, in this order:
//   no connection for the login                         refused (TLS that fails: broken)
//   connection lost half-way, nonsense or over 64 KiB, or no connection to use the token on   broken
//   wrong password: no 2xx, no token, or one that does not work   rejected_rightly; with one that works   wrongly_accepted
//   right password: status 4xx or 5xx                   denied; any other but 2xx, or no token, or a token that does not work   broken
// Thread: the executor open() runs on.
std::unique_ptr<LoginTransport> make_http_login_transport(Clock& clock, HttpLoginOptions options);

// What the HTTP transports share.
HttpRequest make_request(boost::beast::http::verb verb, const Url& url);
Answer answer_of(const ConnectResult& failure);  // throws Error where the tester lacks something

std::string form_encoded(std::string_view text);

}  // namespace capsize
