// The probe as the runner uses it, in virtual time.
#include "injector/base/error.h"
#include "probes/login/http_transport.h"
#include "probes/probe.h"
#include "tests/probes/simulated_load.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

Task<> stop_probe_at(SimClock& clock, Probe& probe, TimePoint when) {
  co_await clock.sleep_until(when);
  probe.stop();
}

std::vector<Json> run_probe(const char* type, const Json& params, Service service, Duration how_long) {
  SimClock clock;
  asio::io_context io;
  std::vector<Json> windows;
  ProbeContext context;
  context.name = "login";
  context.params = params;
  context.clock = &clock;
  context.start = clock.now();
  context.emit = [&windows](Window window) { windows.push_back(std::move(window)); };
  context.transport = [&clock, service](const ProbeContext&) { return std::make_unique<FakeTransport>(clock, service); };
  const auto probe = find_probe(type)->make(std::move(context));
  bool ended = false;
  asio::co_spawn(io, stop_probe_at(clock, *probe, clock.now() + how_long), asio::detached);
  asio::co_spawn(io, probe->run(), [&ended](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
    ended = true;
  });
  clock.run(io);
  CHECK(ended);
  return windows;
}

std::vector<std::string> mistakes(const Json& params) {
  Diagnostics diagnostics;
  find_probe("login.http")->spec().validate(params, "", {}, diagnostics);
  std::vector<std::string> out;
  for (const Diagnostic& diagnostic : diagnostics.all()) out.push_back(diagnostic.pointer);
  return out;
}

const Json kParams = {{"url", "http://127.0.0.1:1/login"}, {"rate", "100/s"}};

}  // namespace

TEST_CASE("login.http in virtual time answers every measure it offers", "[login]") {
  const auto windows = run_probe("login.http", kParams, [](const LoginAttempt&, TimePoint) { return Reply{Answer::ok, 20ms}; }, 2s);
  REQUIRE(windows.size() == 8);
  std::vector<const Window*> all;
  for (const Json& window : windows) all.push_back(&window);
  const ProbeType& probe = *find_probe("login.http");
  for (const MeasureInfo& info : probe.measures()) {
    INFO(info.name);
    const auto measured = probe.measure(info.name, all);
    REQUIRE(measured.has_value());
    CHECK(measured->kind == info.kind);
    CHECK(probe.measure(info.name, {}) == std::nullopt);
  }
  CHECK(probe.measure("rate", all)->value == 100);
  CHECK(probe.measure("latency.p50", all)->value == Approx(0.020).epsilon(0.01));
  CHECK(probe.measure("nonsense", all) == std::nullopt);
}

TEST_CASE("the suspects' probes count with the same generator and offer a part of its measures", "[login]") {
  const auto service = [](const LoginAttempt&, TimePoint) { return Reply{Answer::refused, 1ms}; };
  const std::vector<std::pair<const char*, Json>> probes = {{"tcp.connect", {{"address", "127.0.0.1:1"}}}, {"http.get", {{"url", "http://127.0.0.1:1/"}}}};
  for (const auto& [type, params] : probes) {
    const auto windows = run_probe(type, params, service, 5s);
    std::vector<const Window*> all;
    for (const Json& window : windows) all.push_back(&window);
    INFO(type);
    CHECK(windows.size() == 20);
    CHECK(find_probe(type)->measure("success_ratio", all)->value == 0);
    CHECK(find_probe(type)->measure("refused", all)->value == 10);
    CHECK(find_measure(*find_probe(type), "latency.p99") != nullptr);
    CHECK(find_measure(*find_probe(type), "users_affected") == nullptr);
  }
}

TEST_CASE("a probe's examples satisfy their own declarations", "[login]") {
  for (const ProbeType& probe : probe_catalog()) {
    Diagnostics diagnostics;
    probe.spec().validate(probe.example, "", {"probe", "target"}, diagnostics);
    INFO(probe.name << ": " << diagnostics.text("example"));
    CHECK(diagnostics.ok());
  }
}

TEST_CASE("wrong parameters of login.http are all named", "[login]") {
  Json params = kParams;
  CHECK(mistakes(params).empty());
  params.update({{"url", "localhost/login"}, {"token", "token"}, {"timeout", "0s"}, {"users", 0}, {"pool", 0}, {"connections", "many"}, {"rates", "3/s"}});
  CHECK(mistakes(params).size() == 7);
  CHECK(mistakes(Json::object()).size() == 2);
}

TEST_CASE("a user without a password is refused before anything is sent", "[login]") {
  ProbeContext context;
  context.params = kParams;
  context.params["user"] = "ann";
  CHECK_THROWS_WITH(find_probe("login.http")->make(std::move(context)), Catch::Contains("not both"));
}

TEST_CASE("form fields are encoded so that no value can become another field", "[login]") {
  CHECK(form_encoded("a b&c=d%+/ä~_-.") == "a%20b%26c%3Dd%25%2B%2F%C3%A4~_-.");
}

