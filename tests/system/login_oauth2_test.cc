// login.oauth2 against a real OpenID provider.
#include "injector/base/error.h"
#include "tests/system/real_oidc.h"
#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

// People, through the client "web"; the token is used at userinfo.
Json people(const std::function<std::string(const std::string& path)>& url, Json more = Json::object()) {
  Json out = {{"token_url", url("/token")}, {"userinfo_url", url("/me")}, {"client_id", "web"}, {"client_secret", "web-secret"}, {"scope", "openid"}, {"subject", "{user}"},
              {"rate", "40/s"},             {"users", 2},                 {"timeout", "15s"}};
  out.update(more);
  return out;
}

}  // namespace

TEST_CASE("an OpenID provider lets people and clients in, refreshes their tokens, and refuses wrong passwords, unknown users and expired tokens", "[oidc][beside]") {
  RealOidc oidc;
  const auto url = [&oidc](const std::string& path) { return oidc.url(path); };
  const Json controls = {{"wrong_password_share", "20%"}, {"unknown_user_share", "20%"}};
  Json all = controls;
  all.update({{"refresh", true}, {"expired_token", oidc.expired_token()}, {"expired_token_share", "20%"}});
  const Watched seen = watch("login.oauth2", people(url, all), 3);
  CHECK(seen.value("success_ratio") == 1);
  CHECK(seen.value("rejected_rightly") >= 10);
  CHECK(seen.value("wrongly_accepted") == 0);

  Json clients = {{"grant", "client_credentials"}, {"token_url", url("/token")}, {"introspection_url", url("/token/introspection")}, {"client_id", "api"}, {"client_secret", "api-secret"},
                  {"user_prefix", "svc"},          {"rate", "40/s"},             {"users", 2},                                       {"timeout", "15s"}};
  clients.update(controls);
  const Watched services = watch("login.oauth2", clients, 2);
  CHECK(services.value("success_ratio") == 1);
  CHECK(services.value("rejected_rightly") >= 5);
  CHECK(services.value("wrongly_accepted") == 0);

  const Watched denied = watch("login.oauth2", people(url, {{"user", "user1"}, {"password", "no longer mine"}}), 1);
  CHECK(denied.value("success_ratio") == 0);
  CHECK(denied.value("denied") >= 5);
  const Watched somebody_else = watch("login.oauth2", people(url, {{"subject", "not-{user}"}}), 1);
  CHECK(somebody_else.value("success_ratio") == 0);
  CHECK(somebody_else.value("broken") >= 5);
}

TEST_CASE("an OpenID provider that hangs is timed out when it is due, and one that is down is refused", "[oidc][beside]") {
  RealOidc oidc;
  const auto url = [&oidc](const std::string& path) { return oidc.url(path); };
  const auto tls_url = [&oidc](const std::string& path) { return oidc.tls_url(path); };
  oidc.server().stop();
  for (const Json& params : {people(url, {{"timeout", "300ms"}}), people(tls_url, {{"timeout", "300ms"}, {"ca_file", oidc.ca_file()}})}) {
    const Watched hanging = watch("login.oauth2", params, 1);
    CHECK(hanging.value("success_ratio") == 0);
    CHECK(hanging.value("timed_out") >= 5);
    CHECK(hanging.value("latency.p50") == Approx(0.3).epsilon(0.01));
    CHECK(hanging.value("refused") == 0);
  }
  oidc.server().end();
  for (const Json& params : {people(url), people(tls_url, {{"ca_file", oidc.ca_file()}})}) {
    const Watched down = watch("login.oauth2", params, 1);
    CHECK(down.value("success_ratio") == 0);
    CHECK(down.value("refused") >= 5);
  }
}

TEST_CASE("an OpenID provider that cannot prove who it is gets no password", "[oidc][beside]") {
  RealOidc oidc;
  const auto tls_url = [&oidc](const std::string& path) { return oidc.tls_url(path); };
  const auto by_address = [&oidc](const std::string& path) { return oidc.tls_url(path, "127.0.0.1"); };
  CHECK_THROWS_WITH(watch("login.oauth2", people(tls_url), 1), Catch::Contains("certificate verify failed") && Catch::Contains("ca_file"));
  CHECK_THROWS_WITH(watch("login.oauth2", people(by_address, {{"ca_file", oidc.ca_file()}}), 1), Catch::Contains("certificate verify failed"));  // another name than its own
  const Watched trusted = watch("login.oauth2", people(tls_url, {{"ca_file", oidc.ca_file()}, {"wrong_password_share", "20%"}}), 2);
  CHECK(trusted.value("success_ratio") == 1);
  CHECK(trusted.value("wrongly_accepted") == 0);
}
