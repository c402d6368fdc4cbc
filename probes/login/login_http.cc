// The probe login.http: people logging in over HTTP, at a given rate whatever becomes of them.
#include <algorithm>
#include <cmath>

#include "probes/load/load_probe.h"
#include "probes/login/flow_steps.h"
#include "probes/login/http_transport.h"
#include "probes/login/login_params.h"
#include "probes/probes.h"

namespace capsize {
namespace {

constexpr Count kMostRetries = 100;
constexpr Duration kWarmFor = std::chrono::milliseconds(100);  // the pool starts with connections for logins that take this long

struct LoginParams {
  Url url;
  std::optional<Url> session_url;
  LoadRate rate;
  Arrivals arrivals = Arrivals::constant;
  Duration timeout = std::chrono::seconds(1);
  Count users = 100;
  std::string user_prefix = "user";
  std::string password_prefix = "pw";
  std::optional<std::string> user;
  std::optional<std::string> password;
  Share wrong_password_share;
  Share unknown_user_share;
  Share expired_token_share;
  std::optional<std::string> expired_token;
  std::optional<FlowSteps> steps;
  LoginBody body = LoginBody::json;
  std::string user_field = "user";
  std::string password_field = "password";
  std::string token = "/token";
  Connections connections = Connections::keep_alive;
  std::optional<Count> pool;
  std::optional<Count> max_in_flight;
  RetryPolicy retry = RetryPolicy::none;
  Count retries = 2;
  Duration retry_pause = std::chrono::milliseconds(200);
  Duration retry_longest_pause = std::chrono::seconds(10);
  std::optional<Share> retry_jitter;
  std::optional<Duration> attempt_timeout;
  bool verify = true;
  std::optional<std::string> ca_file;
};

Rule<std::string> json_pointer() {
  return {[](const std::string& text) { return json_pointer_mistake(text); }, {{"pattern", "^/([^~]|~[01])*$|\\$\\{"}}};
}

const Spec<LoginParams>& login_spec() {
  static const auto spec =
      Spec<LoginParams>()
          .required("url", &LoginParams::url, "where logins are POSTed to; http or https")
          .optional("session_url", &LoginParams::session_url,
                    "asked with \"Authorization: Bearer <token>\" after each login; must answer 200, or the token does not work. Without it, any token counts as working")
          .required("rate", &LoginParams::rate, kRateDoc)
          .optional("arrivals", &LoginParams::arrivals, kArrivalsDoc)
          .optional("timeout", &LoginParams::timeout, "how long a user waits, from the moment the login was due until the token has been used", more_than_zero())
          .optional("users", &LoginParams::users, "how many different users log in: user1 to user<users>", between(1, 1'000'000))
          .optional("user_prefix", &LoginParams::user_prefix, "user 7 is called <user_prefix>7")
          .optional("password_prefix", &LoginParams::password_prefix, "and has the password <password_prefix>7")
          .optional("user", &LoginParams::user, "one user's name, for all logins, instead of the prefixes")
          .optional("password", &LoginParams::password, "that user's password; may be \"${secret:NAME}\"")
          .optional("wrong_password_share", &LoginParams::wrong_password_share, "share of the logins sent with a wrong password, which must be refused (mind account lockout)")
          .optional("unknown_user_share", &LoginParams::unknown_user_share, "share of the logins sent for a user that nobody is, which must be refused")
          .optional("expired_token_share", &LoginParams::expired_token_share, "share of the logins replaced by a use of \"expired_token\", which must be refused")
          .optional("expired_token", &LoginParams::expired_token, "a token that was good once; may be \"${secret:NAME}\"")
          .optional("steps", &LoginParams::steps, "the requests of a login, one after the other, instead of one POST and the session_url: see below")
          .optional("body", &LoginParams::body, "how the credentials are sent")
          .optional("user_field", &LoginParams::user_field, "the name of the user's field in the body")
          .optional("password_field", &LoginParams::password_field, "the name of the password's field in the body")
          .optional("token", &LoginParams::token, "JSON pointer to the token in the answer", json_pointer())
          .optional("connections", &LoginParams::connections, "\"keep-alive\": logins share a pool of open connections; \"new\": each login opens its own, as different people do")
          .optional("pool", &LoginParams::pool,
                    "most connections of the pool; default: enough for all logins under way. A smaller pool protects the service from the load", if_given(between(1, kMostInFlight)))
          .optional("max_in_flight", &LoginParams::max_in_flight,
                    "most logins under way at once; default: rate x timeout and a tenth, so that none waits. Those beyond wait and may end as not_sent", if_given(between(1, kMostInFlight)))
          .optional("retry", &LoginParams::retry,
                    "what a client does when a login fails: gives up, tries again after a fixed pause, or after pauses each twice as long as the one before")
          .optional("retries", &LoginParams::retries, "attempts beyond the first, as long as the timeout allows; 0: the client gives up after its attempt_timeout", between(0, kMostRetries))
          .optional("retry_pause", &LoginParams::retry_pause, "from the answer of the first attempt to the second", more_than_zero())
          .optional("retry_longest_pause", &LoginParams::retry_longest_pause, "no exponential pause is longer", more_than_zero())
          .optional("retry_jitter", &LoginParams::retry_jitter, "how much of each pause is left to chance: it is cut by up to this; default: 0% of fixed, 50% of exponential pauses")
          .optional("attempt_timeout", &LoginParams::attempt_timeout,
                    "how long a client that retries waits for one attempt; default: the whole timeout, so that only failures faster than that are tried again",
                    if_given(more_than_zero()))
          .optional("verify", &LoginParams::verify, "whether an https server must prove who it is")
          .optional("ca_file", &LoginParams::ca_file, "PEM file of the authorities to trust instead of the system's");
  return spec;
}

ControlShares shares_of(const LoginParams& params) { return {params.wrong_password_share, params.unknown_user_share, params.expired_token_share}; }

Retries retries_of(const LoginParams& params, const ProbeContext& context) {
  Retries out;
  out.policy = params.retry;
  out.most = params.retries;
  out.pause = params.retry_pause;
  out.longest_pause = params.retry_longest_pause;
  out.jitter = params.retry_jitter.value_or(Share{params.retry == RetryPolicy::exponential ? 0.5 : 0.0});
  out.attempt_timeout = params.attempt_timeout.value_or(Duration::zero());
  out.key = context.rng.stream("retries").next();
  return out;
}

LoadPlan plan_of(const ProbeContext& context, const LoginParams& params) {
  const std::uint64_t enough = std::min<std::uint64_t>(enough_in_flight(Rate{params.rate.most()}, params.timeout, params.arrivals), kMostInFlight);
  return {Schedule(params.rate, params.user ? 1 : params.users, shares_of(params).all(), context.rng.stream("schedule"), params.arrivals),
          Credentials{params.user_prefix, params.password_prefix, params.user, params.password}, params.timeout, params.max_in_flight.value_or(enough),
          retries_of(params, context)};
}

HttpLoginOptions options_of(const LoginParams& params, std::uint64_t max_in_flight) {
  HttpLoginOptions out;
  out.url = params.url;
  out.session_url = params.session_url;
  out.body = params.body;
  out.user_field = params.user_field;
  out.password_field = params.password_field;
  out.token_pointer = params.token;
  out.pool.keep_alive = params.connections == Connections::keep_alive;
  out.pool.max_connections = params.pool.value_or(max_in_flight);
  out.pool.warm = static_cast<std::size_t>(std::ceil(params.rate.most() * seconds(kWarmFor)));
  out.pool.connect_timeout = params.timeout;
  out.tls.verify = params.verify;
  out.tls.ca_file = params.ca_file.value_or("");
  return out;
}

// A POST, and the session where there is one: what HttpLoginTransport does, as a flow.
std::vector<FlowStep> steps_of(const LoginParams& params) {
  if (params.steps) return params.steps->steps;
  FlowStep login;
  login.method = "POST";
  if (params.body == LoginBody::json) {
    login.json = Json::object();
    (*login.json)[params.user_field] = "{user}";
    (*login.json)[params.password_field] = "{password}";
  } else {
    login.form = {{params.user_field, "{user}"}, {params.password_field, "{password}"}};
  }
  login.capture["token"] = {Capture::From::json, params.token};
  FlowStep session;
  session.url = params.session_url ? show(*params.session_url) : "";
  session.headers = {{"Authorization", "Bearer {token}"}};
  session.status = {200};
  return params.session_url ? std::vector<FlowStep>{login, session} : std::vector<FlowStep>{login};
}

Flow flow_of(const LoginParams& params) {
  Flow out;
  out.base = params.url;
  out.steps = steps_of(params);
  out.expired_token = params.expired_token.value_or("");
  return out;
}

// Such a login begins at the use of its token, and has nothing of what the steps before would have given.
void check_expired_token(const ProbeContext& context, Flow flow) {
  flow.steps.erase(flow.steps.begin(), flow.steps.begin() + static_cast<std::ptrdiff_t>(*first_use_of_token(flow)));
  flow.given["token"] = "";
  const auto name = unknown_name(flow);
  if (!name) return;
  throw Error(ErrorKind::refused, "the probe " + context.name + " uses an expired token in a request that also needs {" + *name + "}, which only a login gives",
              "leave it out of the steps that use {token}, or leave the expired token out");
}

void check_steps(const ProbeContext& context, const LoginParams& params) {
  for (const char* other : {"session_url", "body", "user_field", "password_field", "token"}) {
    if (params.steps && context.params.contains(other)) {
      throw Error(ErrorKind::refused, "the probe " + context.name + " has \"steps\" and \"" + other + "\", which they replace", "leave one of them out");
    }
  }
  if ((params.expired_token_share.value > 0) != params.expired_token.has_value()) {
    throw Error(ErrorKind::refused, "the probe " + context.name + " has an expired token or a share of its uses, not both", "give both \"expired_token\" and \"expired_token_share\", or neither");
  }
  if (params.expired_token && !first_use_of_token(flow_of(params))) {
    throw Error(ErrorKind::refused, "the probe " + context.name + " has an expired token, but no request that uses a token",
                params.steps ? "add a step that has {token} in it, after the one that sends the password" : "add the \"session_url\"");
  }
  if (params.expired_token) check_expired_token(context, flow_of(params));
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const LoginParams params = login_spec().parse_or_throw(context.params);
  const ControlShares shares = shares_of(params);
  check_credentials(context, params.user, params.password);
  check_controls(context, shares);
  check_steps(context, params);
  if (params.attempt_timeout && params.retry == RetryPolicy::none) {
    throw Error(ErrorKind::refused, "the probe " + context.name + " has an attempt_timeout, and clients that never try again",
                "give \"retry\": \"fixed\" or \"exponential\", or shorten \"timeout\"");
  }
  if (params.steps || params.expired_token) check_names(context, flow_of(params), params.user.value_or(params.user_prefix));
  const LoadPlan plan = plan_of(context, params);
  const HttpLoginOptions options = options_of(params, plan.max_in_flight);
  if (!params.steps && !params.expired_token) {
    return make_load_probe(std::move(context), plan, [options, shares](Clock& clock) { return with_controls(make_http_login_transport(clock, options), shares); });
  }
  Flow flow = flow_of(params);
  flow.seed = context.rng.stream("flow").next();
  return make_load_probe(std::move(context), plan, [flow, options, shares](Clock& clock) {
    return with_controls(make_flow_transport(clock, flow, make_pooled_wire(clock, origins_of(flow), options.pool, options.tls)), shares);
  });
}

}  // namespace

const ProbeType& login_http() {
  static const ProbeType type = {
      .name = "login.http",
      .doc = "Logs people in over HTTP at a given rate, whatever becomes of them, and uses each token once",
      .target_type = "",
      .spec = []() -> const AnySpec& { return login_spec(); },
      .example = {{"probe", "login.http"}, {"url", "https://staging.example/login"}, {"session_url", "https://staging.example/session"}, {"rate", "120/s"}, {"users", 500},
                  {"wrong_password_share", "5%"}, {"timeout", "1s"}},
      .measures = load_measures,
      .make = make,
      .measure = measure_load,
      .sends_controls = has_control_share,
  };
  return type;
}

}  // namespace capsize