TEST_CASE("steps take the place of the one POST, and what contradicts them is refused", "[login]") {
  const auto refusal = [](Json more) {
    ProbeContext context;
    context.name = "login";
    context.params = kParams;
    context.params.update(more);
    try {
      find_probe("login.http")->make(std::move(context));
    } catch (const Error& error) {
      return error.fact();
    }
    return std::string();
  };
  const Json steps = Json::parse(R"([{"form": {"p": "{password}"}}])");
  CHECK(refusal({{"steps", steps}}).empty());
  CHECK(refusal({{"steps", steps}, {"token", "/t"}}).find("\"token\"") != std::string::npos);
  CHECK(refusal({{"expired_token", "old"}}).find("not both") != std::string::npos);
  CHECK(refusal({{"expired_token", "old"}, {"expired_token_share", "1%"}}).find("no request that uses a token") != std::string::npos);
  CHECK(refusal({{"expired_token", "old"}, {"expired_token_share", "1%"}, {"session_url", "http://127.0.0.1:1/session"}}).empty());
  Json needs_more = Json::parse(R"([{"form": {"p": "{password}"}, "capture": {"token": "json:/t", "id": "json:/id"}}, {"url": "/{id}", "headers": {"Authorization": "Bearer {token}"}}])");
  CHECK(refusal({{"steps", needs_more}}).empty());
  CHECK(refusal({{"steps", needs_more}, {"expired_token", "old"}, {"expired_token_share", "1%"}}).find("also needs {id}") != std::string::npos);
  CHECK(refusal({{"wrong_password_share", "60%"}, {"unknown_user_share", "50%"}}).find("more than all") != std::string::npos);
  Json names_user = Json::parse(R"([{"form": {"p": "{password}"}, "capture": {"token": "json:/t"}}, {"headers": {"Authorization": "Bearer {token}"}, "check": {"/sub": "{user}"}}])");
  const Json expired = {{"expired_token", "old"}, {"expired_token_share", "1%"}};
  const auto with_expired = [&](const Json& more) {
    Json out = expired;
    out.update(more);
    return refusal(out);
  };
  CHECK(with_expired({{"steps", names_user}}).empty());
  names_user[1]["contains"] = "Welcome, {user}";
  CHECK(with_expired({{"steps", names_user}}).find("need not be the token's owner") != std::string::npos);
  CHECK(with_expired({{"steps", names_user}, {"user", "ann"}, {"password", "pw"}}).empty());
}

TEST_CASE("all that contradicts itself in a login probe is said at once", "[login]") {
  const auto refusal = [](const char* type, Json params) {
    ProbeContext context;
    context.name = "login";
    context.params = std::move(params);
    context.params.update({{"rate", "1/s"}, {"user", "a:b"}, {"wrong_password_share", "60%"}, {"unknown_user_share", "50%"}});
    try {
      find_probe(type)->make(std::move(context));
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::refused);
      return error.fact();
    }
    return std::string();
  };
  const std::string both = "the probe login has a user or a password, not both; it would make more than all of its logins ones that must be refused; it ";
  const Json steps = Json::parse(R"([{"form": {"p": "{password}", "b": "{basic}"}}])");
  CHECK(refusal("login.http", {{"url", "http://h/"}, {"steps", steps}, {"body", "form"}, {"token", "/t"}, {"expired_token", "old"}, {"attempt_timeout", "1s"}}) ==
        both + "has \"steps\" and \"body\", \"token\", which they replace; it has an expired token or a share of its uses, not both; "
               "it has an expired token, but no request that uses a token; it has an attempt_timeout, and clients that never try again; "
               "it has a colon in its users' names, where Basic authentication takes the password to begin (RFC 7617)");
  CHECK(refusal("login.basic", {{"url", "http://h/"}, {"contains", "{nothing}"}}) ==
        both + "has {nothing} in its texts, which stands for nothing; it has a colon in its users' names, where Basic authentication takes the password to begin (RFC 7617)");
  CHECK(refusal("login.oauth2", {{"token_url", "http://h/"}, {"introspection_url", "http://h/i"}, {"expired_token_share", "1%"}}) ==
        both + "has an expired token or a share of its uses, not both; it introspects tokens, and no client may");
  CHECK(refusal("login.ldap", {{"address", "h:389"}, {"dn", "cn=x"}, {"tls", true}, {"start_tls", true}}) ==
        both + "has no place for the name of an unknown user; it speaks TLS from the first byte and asks for it as well");
  CHECK(refusal("login.radius", {{"address", "h:1812"}, {"secret", ""}}) == both + "has an empty secret");
}

TEST_CASE("clients that retry are declared, and an attempt's limit without them is refused", "[login]") {
  Json params = kParams;
  params.update({{"retry", "exponential"}, {"retries", 2}, {"retry_pause", "100ms"}, {"timeout", "2s"}, {"attempt_timeout", "500ms"}});
  CHECK(mistakes(params).empty());
  const auto windows = run_probe("login.http", params, [](const LoginAttempt&, TimePoint) { return Reply{Answer::refused, 1ms}; }, 1s);
  std::vector<const Window*> all;
  for (const Json& window : windows) all.push_back(&window);
  CHECK(measure_load("attempts", all)->value == 300);
  params.erase("retry");
  ProbeContext context;
  context.params = params;
  CHECK_THROWS_WITH(find_probe("login.http")->make(std::move(context)), Catch::Contains("never try again"));
  params.update({{"retry", "often"}, {"retries", 101}, {"retry_jitter", "120%"}});
  CHECK(mistakes(params).size() == 3);
}
