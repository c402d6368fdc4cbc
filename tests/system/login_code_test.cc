// login.http through the login page of a real OpenID provider: the authorization code grant with PKCE, with the steps of docs/probes/login.http.md.
#include "injector/base/error.h"
#include "tests/system/real_oidc.h"
#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

// The documentation's own steps, so that they are known to work.
Json documented_steps() {
  const std::string page = read_text(CAPSIZE_SOURCE_DIR "/docs/probes/login.http.md");
  const std::size_t begin = page.find("[\n  { \"url\": \"/auth?");
  const std::size_t end = page.find("\n]", begin);
  REQUIRE(end != std::string::npos);
  return Json::parse(page.substr(begin, end + 2 - begin));
}

Json params(const std::string& url, Json more = Json::object()) {
  Json out = {{"url", url}, {"steps", documented_steps()}, {"rate", "20/s"}, {"users", 2}, {"timeout", "15s"}};
  out.update(more);
  return out;
}

}  // namespace

TEST_CASE("an authorization code is had through a real provider's login page, and not with a wrong password, as nobody or with an expired token", "[oidc][beside]") {
  RealOidc oidc;
  const Json controls = {{"wrong_password_share", "20%"}, {"unknown_user_share", "20%"}, {"expired_token", oidc.expired_token()}, {"expired_token_share", "10%"}};
  const Watched seen = watch("login.http", params(oidc.url("/"), controls), 4);
  CHECK(seen.value("success_ratio") == 1);
  CHECK(seen.value("rejected_rightly") >= 6);
  CHECK(seen.value("wrongly_accepted") == 0);
  const Watched denied = watch("login.http", params(oidc.url("/"), {{"user", "user1"}, {"password", "no longer mine"}}), 1);
  CHECK(denied.value("success_ratio") == 0);
  CHECK(denied.value("denied") >= 3);

  CHECK_THROWS_WITH(watch("login.http", params(oidc.tls_url("/")), 1), Catch::Contains("certificate verify failed") && Catch::Contains("ca_file"));
  const Watched trusted = watch("login.http", params(oidc.tls_url("/"), {{"ca_file", oidc.ca_file()}}), 1);
  CHECK(trusted.value("success_ratio") == 1);

  oidc.server().stop();
  const Watched hanging = watch("login.http", params(oidc.url("/"), {{"timeout", "300ms"}}), 1);
  CHECK(hanging.value("timed_out") >= 3);
  CHECK(hanging.value("success_ratio") == 0);
  oidc.server().end();
  const Watched down = watch("login.http", params(oidc.url("/")), 1);
  CHECK(down.value("refused") >= 3);
}
