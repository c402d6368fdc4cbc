#include "probes/login/login_params.h"

#include <algorithm>
#include <cmath>

#include "injector/base/error.h"
#include "injector/base/scattered.h"

namespace capsize {
namespace {

constexpr Duration kWarmFor = std::chrono::milliseconds(100);  // the pool starts with connections for logins that take this long

}  // namespace

ControlShares shares_of(const LoginLoadParams& params) { return {params.wrong_password_share, params.unknown_user_share, Share{}}; }
ControlShares shares_of(const LoginHttpParams& params) { return {params.wrong_password_share, params.unknown_user_share, params.expired_token_share}; }

void Contradictions::add(std::string fact, std::string remedy) {
  facts_ += (facts_.empty() ? "" : "; it ") + std::move(fact);
  remedies_ += (remedies_.empty() ? "" : "; ") + std::move(remedy);
}

void Contradictions::throw_if_any(const ProbeContext& context) const {
  if (!facts_.empty()) throw Error(ErrorKind::refused, "the probe " + context.name + " " + facts_, remedies_);
}

void check_login(const LoginLoadParams& params, const ControlShares& shares, Contradictions& found) {
  if (params.user.has_value() != params.password.has_value()) found.add("has a user or a password, not both", "give both \"user\" and \"password\", or neither");
  if (shares.all().value <= 1) return;
  found.add("would make more than all of its logins ones that must be refused", "let wrong_password_share, unknown_user_share and expired_token_share add up to 100 % at most");
}

void check_tls(const LoginHttpParams& params, Contradictions& found) {
  if (params.client_key && !params.client_cert) found.add("has the key of a client certificate without the certificate", "give \"client_cert\", too");
}

void check_expired_token_share(const LoginHttpParams& params, Contradictions& found) {
  if ((params.expired_token_share.value > 0) == params.expired_token.has_value()) return;
  found.add("has an expired token or a share of its uses, not both", "give both \"expired_token\" and \"expired_token_share\", or neither");
}

void check_names(const Flow& flow, const LoginLoadParams& params, Contradictions& found) {
  const auto name = unknown_name(flow);
  if (name) found.add("has {" + *name + "} in its texts, which stands for nothing", "write {user}, or leave the braces out");
  const bool is_basic = std::any_of(flow.steps.begin(), flow.steps.end(), [](const FlowStep& step) { return names_sent(step).contains("basic"); });
  if (!is_basic || params.user.value_or(params.user_prefix).find(':') == std::string::npos) return;
  found.add("has a colon in its users' names, where Basic authentication takes the password to begin (RFC 7617)", "let users without a colon log in");
}

LoadPlan load_plan_of(const ProbeContext& context, const LoginLoadParams& params, const ControlShares& shares) {
  const std::uint64_t enough = std::min<std::uint64_t>(enough_in_flight(Rate{params.rate.most()}, params.timeout, params.arrivals), kMostInFlight);
  LoadPlan out{Schedule(params.rate, params.user ? 1 : params.users, shares.all(), context.rng.stream("schedule"), params.arrivals),
               Credentials{params.user_prefix, params.password_prefix, params.user, params.password}, params.timeout, params.max_in_flight.value_or(enough)};
  out.workers = params.workers ? *params.workers : workers_for(params.rate.most());
  return out;
}

PoolOptions pool_of(const LoginHttpParams& params, const LoadPlan& plan) {
  PoolOptions out;
  out.keep_alive = params.connections == Connections::keep_alive;
  out.max_connections = (params.pool.value_or(plan.max_in_flight) + plan.workers - 1) / plan.workers;  // each worker has a pool of its own
  out.warm = static_cast<std::size_t>(std::ceil(params.rate.most() * seconds(kWarmFor) / static_cast<double>(plan.workers)));
  out.connect_timeout = params.timeout;
  return out;
}

TlsOptions tls_of(const LoginHttpParams& params) {
  TlsOptions out;
  out.verify = params.verify;
  out.ca_file = params.ca_file.value_or("");
  out.client_cert = params.client_cert.value_or("");
  out.client_key = params.client_key.value_or("");
  out.resume = params.tls_resumption == TlsResumption::always;
  return out;
}

std::unique_ptr<Probe> make_flow_probe(ProbeContext context, const LoadPlan& plan, Flow flow, const LoginHttpParams& params) {
  flow.seed = context.rng.stream("flow").next();
  const ControlShares shares = shares_of(params);
  const PoolOptions pool = pool_of(params, plan);
  const TlsOptions tls = tls_of(params);
  return make_load_probe(std::move(context), plan, [flow, shares, pool, tls](Clock& clock, std::uint64_t worker) {
    Flow own = flow;
    own.seed = scattered(flow.seed, worker);  // what is drawn by chance is not drawn twice
    return with_controls(make_flow_transport(own, make_pooled_wire(clock, origins_of(flow), pool, tls)), shares);
  });
}

bool has_control_share(const Json& params) {
  for (const char* share : {"wrong_password_share", "unknown_user_share", "expired_token_share"}) {
    if (!params.contains(share) || !params[share].is_string()) continue;
    const auto parsed = parse_share(params[share].get_ref<const std::string&>());
    if (const Share* value = std::get_if<Share>(&parsed); value != nullptr && value->value > 0) return true;
  }
  return false;
}

}  // namespace capsize
