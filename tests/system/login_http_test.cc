// Logins over real sockets, against a server whose answers the test chooses.
#include <filesystem>
#include <fstream>

#include "injector/base/error.h"
#include "injector/base/within.h"
#include "probes/health.h"
#include "probes/load/load_window.h"
#include "probes/login/http_transport.h"
#include "probes/probe.h"
#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

Url url_of(const std::string& text) { return std::get<Url>(parse_url(text)); }

HttpLoginOptions options_for(const SmallServer& server, const std::string& host = "127.0.0.1") {
  HttpLoginOptions out;
  out.url = url_of(server.url("/login", host));
  out.session_url = url_of(server.url("/session", host));
  return out;
}

// A service with one user, ann, whose password is right.
ServerReply well_behaved(const ServerRequest& request) {
  if (request.target == "/session") return {.status = request.authorization == "Bearer t1" ? 200 : 401, .body = "{}"};
  const Json body = Json::parse(request.body, nullptr, false);
  const bool right = !body.is_discarded() && body.value("user", "") == "ann" && body.value("password", "") == "right";
  return right ? ServerReply{.body = R"({"token":"t1"})"} : ServerReply{.status = 401, .body = R"({"error":"no"})"};
}

struct Tried {
  std::vector<Answer> answers;
  double took = 0;  // of all
};

// The deadline is kept as the generator keeps it: by a cancellation.
Task<Answer> attempt_after(SystemClock& clock, LoginTransport& transport, LoginAttempt attempt) {
  co_await clock.sleep_until(attempt.due);
  auto trying = transport.attempt(attempt);
  const auto answer = co_await within(clock, attempt.deadline - clock.now(), std::move(trying));
  co_return answer.value_or(Answer::timed_out);
}

Task<> try_all(SystemClock& clock, LoginTransport& transport, std::vector<LoginAttempt> attempts, bool at_once, Tried& out) {
  co_await transport.open();
  const TimePoint start = clock.now();
  const auto executor = co_await asio::this_coro::executor;
  Wake ended(executor);
  std::size_t under_way = 0;
  for (LoginAttempt& attempt : attempts) {
    const Duration timeout = attempt.deadline - attempt.due;
    attempt.due = at_once ? start : clock.now();
    attempt.deadline = attempt.due + timeout;
    ++under_way;
    const auto on_end = [&](std::exception_ptr error, Answer answer) {
      if (error) std::rethrow_exception(error);
      out.answers.push_back(answer);
      --under_way;
      ended.notify();
    };
    asio::co_spawn(executor, attempt_after(clock, transport, attempt), on_end);
    while (under_way > 0 && !at_once) {
      co_await ended.wait();
    }
  }
  while (under_way > 0) {
    co_await ended.wait();
  }
  out.took = seconds(clock.now() - start);
  co_await transport.close();
}

LoginAttempt someone(bool wrong = false, Duration timeout = 2s) {
  LoginAttempt out;
  out.user = "ann";
  out.password = wrong ? "wrong" : "right";
  out.wrong_password = wrong;
  out.deadline = out.due + timeout;
  return out;
}

Tried log_in(const HttpLoginOptions& options, std::vector<LoginAttempt> attempts, bool at_once = false) {
  asio::io_context io;
  SystemClock clock;
  Tried out;
  const auto transport = make_http_login_transport(clock, options);
  asio::co_spawn(io, try_all(clock, *transport, std::move(attempts), at_once, out), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  return out;
}

Answer log_in_once(const HttpLoginOptions& options, bool wrong = false, Duration timeout = 2s) { return log_in(options, {someone(wrong, timeout)}).answers.at(0); }

Answer answer_to(ServerReply login, ServerReply session = {}, bool wrong = false) {
  SmallServer server([=](const ServerRequest& request) { return request.target == "/session" ? session : login; });
  return log_in_once(options_for(server), wrong, 300ms);
}

const ServerReply kToken{.body = R"({"token":"t1"})"};

}  // namespace

