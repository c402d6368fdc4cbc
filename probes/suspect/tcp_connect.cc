// The probe tcp.connect: whether, and how fast, a suspect accepts a connection. Nothing is sent.
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>

#include "injector/base/error.h"
#include "probes/load/load_probe.h"
#include "probes/login/http_transport.h"
#include "probes/probes.h"

namespace capsize {
namespace {

struct ConnectParams {
  Address address;
  Rate rate{2};
  Duration timeout = std::chrono::seconds(1);
};

const Spec<ConnectParams>& connect_spec() {
  static const auto spec = Spec<ConnectParams>()
                               .required("address", &ConnectParams::address, "where to connect to")
                               .optional("rate", &ConnectParams::rate, "connections per second")
                               .optional("timeout", &ConnectParams::timeout, "how long a connection may take, from the moment it was due", more_than_zero());
  return spec;
}

class ConnectTransport final : public LoginTransport {
 public:
  explicit ConnectTransport(Address address) : address_(std::move(address)) {}

  Task<> open() override {
    const Url url{false, address_, "/"};
    const TlsOptions none;
    origin_ = co_await resolve_origin(url, none);
  }

  Task<Answer> attempt(LoginAttempt) override {
    const auto executor = co_await asio::this_coro::executor;
    Connection connection(executor, origin_);
    const auto result = co_await connection.connect();
    co_return result.error ? answer_of(result) : Answer::ok;
  }

 private:
  const Address address_;
  std::shared_ptr<const Origin> origin_;
};

std::unique_ptr<Probe> make(ProbeContext context) {
  const ConnectParams params = connect_spec().parse_or_throw(context.params);
  const LoadPlan plan{Schedule(params.rate, 1, Share{}, context.rng.stream("schedule")), Credentials{}, params.timeout, enough_in_flight(params.rate, params.timeout)};
  return make_load_probe(std::move(context), plan, [address = params.address](Clock&, std::uint64_t) { return std::make_unique<ConnectTransport>(address); });
}

const std::vector<MeasureInfo>& measures() {
  static const std::vector<MeasureInfo> infos =
      load_measures({"success_ratio", "latency.p50", "latency.p90", "latency.p99", "latency.max", "latency_from_send.p50", "latency_from_send.p90", "latency_from_send.p99", "latency_from_send.max", "refused", "timed_out", "not_sent", "send_late.p99"});
  return infos;
}

}  // namespace

const ProbeType& tcp_connect() {
  static const ProbeType type = {
      .name = "tcp.connect",
      .doc = "Opens TCP connections to a suspect and closes them again",
      .target_type = "",
      .spec = []() -> const AnySpec& { return connect_spec(); },
      .example = {{"probe", "tcp.connect"}, {"address", "db.staging:5432"}},
      .measures = measures,
      .make = make,
      .measure = measure_load,
  };
  return type;
}

}  // namespace capsize
