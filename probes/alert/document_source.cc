#include "probes/alert/document_source.h"

#include <fmt/format.h>

#include "injector/base/error.h"
#include "injector/base/within.h"
#include "probes/http/connection.h"

namespace capsize {
namespace {

namespace http = boost::beast::http;

class HttpSource final : public DocumentSource {
 public:
  HttpSource(Clock& clock, DocumentOptions options) : clock_(clock), options_(std::move(options)) {}

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
  Task<Document> exchange(std::string target) {
    const auto executor = co_await asio::this_coro::executor;
    const TlsOptions tls{options_.verify, options_.ca_file.value_or("")};
    const auto resolved = co_await resolve_origin(options_.server, tls);
    const auto origin = std::make_shared<Origin>(*resolved);
    origin->max_body = kMaxDocumentBytes;
    Connection connection(executor, origin);
    Document out;
    const auto connected = co_await connection.connect();
    if (connected.error) {
      out.problem = fmt::format("{}: {}", connected.in_tls ? "TLS failed" : "no connection", connected.error.message());
      co_return out;
    }
    auto request = request_for(target);
    const auto reply = co_await connection.exchange(std::move(request));
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
};

}  // namespace

std::unique_ptr<DocumentSource> make_document_source(Clock& clock, DocumentOptions options) { return std::make_unique<HttpSource>(clock, std::move(options)); }

}  // namespace capsize
