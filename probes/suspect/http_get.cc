// The probe http.get: whether, and how fast, a suspect answers a GET.
#include "injector/base/error.h"
#include "probes/load/load_probe.h"
#include "probes/login/http_transport.h"
#include "probes/probes.h"

namespace capsize {
namespace {

struct GetParams {
  Url url;
  Rate rate{2};
  Duration timeout = std::chrono::seconds(1);
  std::optional<Count> status;
  bool verify = true;
  std::optional<std::string> ca_file;
};

const Spec<GetParams>& get_spec() {
  static const auto spec = Spec<GetParams>()
                               .required("url", &GetParams::url, "what to GET; http or https, redirects are not followed")
                               .optional("rate", &GetParams::rate, "requests per second, each on a connection of its own")
                               .optional("timeout", &GetParams::timeout, "how long an answer may take, from the moment its request was due", more_than_zero())
                               .optional("status", &GetParams::status, "the only status that counts as a success; default: any 2xx", if_given(between(200, 599)))
                               .optional("verify", &GetParams::verify, "whether an https server must prove who it is")
                               .optional("ca_file", &GetParams::ca_file, "PEM file of the authorities to trust instead of the system's");
  return spec;
}

class GetTransport final : public LoginTransport {
 public:
  GetTransport(Clock& clock, GetParams params) : clock_(clock), params_(std::move(params)) {}

  Task<> open() override {
    const auto executor = co_await asio::this_coro::executor;
    TlsOptions tls;
    tls.verify = params_.verify;
    tls.ca_file = params_.ca_file.value_or("");
    const auto origin = co_await resolve_origin(params_.url, tls);
    PoolOptions options;
    options.keep_alive = false;
    options.connect_timeout = params_.timeout;
    pool_ = std::make_shared<ConnectionPool>(clock_, executor, origin, options);
    co_await pool_->warm();
  }

  Task<Answer> attempt(LoginAttempt) override {
    auto acquired = co_await pool_->acquire();
    if (acquired.result.error) co_return answer_of(acquired.result);
    auto request = make_request(boost::beast::http::verb::get, params_.url);
    request.keep_alive(false);
    const std::string wire = wire_of(request);
    const HttpReply reply = co_await acquired.lease->exchange(wire);
    if (reply.error) co_return Answer::broken;
    const unsigned status = reply.status;
    const bool wanted = params_.status ? status == *params_.status : status >= 200 && status < 300;
    co_return wanted ? Answer::ok : Answer::denied;
  }

 private:
  Clock& clock_;
  const GetParams params_;
  std::shared_ptr<ConnectionPool> pool_;
};

std::unique_ptr<Probe> make(ProbeContext context) {
  const GetParams params = get_spec().parse_or_throw(context.params);
  const LoadPlan plan{Schedule(params.rate, 1, Share{}, context.rng.stream("schedule")), Credentials{}, params.timeout, enough_in_flight(params.rate, params.timeout)};
  return make_load_probe(std::move(context), plan, [params](Clock& clock, std::uint64_t) { return std::make_unique<GetTransport>(clock, params); });
}

const std::vector<MeasureInfo>& measures() {
  static const std::vector<MeasureInfo> infos =
      load_measures({"success_ratio", "latency.p50", "latency.p90", "latency.p99", "latency.max", "latency_from_send.p50", "latency_from_send.p90", "latency_from_send.p99", "latency_from_send.max", "denied", "refused", "timed_out", "broken", "not_sent", "send_late.p99"});
  return infos;
}

}  // namespace

const ProbeType& http_get() {
  static const ProbeType type = {
      .name = "http.get",
      .doc = "Asks a suspect for a URL now and then",
      .target_type = "",
      .spec = []() -> const AnySpec& { return get_spec(); },
      .example = {{"probe", "http.get"}, {"url", "https://staging.example/health"}},
      .measures = measures,
      .make = make,
      .measure = measure_load,
  };
  return type;
}

}  // namespace capsize
