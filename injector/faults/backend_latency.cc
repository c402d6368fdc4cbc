// backend.latency: one backend answers later, and is otherwise well. In the words of its users: "auth1 answers 200 ms later".
#include <fmt/format.h>

#include "injector/faults/balancer.h"
#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {
namespace {

struct LatencyParams {
  Duration later{};
  Duration jitter{};
  std::optional<Name> server;
};

const Spec<LatencyParams>& latency_params() {
  static const auto spec = Spec<LatencyParams>()
                               .required("later", &LatencyParams::later, "how much later it answers", more_than_zero())
                               .optional("jitter", &LatencyParams::jitter, "the standard deviation of that")
                               .optional("server", &LatencyParams::server, "which server of the balancer's backend; only with a target of type haproxy");
  return spec;
}

const AnySpec& latency_spec() { return latency_params(); }

Address address_of(const ServerState& server) {
  if (server.address.empty() || server.address == "-" || server.address == "0.0.0.0" || server.port <= 0 || server.port > 65535) {
    throw Error(ErrorKind::refused, fmt::format("{}/{} has no address that HAProxy connects to", server.backend, server.name), "aim at a target of type service, with its address");
  }
  return {server.address, static_cast<std::uint16_t>(server.port)};
}

// Whether packets to it stay on this machine does not matter to its users: what can be held is what arrives here, requests at a backend of
// this machine or answers of one elsewhere. Both give the same round trip.
bool is_here(const NetAim& aim, const NetGround& ground) {
  if (aim.local.empty()) return true;
  const auto blocks = addresses_of(aim.local[0].text, ground);
  return std::any_of(blocks.begin(), blocks.end(), [&](const AddressBlock& block) { return is_own(block, ground); });
}

NetIntent intent_of(const LatencyParams& params) {
  DelayEffect delay;
  delay.delay = params.later;
  delay.jitter = params.jitter;
  if (params.jitter.count() > 0) delay.distribution = DelayDistribution::normal;
  NetIntent intent;
  intent.effect.delay = delay;
  intent.words = "are " + late_by(params.later, params.jitter);
  return intent;
}

void require_server(const LatencyParams& params, const std::string& target_type) {
  if (target_type == "haproxy" && !params.server) throw Error(ErrorKind::refused, "a balancer has several servers: \"server\" is missing", "add \"server\": the name of one of its backend");
  if (target_type != "haproxy" && params.server) throw Error(ErrorKind::refused, "\"server\" is for a target of type haproxy: a service is one server", "leave \"server\" out, or aim at the balancer");
}

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const LatencyParams params = latency_params().parse_or_throw(request.params);
  require_server(params, request.target_type);
  NetAim aim;
  std::string whose;
  if (request.target_type == "haproxy") {
    const HaproxyTarget target = haproxy_target_spec().parse_or_throw(request.target);
    const Json answer = co_await host.inspect(observe_backend(target));
    const BackendState seen = backend_from_json(answer);
    const ServerState& server = planned_server(seen, params.server->text);
    const Address address = address_of(server);
    aim = aim_at_service(address.host, address.port);
    whose = fmt::format("{}/{} ({})", seen.name, server.name, show(address));
  } else {
    aim = aim_at(request.target_type, request.target);
    whose = aim.words;
  }
  NetIntent intent = intent_of(params);
  NetGround ground = co_await look_at_ground(aim, request, host);
  intent.direction = is_here(aim, ground) ? Direction::in : Direction::out;
  FaultPlan out = decide_net(intent, aim, ground, request.allow);
  out.summary = fmt::format("{} answers {} later: {}", whose, show(params.later), out.summary);
  co_return out;
}

}  // namespace

FaultType backend_latency() {
  FaultType type = net_fault("backend.latency", "One backend answers later, and is otherwise well.", latency_spec, {{"target", "balancer"}, {"server", "auth1"}, {"later", "200ms"}});
  type.target_types = {"haproxy", "service"};
  type.plan = plan;
  return type;
}

}  // namespace capsize
