// One load as the probe login.http makes it, and its figures as one line of JSON: what tests/bench/load compares with other clients.
//   load_bench PARAMS SECONDS     PARAMS: the probe's JSON; with "probe": "bare", a request is a success by its status, as it is for wrk. Of a rate that nothing can keep up with, all that was due is sent, however long it takes.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <cstdio>
#include <iostream>

#include "probes/health.h"
#include "probes/http/connection_pool.h"
#include "probes/load/histogram.h"
#include "probes/load/load_probe.h"
#include "probes/login/http_transport.h"
#include "probes/login/login_params.h"
#include "probes/probe.h"

using namespace capsize;

namespace {

struct BareParams : LoginHttpParams {
  Url url;
};

const Spec<BareParams>& bare_spec() {
  static const auto spec = [] {
    Spec<BareParams> out;
    out.required("url", &BareParams::url, "where it is sent to");
    add_load_params(out);
    add_connection_params(out);
    return out;
  }();
  return spec;
}

// No login: the engine by itself.
class BareTransport final : public LoginTransport {
 public:
  BareTransport(Clock& clock, const BareParams& params, const PoolOptions& pool) : clock_(clock), url_(params.url), tls_(tls_of(params)), options_(pool) {
    auto request = make_request(boost::beast::http::verb::post, url_);
    request.set(boost::beast::http::field::content_type, "application/json");
    request.body() = R"({"password":"pw17","user":"user17"})";
    request.prepare_payload();
    wire_ = wire_of(request);
  }

  Task<> open() override {
    const auto executor = co_await asio::this_coro::executor;
    const auto origin = co_await resolve_origin(url_, tls_);
    pool_ = std::make_shared<ConnectionPool>(clock_, executor, origin, options_);
    co_await pool_->warm();
  }

  Task<Answer> attempt(LoginAttempt) override {
    Lease lease = pool_->idle();
    if (!lease) {
      auto acquired = co_await pool_->acquire();
      if (acquired.result.error) co_return Answer::refused;
      lease = std::move(acquired.lease);
    }
    const HttpReply reply = co_await lease->exchange(wire_);
    if (reply.connect.error || reply.error) co_return Answer::broken;
    if (reply.keep_alive) lease.give_back();
    co_return reply.status == 200 ? Answer::ok : Answer::denied;
  }

  Task<> close() override {
    co_await pool_->close();
  }

 private:
  Clock& clock_;
  const Url url_;
  const TlsOptions tls_;
  const PoolOptions options_;
  std::string wire_;
  std::shared_ptr<ConnectionPool> pool_;
};

std::unique_ptr<Probe> make_probe(ProbeContext context) {
  const std::string probe = context.params.value("probe", "login.http");
  context.params.erase("probe");
  if (probe != "bare") return find_probe(probe)->make(std::move(context));
  const BareParams params = bare_spec().parse_or_throw(context.params);
  const LoadPlan plan = load_plan_of(context, params, {});
  const PoolOptions pool = pool_of(params, plan);
  return make_load_probe(std::move(context), plan, [params, pool](Clock& clock, std::uint64_t) { return std::make_unique<BareTransport>(clock, params, pool); });
}

struct Figures {
  std::vector<Json> windows;
  TimePoint origin;
  TimePoint ended;
};

Task<> stop_after(Clock& clock, Probe& probe, Duration how_long) {
  co_await clock.sleep(how_long);
  probe.stop();
}

Task<> run_probe(Clock& clock, Probe& probe, Figures& out) {
  co_await probe.run();
  out.ended = clock.now();
}

void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

Json told(const Figures& figures) {
  std::vector<const Window*> all;
  std::map<std::string, std::uint64_t> counts;
  std::uint64_t scheduled = 0;
  LatencyHistogram send_late;
  for (const Json& window : figures.windows) {
    all.push_back(&window);
    scheduled += window.at("scheduled").get<std::uint64_t>();
    for (const auto& [answer, count] : window.at("counts").items()) counts[answer] += count.get<std::uint64_t>();
    send_late.merge(LatencyHistogram::from_json(window.at("send_late")));
  }
  const ProbeType& login = *find_probe("login.http");
  const auto milliseconds = [&](const char* measure) {
    const auto measured = login.measure(measure, all);
    return measured ? Json(measured->value * 1e3) : Json(nullptr);
  };
  const double from = figures.windows.empty() ? 0 : figures.windows.front().at("from").get<double>();
  const double took = seconds(figures.ended - figures.origin) - from;
  Json out = {{"scheduled", scheduled}, {"counts", counts}, {"seconds", took}};
  out["per_second"] = took > 0 ? static_cast<double>(counts["ok"]) / took : 0.0;
  out["latency_ms"] = {{"p50", milliseconds("latency.p50")}, {"p90", milliseconds("latency.p90")}, {"p99", milliseconds("latency.p99")}, {"p999", milliseconds("latency.p999")},
                       {"max", milliseconds("latency.max")}};
  LatencyHistogram latency;
  for (const Json& window : figures.windows) latency.merge(LatencyHistogram::from_json(window.at("latency")));
  out["latency_ms"]["p95"] = seconds(latency.quantile(0.95)) * 1e3;
  const auto late = [&](double q) { return seconds(send_late.quantile(q)) * 1e6; };
  out["send_late_us"] = {{"p50", late(0.5)}, {"p90", late(0.9)}, {"p99", late(0.99)}};
  const auto problem = generator_problem(all);
  out["problem"] = problem ? Json(*problem) : Json(nullptr);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: load_bench PARAMS SECONDS\n";
    return 64;
  }
  std::signal(SIGPIPE, SIG_IGN);
  try {
    asio::io_context io(1);
    SystemClock clock;
    Figures figures;
    figures.origin = clock.now();
    ProbeContext context;
    context.name = "login";
    context.params = Json::parse(argv[1]);
    context.clock = &clock;
    context.start = figures.origin;
    context.emit = [&figures](Window window) { figures.windows.push_back(std::move(window)); };
    const auto probe = make_probe(std::move(context));
    asio::co_spawn(io, run_probe(clock, *probe, figures), rethrow);
    asio::co_spawn(io, stop_after(clock, *probe, from_seconds(std::stod(argv[2]))), rethrow);
    io.run();
    std::cout << told(figures).dump() << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
