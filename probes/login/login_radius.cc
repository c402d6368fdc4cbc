// The probe login.radius: Access-Requests with a PAP password. There is no token: an Access-Accept that is provably the server's is the login.
#include <openssl/rand.h>

#include <boost/asio/ip/udp.hpp>
#include <boost/asio/redirect_error.hpp>

#include "injector/base/error.h"
#include "probes/http/connection.h"
#include "probes/login/login_params.h"
#include "probes/login/radius_packet.h"
#include "probes/probes.h"

namespace capsize {
namespace {

using udp = asio::ip::udp;

struct RadiusParams : LoginLoadParams {
  Address address;
  std::string secret;
  std::string nas_identifier = "capsize";
  bool require_message_authenticator = false;
};

const Spec<RadiusParams>& radius_spec() {
  static const auto spec = [] {
    Spec<RadiusParams> out;
    out.required("address", &RadiusParams::address, "the server's address and port, as \"radius.staging:1812\"")
        .required("secret", &RadiusParams::secret, "the secret that the server shares with this client; better \"${secret:NAME}\"")
        .optional("nas_identifier", &RadiusParams::nas_identifier, "what the server is told that this client is (NAS-Identifier)")
        .optional("require_message_authenticator", &RadiusParams::require_message_authenticator,
                  "whether an answer without a Message-Authenticator counts as not received: it could be forged on the way (CVE-2024-3596)");
    add_load_params(out);
    return out;
  }();
  return spec;
}

void throw_if_lacking(const boost::system::error_code& error) {
  if (!tester_lacks(error)) return;
  throw Error(ErrorKind::unavailable, "this machine could not open a socket: " + error.message(), "raise its limit of open files (ulimit -n) or widen its range of local ports, or lower the rate");
}

// A login has a socket of its own: so an answer is its, and a port that nobody listens at is told at once.
class RadiusTransport final : public LoginTransport {
 public:
  explicit RadiusTransport(RadiusParams params) : params_(std::move(params)) {}

  Task<> open() override {
    const auto executor = co_await asio::this_coro::executor;
    udp::resolver resolver(executor);
    boost::system::error_code error;
    const std::string port = std::to_string(params_.address.port);
    const auto found = co_await resolver.async_resolve(params_.address.host, port, asio::redirect_error(asio::use_awaitable, error));
    if (error) throw Error(ErrorKind::unavailable, "the host name of " + show(params_.address) + " does not resolve: " + error.message(), "correct the address, or the name service");
    for (const auto& entry : found) servers_.push_back(entry.endpoint());
  }

  Task<Answer> attempt(LoginAttempt attempt) override { return login(std::move(attempt)); }

 private:
  RadiusAsk ask_of(const LoginAttempt& attempt) {
    RadiusAsk out;
    out.id = ++id_;
    CAPSIZE_CHECK(::RAND_bytes(out.authenticator.data(), static_cast<int>(out.authenticator.size())) == 1);  // no seed: it keeps the password secret
    out.user = attempt.user;
    out.password = attempt.password;
    out.nas_identifier = params_.nas_identifier;
    out.wants_message_authenticator = params_.require_message_authenticator;
    return out;
  }

  // At the first of the addresses of the server that does not refuse.
  Task<Answer> login(LoginAttempt attempt) {
    Answer out = Answer::refused;
    for (const udp::endpoint& server : servers_) {
      auto asking = login_at(server, attempt);
      out = co_await std::move(asking);
      if (out != Answer::refused) break;
    }
    co_return out;
  }

  Task<Answer> login_at(udp::endpoint server, LoginAttempt attempt) {
    const auto executor = co_await asio::this_coro::executor;
    const RadiusAsk ask = ask_of(attempt);
    udp::socket socket(executor);
    boost::system::error_code error;
    socket.open(server.protocol(), error);
    if (!error) socket.connect(server, error);
    throw_if_lacking(error);
    if (error) co_return Answer::refused;
    const std::string request = access_request(ask, params_.secret);
    co_await socket.async_send(asio::buffer(request), asio::redirect_error(asio::use_awaitable, error));
    std::string packet;
    while (!error) {
      packet.resize(kMaxRadiusPacket);
      const std::size_t size = co_await socket.async_receive(asio::buffer(packet), asio::redirect_error(asio::use_awaitable, error));
      if (error) break;
      packet.resize(size);
      const auto answer = verified_answer(packet, ask, params_.secret);
      if (answer) co_return meaning_of(*answer, attempt.wrong_password);
    }
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    throw_if_lacking(error);
    co_return Answer::refused;
  }

  const RadiusParams params_;
  std::vector<udp::endpoint> servers_;
  std::uint8_t id_ = 0;
};

void check_packets(const RadiusParams& params, Contradictions& found) {
  const bool fits = params.user.value_or(params.user_prefix + "1000000").size() <= kMaxRadiusName && params.nas_identifier.size() <= kMaxRadiusName &&
                    params.password.value_or(params.password_prefix + "1000000").size() <= kMaxRadiusPassword;
  if (!fits) found.add("has a name or a password that is too long for RADIUS", "write at most 253 bytes for a name, 128 for a password");
  if (params.secret.empty()) found.add("has an empty secret", "write the one that the server has for this client");
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const RadiusParams params = radius_spec().parse_or_throw(context.params);
  const ControlShares shares = shares_of(params);
  Contradictions found;
  check_login(params, shares, found);
  check_packets(params, found);
  found.throw_if_any(context);
  const LoadPlan plan = load_plan_of(context, params, shares);
  return make_load_probe(std::move(context), plan, [params, shares](Clock&, std::uint64_t) { return with_controls(std::make_unique<RadiusTransport>(params), shares); });
}

}  // namespace

const ProbeType& login_radius() {
  static const ProbeType type = {
      .name = "login.radius",
      .doc = "Logs people in at a RADIUS server with PAP at a given rate, whatever becomes of them",
      .target_type = "",
      .spec = []() -> const AnySpec& { return radius_spec(); },
      .example = {{"probe", "login.radius"}, {"address", "radius.staging:1812"}, {"secret", "${secret:RADIUS}"}, {"rate", "50/s"}, {"wrong_password_share", "5%"}},
      .measures = load_measures,
      .make = make,
      .measure = measure_load,
      .sends_controls = has_control_share,
  };
  return type;
}

}  // namespace capsize