TEST_CASE("a login is ok when its token works, and a wrong password is rightly rejected", "[login][beside]") {
  SmallServer server(well_behaved);
  CHECK(log_in_once(options_for(server)) == Answer::ok);
  CHECK(log_in_once(options_for(server), true) == Answer::rejected_rightly);
  HttpLoginOptions fresh = options_for(server);
  fresh.pool.keep_alive = false;
  CHECK(log_in_once(fresh) == Answer::ok);
  CHECK(log_in_once(fresh, true) == Answer::rejected_rightly);
}

TEST_CASE("a form carries the same credentials", "[login][beside]") {
  std::string body;
  SmallServer server([&body](const ServerRequest& request) {
    if (request.target == "/session") return ServerReply{};
    body = request.content_type + " " + request.body;
    return kToken;
  });
  HttpLoginOptions options = options_for(server);
  options.body = LoginBody::form;
  options.user_field = "user name";
  CHECK(log_in_once(options) == Answer::ok);
  CHECK(body == "application/x-www-form-urlencoded user%20name=ann&password=right");
}

TEST_CASE("a right password that is answered with a no is denied", "[login][beside]") {
  for (const int status : {401, 403, 429, 500, 503}) {
    INFO(status);
    CHECK(answer_to({.status = status}) == Answer::denied);
  }
}

