#include "probes/alert/document_source.h"

#include <fmt/format.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>

#include "injector/base/error.h"
#include "injector/base/within.h"

namespace capsize {
namespace {

namespace http = boost::beast::http;

// A resolver cannot be cancelled: it works beside the look that began it, and outlives it where the name service hangs.
struct Resolving {
  explicit Resolving(const asio::any_io_executor& executor) : ended(executor, asio::steady_timer::time_point::max()) {}
  std::shared_ptr<const Origin> origin;
  std::exception_ptr error;
  bool done = false;
  asio::steady_timer ended;  // cancelled when done
};

class HttpSource final : public DocumentSource {
 public:
  HttpSource(Clock& clock, DocumentOptions options, ResolveOrigin resolve) : clock_(clock), options_(std::move(options)), resolve_(std::move(resolve)) {}

  Task<Document> get(std::string target) override {
    Document out;
    try {
      auto work = exchange(std::move(target));
      const auto answer = co_await within(clock_, options_.timeout, std::move(work));
      if (answer) co_return *answer;
      out.problem = fmt::format("no answer within {}", show(options_.timeout));
    } catch (const Error& error) {
      out.problem = error.what();
    }
    co_return out;
  }

 private:
  void begin_to_resolve(const asio::any_io_executor& executor) {
    resolving_ = std::make_shared<Resolving>(executor);
    TlsOptions tls;
    tls.verify = options_.verify;
    tls.ca_file = options_.ca_file.value_or("");
    auto work = resolve_(options_.server, tls);
    asio::co_spawn(executor, std::move(work), [state = resolving_](std::exception_ptr error, std::shared_ptr<const Origin> origin) {
      state->error = error;
      state->origin = std::move(origin);
      state->done = true;
      state->ended.cancel();
    });
  }

  Task<std::shared_ptr<const Origin>> origin() {
    const auto executor = co_await asio::this_coro::executor;
    if (!resolving_) begin_to_resolve(executor);
    const auto state = resolving_;
    if (!state->done) {
      boost::system::error_code ignored;
      co_await state->ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    if (!state->done) throw boost::system::system_error(asio::error::operation_aborted);  // the look is over; a later one has its answer
    if (state->error) {
      resolving_.reset();  // the next look asks again
      std::rethrow_exception(state->error);
    }
    const auto own = std::make_shared<Origin>(*state->origin);
    own->max_body = kMaxDocumentBytes;
    co_return own;
  }

  Task<Document> exchange(std::string target) {
    const auto executor = co_await asio::this_coro::executor;
    const auto origin = co_await this->origin();
    Connection connection(executor, origin);
    Document out;
    const auto connected = co_await connection.connect();
    if (connected.error) {
      out.problem = fmt::format("{}: {}", connected.in_tls ? "TLS failed" : "no connection", connected.error.message());
      co_return out;
    }
    auto request = request_for(target);
    const std::string wire = wire_of(request);
    const auto reply = co_await connection.exchange(wire);
    if (reply.error) {
      out.problem = fmt::format("the answer broke off: {}", reply.error.message());
      co_return out;
    }
    out.status = reply.status;
    out.body = reply.body;
    co_return out;
  }

  HttpRequest request_for(const std::string& target) const {
    std::string base = options_.server.target;
    while (base.ends_with('/')) base.pop_back();
    HttpRequest request(http::verb::get, base + target, 11);
    request.set(http::field::host, host_header(options_.server));
    request.set(http::field::user_agent, "capsize/" CAPSIZE_VERSION);
    request.set(http::field::accept, "application/json");
    if (options_.token) request.set(http::field::authorization, "Bearer " + *options_.token);
    request.keep_alive(false);
    return request;
  }

  Clock& clock_;
  const DocumentOptions options_;
  const ResolveOrigin resolve_;
  std::shared_ptr<Resolving> resolving_;
};

}  // namespace

std::unique_ptr<DocumentSource> make_document_source(Clock& clock, DocumentOptions options, ResolveOrigin resolve) {
  return std::make_unique<HttpSource>(clock, std::move(options), std::move(resolve));
}

}  // namespace capsize
