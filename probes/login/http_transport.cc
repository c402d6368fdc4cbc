#include "probes/login/http_transport.h"

#include <fmt/format.h>

#include <algorithm>

#include "injector/base/error.h"
#include "injector/base/json.h"
#include "probes/load/deadlines.h"

namespace capsize {
namespace {

namespace http = boost::beast::http;

bool is_success(unsigned status) { return status >= 200 && status < 300; }
bool is_a_no(unsigned status) { return status >= 400 && status < 600; }

// A token goes into a header: only what cannot end the header may be in it.
bool fit_for_header(const std::string& token) {
  return !token.empty() && std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

void throw_if_tester_lacks(const ConnectResult& result) {
  if (!tester_lacks(result.error)) return;
  throw Error(ErrorKind::unavailable, "this machine could not open a connection: " + result.error.message(),
              "raise its limit of open files (ulimit -n) or widen its range of local ports, or lower the rate");
}

class HttpLoginTransport final : public LoginTransport {
 public:
  HttpLoginTransport(Clock& clock, HttpLoginOptions options) : clock_(clock), options_(std::move(options)), token_pointer_(options_.token_pointer) {}

  Task<> open() override {
    const auto executor = co_await asio::this_coro::executor;
    const auto login_origin = co_await resolve_origin(options_.url, options_.tls);
    login_pool_ = std::make_shared<ConnectionPool>(clock_, executor, login_origin, options_.pool);
    session_pool_ = login_pool_;
    co_await login_pool_->warm();
    if (!options_.session_url || same_origin(*options_.session_url, options_.url)) co_return;
    const Url session_url = *options_.session_url;
    const auto session_origin = co_await resolve_origin(session_url, options_.tls);
    session_pool_ = std::make_shared<ConnectionPool>(clock_, executor, session_origin, options_.pool);
    co_await session_pool_->warm();
  }

  Task<Answer> attempt(LoginAttempt attempt) override {
    const TimePoint deadline = attempt.deadline;
    if (deadline <= clock_.now()) co_return Answer::timed_out;
    auto work = login(std::move(attempt));
    const auto answer = co_await deadlines_.limit(deadline, std::move(work));
    co_return answer.value_or(Answer::timed_out);
  }

  Task<> close() override {
    deadlines_.rest();
    co_await login_pool_->close();
    co_await session_pool_->close();
  }

 private:
  Task<Answer> login(LoginAttempt attempt) {
    auto acquired = co_await login_pool_->acquire();
    if (acquired.result.error) co_return answer_of(acquired.result);
    auto request = login_request(attempt);
    const auto exchanged = co_await exchange_with_retry(*acquired.lease.operator->(), std::move(request));
    if (exchanged.connect.error) co_return answer_of(exchanged.connect);
    const HttpReply& reply = exchanged.reply;
    if (reply.error) co_return Answer::broken;
    if (!is_success(reply.status)) {
      if (reply.keep_alive) acquired.lease.give_back();
      if (attempt.wrong_password) co_return Answer::rejected_rightly;
      co_return is_a_no(reply.status) ? Answer::denied : Answer::broken;
    }
    const auto token = token_in(reply.body);
    if (!token) {
      if (reply.keep_alive) acquired.lease.give_back();
      co_return attempt.wrong_password ? Answer::rejected_rightly : Answer::broken;
    }
    auto lease = std::move(acquired.lease);
    if (!options_.session_url || session_pool_ != login_pool_ || !reply.keep_alive) {
      if (reply.keep_alive) lease.give_back();
      lease.drop();
    }
    auto checking = token_works(*token, std::move(lease));
    const std::optional<bool> works = co_await std::move(checking);
    if (!works) co_return Answer::broken;
    if (attempt.wrong_password) co_return *works ? Answer::wrongly_accepted : Answer::rejected_rightly;
    co_return *works ? Answer::ok : Answer::broken;
  }

  // On the login's own connection where it is still good for that. Nothing: nobody answered for the token, so it was neither accepted nor refused.
  Task<std::optional<bool>> token_works(std::string token, Lease lease) {
    if (!options_.session_url) co_return true;
    if (!lease) {
      auto acquired = co_await session_pool_->acquire();
      throw_if_tester_lacks(acquired.result);
      if (acquired.result.error) co_return std::nullopt;
      lease = std::move(acquired.lease);
    }
    auto request = make_request(http::verb::get, *options_.session_url);
    request.set(http::field::authorization, "Bearer " + token);
    const auto exchanged = co_await exchange_with_retry(*lease.operator->(), std::move(request));
    throw_if_tester_lacks(exchanged.connect);
    if (exchanged.connect.error || exchanged.reply.error) co_return std::nullopt;
    if (exchanged.reply.keep_alive) lease.give_back();
    co_return exchanged.reply.status == 200;
  }

  HttpRequest login_request(const LoginAttempt& attempt) const {
    auto request = make_request(http::verb::post, options_.url);
    if (options_.body == LoginBody::json) {
      Json body = Json::object();
      body[options_.user_field] = attempt.user;
      body[options_.password_field] = attempt.password;
      request.set(http::field::content_type, "application/json");
      request.body() = body.dump(-1, ' ', true, Json::error_handler_t::replace);
    } else {
      request.set(http::field::content_type, "application/x-www-form-urlencoded");
      request.body() = fmt::format("{}={}&{}={}", form_encoded(options_.user_field), form_encoded(attempt.user), form_encoded(options_.password_field),
                                   form_encoded(attempt.password));
    }
    request.prepare_payload();
    return request;
  }

  std::optional<std::string> token_in(const std::string& body) const {
    const Json json = Json::parse(body, nullptr, false);
    if (json.is_discarded() || !json.contains(token_pointer_)) return std::nullopt;
    const Json& token = json.at(token_pointer_);
    if (!token.is_string() || !fit_for_header(token.get_ref<const std::string&>())) return std::nullopt;
    return token.get<std::string>();
  }

  Clock& clock_;
  Deadlines deadlines_{clock_};
  const HttpLoginOptions options_;
  const Json::json_pointer token_pointer_;
  std::shared_ptr<ConnectionPool> login_pool_;
  std::shared_ptr<ConnectionPool> session_pool_;
};

}  // namespace

std::unique_ptr<LoginTransport> make_http_login_transport(Clock& clock, HttpLoginOptions options) {
  return std::make_unique<HttpLoginTransport>(clock, std::move(options));
}

Task<Exchanged> exchange_with_retry(Connection& connection, HttpRequest request) {
  Exchanged out;
  const bool may_be_stale = connection.used;
  out.reply = co_await connection.exchange(request);
  if (!out.reply.error || out.reply.any_bytes || !may_be_stale) co_return out;
  out.connect = co_await connection.connect();
  if (out.connect.error) co_return out;
  out.reply = co_await connection.exchange(request);
  co_return out;
}

HttpRequest make_request(http::verb verb, const Url& url) {
  HttpRequest request(verb, url.target, 11);
  request.set(http::field::host, host_header(url));
  request.set(http::field::user_agent, "capsize/" CAPSIZE_VERSION);
  request.set(http::field::accept, "application/json, */*;q=0.5");
  return request;
}

Answer answer_of(const ConnectResult& failure) {
  throw_if_tester_lacks(failure);
  return failure.in_tls ? Answer::broken : Answer::refused;
}

std::string form_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace capsize
