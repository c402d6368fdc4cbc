#include "probes/login/http_transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "injector/base/error.h"
#include "injector/base/json.h"

namespace capsize {
namespace {

namespace http = boost::beast::http;

constexpr std::size_t kDeepestAnswer = 200;  // arrays and objects in one another

bool is_success(unsigned status) { return status >= 200 && status < 300; }
bool is_a_no(unsigned status) { return status >= 400 && status < 600; }

// A token goes into a header: only what cannot end the header may be in it.
bool fit_for_header(std::string_view token) {
  return !token.empty() && std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

void throw_if_tester_lacks(const ConnectResult& result) {
  if (!tester_lacks(result.error)) return;
  throw Error(ErrorKind::unavailable, "this machine could not open a connection: " + result.error.message(),
              "raise its limit of open files (ulimit -n) or widen its range of local ports, or lower the rate");
}

// All of a request that is the same in each login: up to its last header.
std::string head_of(const HttpRequest& request) {
  std::string out = wire_of(request);
  out.resize(out.size() - 2);
  return out;
}

// Appends a text as JSON has it.
void add_quoted(std::string& out, const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; });
  if (plain) out.append(1, '"').append(text).append(1, '"');
  else out += Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
}

class HttpLoginTransport final : public LoginTransport {
 public:
  HttpLoginTransport(Clock& clock, HttpLoginOptions options) : clock_(clock), options_(std::move(options)) {
    auto login = make_request(http::verb::post, options_.url);
    login.set(http::field::content_type, options_.body == LoginBody::json ? "application/json" : "application/x-www-form-urlencoded");
    login_head_ = head_of(login) + "Content-Length: ";
    if (options_.body == LoginBody::json) {
      add_quoted(body_to_user_ = '{', options_.user_field);
      add_quoted(body_to_password_ = ',', options_.password_field);
      body_to_user_ += ':';
      body_to_password_ += ':';
    } else {
      body_to_user_ = form_encoded(options_.user_field) + "=";
      body_to_password_ = "&" + form_encoded(options_.password_field) + "=";
    }
    if (options_.session_url) session_head_ = head_of(make_request(http::verb::get, *options_.session_url));
  }

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
    Lease lease = login_pool_->idle();
    if (!lease) {
      auto acquired = co_await login_pool_->acquire();
      if (acquired.result.error) co_return answer_of(acquired.result);
      lease = std::move(acquired.lease);
    }
    const std::string wire = login_request(attempt);
    const HttpReply reply = co_await lease->exchange(wire);
    if (reply.connect.error) co_return answer_of(reply.connect);
    if (reply.error) co_return Answer::broken;
    const auto token = is_success(reply.status) ? token_in(reply.body) : std::nullopt;
    if (reply.keep_alive && !(token && options_.session_url && session_pool_ == login_pool_)) lease.give_back();
    if (!reply.keep_alive) lease.drop();
    if (!token && attempt.wrong_password) co_return Answer::rejected_rightly;
    if (!token) co_return is_a_no(reply.status) ? Answer::denied : Answer::broken;
    if (!options_.session_url) co_return attempt.wrong_password ? Answer::wrongly_accepted : Answer::ok;
    auto checking = token_works(*token, std::move(lease));
    const auto works = co_await std::move(checking);
    if (!works) co_return Answer::broken;
    if (attempt.wrong_password) co_return *works ? Answer::wrongly_accepted : Answer::rejected_rightly;
    co_return *works ? Answer::ok : Answer::broken;
  }

  Task<> close() override {
    co_await login_pool_->close();
    co_await session_pool_->close();
  }

 private:
  // On the login's own connection where it is still good for that. Nothing where nobody answered: then it was neither taken nor refused.
  Task<std::optional<bool>> token_works(std::string token, Lease lease) {
    if (!lease) {
      auto acquired = co_await session_pool_->acquire();
      throw_if_tester_lacks(acquired.result);
      if (acquired.result.error) co_return std::nullopt;
      lease = std::move(acquired.lease);
    }
    const std::string wire = session_head_ + "Authorization: Bearer " + token + "\r\n\r\n";
    const HttpReply reply = co_await lease->exchange(wire);
    throw_if_tester_lacks(reply.connect);
    if (reply.connect.error || reply.error) co_return std::nullopt;
    if (reply.keep_alive) lease.give_back();
    co_return reply.status == 200;
  }

  std::string login_request(const LoginAttempt& attempt) const {
    std::string body = body_to_user_;
    if (options_.body == LoginBody::json) {
      add_quoted(body, attempt.user);
      body += body_to_password_;
      add_quoted(body, attempt.password);
      body += '}';
    } else {
      body.append(form_encoded(attempt.user)).append(body_to_password_).append(form_encoded(attempt.password));
    }
    const std::string length = std::to_string(body.size());
    std::string out;
    out.reserve(login_head_.size() + length.size() + 4 + body.size());
    return out.append(login_head_).append(length).append("\r\n\r\n").append(body);
  }

  // Into memory of its own that is gone at once: an answer is looked at for each login.
  std::optional<std::string> token_in(const std::string& body) const {
    std::array<unsigned char, 4096> room;
    boost::json::monotonic_resource memory(room.data(), room.size());
    boost::json::parse_options options;
    options.max_depth = kDeepestAnswer;
    boost::system::error_code error;
    const boost::json::value json = boost::json::parse(body, error, &memory, options);
    const boost::json::value* token = error ? nullptr : json.find_pointer(options_.token_pointer, error);
    if (token == nullptr || !token->is_string() || !fit_for_header(token->get_string())) return std::nullopt;
    return std::string(token->get_string());
  }

  Clock& clock_;
  const HttpLoginOptions options_;
  std::string login_head_;
  std::string body_to_user_;
  std::string body_to_password_;
  std::string session_head_;
  std::shared_ptr<ConnectionPool> login_pool_;
  std::shared_ptr<ConnectionPool> session_pool_;
};

}  // namespace

std::unique_ptr<LoginTransport> make_http_login_transport(Clock& clock, HttpLoginOptions options) {
  return std::make_unique<HttpLoginTransport>(clock, std::move(options));
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
