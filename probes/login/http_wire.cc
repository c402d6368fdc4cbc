#include "probes/login/http_wire.h"

#include <algorithm>

#include "injector/base/error.h"
#include "probes/login/http_transport.h"

namespace capsize {
namespace {

struct Place {
  Url url;
  std::shared_ptr<ConnectionPool> pool;
};

class PooledConversation final : public HttpConversation {
 public:
  explicit PooledConversation(const std::vector<Place>& places) : places_(places) {}
  // What is under way when the login's time is up leaves a connection that is good for nothing.
  ~PooledConversation() override {
    if (fit_) lease_.give_back();
  }

  Task<HttpSaid> send(HttpAsk ask) override {
    HttpSaid out;
    const auto place = std::find_if(places_.begin(), places_.end(), [&ask](const Place& known) { return same_origin(known.url, ask.url); });
    CAPSIZE_CHECK(place != places_.end());
    leave_unless(place->pool);
    if (!lease_) {
      auto acquired = co_await place->pool->acquire();
      if (acquired.result.error) {
        out.failed = answer_of(acquired.result);
        co_return out;
      }
      lease_ = std::move(acquired.lease);
      pool_ = place->pool;
    }
    fit_ = false;
    const std::string wire = wire_of(request_of(ask));
    auto reply = co_await lease_->exchange(wire);
    if (reply.connect.error) {
      out.failed = answer_of(reply.connect);
    } else if (reply.error) {
      out.failed = Answer::broken;
    } else {
      fit_ = reply.keep_alive;
      out.status = reply.status;
      out.body = std::move(reply.body);
      for (const auto& [name, value] : headers_in(reply.head)) out.headers.emplace_back(name, value);
    }
    co_return out;
  }

 private:
  void leave_unless(const std::shared_ptr<ConnectionPool>& wanted) {
    if (!lease_) return;
    if (fit_ && pool_ == wanted) return;
    if (fit_) lease_.give_back();
    lease_.drop();
    fit_ = false;
  }

  static HttpRequest request_of(const HttpAsk& ask) {
    auto request = make_request(boost::beast::http::string_to_verb(ask.method), ask.url);
    for (const auto& [name, value] : ask.headers) request.set(name, value);
    request.body() = ask.body;
    request.prepare_payload();
    return request;
  }

  const std::vector<Place>& places_;
  std::shared_ptr<ConnectionPool> pool_;
  Lease lease_;
  bool fit_ = false;  // the lease's last reply said that it stays open
};

class PooledWire final : public HttpWire {
 public:
  PooledWire(Clock& clock, std::vector<Url> urls, PoolOptions pool, TlsOptions tls) : clock_(clock), urls_(std::move(urls)), pool_(pool), tls_(std::move(tls)) {}

  Task<> open() override {
    const auto executor = co_await asio::this_coro::executor;
    for (const Url& url : urls_) {
      const bool known = std::any_of(places_.begin(), places_.end(), [&url](const Place& place) { return same_origin(place.url, url); });
      if (known) continue;
      const auto origin = co_await resolve_origin(url, tls_);
      places_.push_back({url, std::make_shared<ConnectionPool>(clock_, executor, origin, pool_)});
      const auto pool = places_.back().pool;
      co_await pool->warm();
    }
  }

  std::unique_ptr<HttpConversation> start() override { return std::make_unique<PooledConversation>(places_); }

  Task<> close() override {
    for (const Place& place : places_) {
      co_await place.pool->close();
    }
  }

 private:
  Clock& clock_;
  const std::vector<Url> urls_;
  const PoolOptions pool_;
  const TlsOptions tls_;
  std::vector<Place> places_;
};

}  // namespace

std::unique_ptr<HttpWire> make_pooled_wire(Clock& clock, std::vector<Url> urls, PoolOptions pool, TlsOptions tls) {
  return std::make_unique<PooledWire>(clock, std::move(urls), pool, std::move(tls));
}

}  // namespace capsize
