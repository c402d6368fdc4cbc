#include "probes/login/login_params.h"

#include <algorithm>
#include <cmath>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr Duration kWarmFor = std::chrono::milliseconds(100);  // the pool starts with connections for logins that take this long

}  // namespace

void check_credentials(const ProbeContext& context, const std::optional<std::string>& user, const std::optional<std::string>& password) {
  if (user.has_value() == password.has_value()) return;
  throw Error(ErrorKind::refused, "the probe " + context.name + " has a user or a password, not both", "give both \"user\" and \"password\", or neither");
}

void check_controls(const ProbeContext& context, const ControlShares& shares) {
  if (shares.all().value <= 1) return;
  throw Error(ErrorKind::refused, "the probe " + context.name + " would make more than all of its logins ones that must be refused",
              "let wrong_password_share, unknown_user_share and expired_token_share add up to 100 % at most");
}

void check_names(const ProbeContext& context, const Flow& flow, std::string_view user) {
  const auto name = unknown_name(flow);
  if (name) throw Error(ErrorKind::refused, "the probe " + context.name + " has {" + *name + "} in its texts, which stands for nothing", "write {user}, or leave the braces out");
  const bool is_basic = std::any_of(flow.steps.begin(), flow.steps.end(), [](const FlowStep& step) { return names_sent(step).contains("basic"); });
  if (!is_basic || user.find(':') == std::string_view::npos) return;
  throw Error(ErrorKind::refused, "the probe " + context.name + " has a colon in its users' names, where Basic authentication takes the password to begin (RFC 7617)",
              "let users without a colon log in");
}

LoadPlan load_plan_of(const ProbeContext& context, const LoginLoadParams& params, const ControlShares& shares) {
  check_credentials(context, params.user, params.password);
  check_controls(context, shares);
  const std::uint64_t enough = std::min<std::uint64_t>(enough_in_flight(Rate{params.rate.most()}, params.timeout, params.arrivals), kMostInFlight);
  return {Schedule(params.rate, params.user ? 1 : params.users, shares.all(), context.rng.stream("schedule"), params.arrivals),
          Credentials{params.user_prefix, params.password_prefix, params.user, params.password}, params.timeout, params.max_in_flight.value_or(enough)};
}

PoolOptions pool_of(const LoginHttpParams& params, const LoadPlan& plan) {
  PoolOptions out;
  out.keep_alive = params.connections == Connections::keep_alive;
  out.max_connections = params.pool.value_or(plan.max_in_flight);
  out.warm = static_cast<std::size_t>(std::ceil(params.rate.most() * seconds(kWarmFor)));
  out.connect_timeout = params.timeout;
  return out;
}

TlsOptions tls_of(const LoginHttpParams& params) {
  TlsOptions out;
  out.verify = params.verify;
  out.ca_file = params.ca_file.value_or("");
  return out;
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