TEST_CASE("an answer that makes no sense is broken", "[login][beside]") {
  CHECK(answer_to({.status = 302}) == Answer::broken);
  CHECK(answer_to({.body = "welcome"}) == Answer::broken);
  CHECK(answer_to({.body = R"({"token":""})"}) == Answer::broken);
  CHECK(answer_to({.body = R"({"token":7})"}) == Answer::broken);
  CHECK(answer_to({.body = R"({"session":"t1"})"}) == Answer::broken);
  CHECK(answer_to({.body = R"({"token":"a\r\nX-Evil: 1"})"}) == Answer::broken);
  CHECK(answer_to({.raw = "SSH-2.0-OpenSSH_9.2\r\n\r\n"}) == Answer::broken);
  CHECK(answer_to({.close = true, .raw = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"tok"}) == Answer::broken);
  CHECK(answer_to({.body = std::string(200'000, 'x')}) == Answer::broken);
  CHECK(answer_to({.raw = "HTTP/1.1 200 OK\r\nX: " + std::string(200'000, 'x') + "\r\nContent-Length: 0\r\n\r\n"}) == Answer::broken);
  CHECK(answer_to({.raw = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + std::string(5000, '[')}) == Answer::broken);
  CHECK(answer_to({.hang_up = true}) == Answer::broken);
}

TEST_CASE("a token that does not work is no login", "[login][beside]") {
  CHECK(answer_to(kToken, {.status = 401}) == Answer::broken);
  CHECK(answer_to(kToken, {.hang_up = true}) == Answer::broken);
  CHECK(answer_to(kToken, {.after = 5s}) == Answer::timed_out);
}

TEST_CASE("a wrong password that gets a working token is wrongly accepted", "[login][beside]") {
  CHECK(answer_to(kToken, {}, true) == Answer::wrongly_accepted);
  CHECK(answer_to(kToken, {.status = 401}, true) == Answer::rejected_rightly);
  CHECK(answer_to({.body = "{}"}, {}, true) == Answer::rejected_rightly);
  CHECK(answer_to({.status = 503}, {}, true) == Answer::rejected_rightly);
  CHECK(answer_to({.hang_up = true}, {}, true) == Answer::broken);
  CHECK(answer_to(kToken, {.hang_up = true}, true) == Answer::broken);  // nobody answered for the token
}

TEST_CASE("nobody at the address is refused", "[login][beside]") {
  HttpLoginOptions options;
  {
    SmallServer gone(well_behaved);
    options = options_for(gone);
  }
  CHECK(log_in_once(options) == Answer::refused);
  options.pool.keep_alive = false;
  CHECK(log_in_once(options) == Answer::refused);
}

TEST_CASE("the deadline holds wherever the service stops answering", "[login][beside]") {
  const bool keep_alive = GENERATE(true, false);
  const auto timed = [keep_alive](const ServerReply& login, const ServerReply& session) {
    SmallServer server([=](const ServerRequest& request) { return request.target == "/session" ? session : login; });
    HttpLoginOptions options = options_for(server);
    options.pool.keep_alive = keep_alive;
    const Tried tried = log_in(options, {someone(false, 150ms)});
    CHECK(tried.answers == std::vector<Answer>{Answer::timed_out});
    CHECK(tried.took >= 0.149);
    CHECK(tried.took < 1);
  };
  timed({.after = 1h}, {});
  timed({.raw = "HTTP/1.1 200 OK\r\nX-Half"}, {});
  timed({.raw = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"tok"}, {});
  timed(kToken, {.after = 1h});
}

TEST_CASE("a listener that accepts nothing, or a TLS server that says nothing, is timed out", "[login][beside]") {
  asio::io_context io;
  asio::ip::tcp::acceptor silent(io, asio::ip::tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
  HttpLoginOptions options;
  const std::string rest = "://127.0.0.1:" + std::to_string(silent.local_endpoint().port()) + "/login";
  options.pool.connect_timeout = 100ms;
  options.url = url_of("http" + rest);
  CHECK(log_in_once(options, false, 150ms) == Answer::timed_out);
  options.url = url_of("https" + rest);
  CHECK(log_in_once(options, false, 150ms) == Answer::timed_out);
}

TEST_CASE("kept connections are used again, new ones are not", "[login][beside]") {
  SmallServer server(well_behaved);
  HttpLoginOptions options = options_for(server);
  const std::vector<LoginAttempt> ten(10, someone());
  CHECK(log_in(options, ten).answers == std::vector<Answer>(10, Answer::ok));
  CHECK(server.stats().accepted == 1);
  CHECK(server.stats().requests == 20);
  options.pool.keep_alive = false;
  CHECK(log_in(options, ten).answers == std::vector<Answer>(10, Answer::ok));
  CHECK(server.stats().accepted == 1 + 11);  // one to see whether the server is there at all; the session rides on the login's
}

TEST_CASE("late logins wait for the first ready connection: a stall opens no more than the pool may have", "[login][beside]") {
  SmallServer server([](const ServerRequest& request) {
    ServerReply reply = well_behaved(request);
    reply.after = 5ms;
    return reply;
  });
  HttpLoginOptions options = options_for(server);
  options.pool.max_connections = 3;
  const Tried tried = log_in(options, std::vector<LoginAttempt>(60, someone(false, 5s)), true);
  CHECK(tried.answers == std::vector<Answer>(60, Answer::ok));
  CHECK(server.stats().accepted == 3);
  CHECK(server.stats().most_open == 3);
}

TEST_CASE("logins that give up in the queue leave the pool usable", "[login][beside]") {
  std::atomic<bool> stalled{true};
  SmallServer server([&stalled](const ServerRequest& request) {
    ServerReply reply = well_behaved(request);
    if (stalled) reply.after = 1h;
    return reply;
  });
  HttpLoginOptions options = options_for(server);
  options.pool.max_connections = 2;
  asio::io_context io;
  SystemClock clock;
  const auto transport = make_http_login_transport(clock, options);
  Tried first;
  asio::co_spawn(io, try_all(clock, *transport, std::vector<LoginAttempt>(20, someone(false, 100ms)), true, first), asio::detached);
  io.run();
  CHECK(first.answers == std::vector<Answer>(20, Answer::timed_out));
  stalled = false;
  CHECK(log_in_once(options) == Answer::ok);
}

TEST_CASE("a kept connection that the server closed meanwhile costs no login", "[login][beside]") {
  SmallServer closes_after_each([](const ServerRequest& request) {
    ServerReply reply = well_behaved(request);
    reply.close = request.target == "/session";  // without saying so
    reply.raw = reply.close ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" : "";
    return reply;
  });
  CHECK(log_in(options_for(closes_after_each), std::vector<LoginAttempt>(20, someone())).answers == std::vector<Answer>(20, Answer::ok));
  // The race: closed on the arrival of the next request, before a byte of a reply.
  SmallServer closes_in_the_act([](const ServerRequest& request) {
    if (request.nth_on_connection == 3) return ServerReply{.hang_up = true};
    return well_behaved(request);
  });
  CHECK(log_in(options_for(closes_in_the_act), std::vector<LoginAttempt>(6, someone())).answers == std::vector<Answer>(6, Answer::ok));
  CHECK(closes_in_the_act.stats().accepted == 6);
}

TEST_CASE("TLS: the certificate is verified unless the playbook says otherwise", "[login][beside]") {
  const SelfSigned identity = self_signed("localhost");
  SmallServer server(well_behaved, identity.certificate, identity.key);
  char folder[] = "/tmp/capsize-ca-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const std::string ca_file = std::string(folder) + "/ca.pem";
  std::ofstream(ca_file) << identity.certificate;

  HttpLoginOptions options = options_for(server, "localhost");
  CHECK_THROWS_WITH(log_in_once(options), Catch::Contains("certificate verify failed") && Catch::Contains("ca_file"));
  options.tls.ca_file = ca_file;
  CHECK(log_in_once(options) == Answer::ok);
  CHECK(log_in(options, std::vector<LoginAttempt>(5, someone())).answers == std::vector<Answer>(5, Answer::ok));
  HttpLoginOptions other_name = options_for(server, "127.0.0.1");
  other_name.tls.ca_file = ca_file;
  CHECK_THROWS_AS(log_in_once(other_name), Error);
  other_name.tls.verify = false;
  CHECK(log_in_once(other_name) == Answer::ok);
  other_name.pool.keep_alive = false;
  CHECK(log_in_once(other_name) == Answer::ok);
  options.tls.ca_file = ca_file + ".missing";
  CHECK_THROWS_WITH(log_in_once(options), Catch::Contains("ca.pem.missing"));
  std::filesystem::remove_all(folder);
}

TEST_CASE("a host that does not resolve is said so before any login", "[login][beside]") {
  HttpLoginOptions options;
  options.url = url_of("http://no-such-host.invalid/login");
  CHECK_THROWS_WITH(log_in_once(options), Catch::Contains("no-such-host.invalid") && Catch::Contains("does not resolve"));
}

TEST_CASE("the whole probe, on a thread of its own: every login counted, in windows that follow one another", "[login][beside]") {
  SmallServer server(well_behaved);
  const Json params = {{"url", server.url("/login")}, {"session_url", server.url("/session")}, {"rate", "200/s"}, {"timeout", "20s"}, {"user", "ann"}, {"password", "right"}, {"wrong_password_share", "10%"}};
  const auto seen = watch("login.http", params, 4);
  double to = seen.windows.front().at("from");
  for (const Json& window : seen.windows) {
    CHECK(window.at("from") == to);
    to = window.at("to");
  }
  CHECK(seen.value("success_ratio") == 1);
  CHECK(seen.value("wrongly_accepted") == 0);
  CHECK(seen.value("rejected_rightly") >= 19);
  CHECK(seen.value("latency.p50") > 0);
  CHECK(generator_health(seen.all()).scheduled >= 200);
}

TEST_CASE("a probe that cannot work at all ends with the reason, not with failed logins", "[login][beside]") {
  const Json params = {{"url", "http://no-such-host.invalid/login"}, {"rate", "10/s"}};
  CHECK_THROWS_WITH(watch("login.http", params, 0), Catch::Contains("does not resolve"));
}
