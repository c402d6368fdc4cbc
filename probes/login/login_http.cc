// The probe login.http: people logging in over HTTP, at a given rate whatever becomes of them.
#include <algorithm>

#include "probes/load/load_probe.h"
#include "probes/login/flow_steps.h"
#include "probes/login/http_transport.h"
#include "probes/login/login_params.h"
#include "probes/probes.h"

namespace capsize {
namespace {

constexpr Count kMostRetries = 100;

struct LoginParams : LoginHttpParams {
  Url url;
  std::optional<Url> session_url;
  std::optional<FlowSteps> steps;
  LoginBody body = LoginBody::json;
  std::string user_field = "user";
  std::string password_field = "password";
  std::string token = "/token";
  RetryPolicy retry = RetryPolicy::none;
  Count retries = 2;
  Duration retry_pause = std::chrono::milliseconds(200);
  Duration retry_longest_pause = std::chrono::seconds(10);
  std::optional<Share> retry_jitter;
  std::optional<Duration> attempt_timeout;
};

Rule<std::string> json_pointer() {
  return {[](const std::string& text) { return json_pointer_mistake(text); }, {{"pattern", "^/([^~]|~[01])*$|\\$\\{"}}};
}

const Spec<LoginParams>& login_spec() {
  static const auto spec = [] {
    Spec<LoginParams> out;
    out.required("url", &LoginParams::url, "where logins are POSTed to; http or https")
        .optional("session_url", &LoginParams::session_url,
                  "asked with \"Authorization: Bearer <token>\" after each login; must answer 200, or the token does not work. Without it, any token counts as working");
    add_load_params(out);
    add_expired_token_params(out);
    out.optional("steps", &LoginParams::steps, "the requests of a login, one after the other, instead of one POST and the session_url: see below")
        .optional("body", &LoginParams::body, "how the credentials are sent")
        .optional("user_field", &LoginParams::user_field, "the name of the user's field in the body")
        .optional("password_field", &LoginParams::password_field, "the name of the password's field in the body")
        .optional("token", &LoginParams::token, "JSON pointer to the token in the answer", json_pointer());
    add_connection_params(out);
    out.optional("retry", &LoginParams::retry, "what a client does when a login fails: gives up, tries again after a fixed pause, or after pauses each twice as long as the one before")
        .optional("retries", &LoginParams::retries, "attempts beyond the first, as long as the timeout allows; 0: the client gives up after its attempt_timeout", between(0, kMostRetries))
        .optional("retry_pause", &LoginParams::retry_pause, "from the answer of the first attempt to the second", more_than_zero())
        .optional("retry_longest_pause", &LoginParams::retry_longest_pause, "no exponential pause is longer", more_than_zero())
        .optional("retry_jitter", &LoginParams::retry_jitter, "how much of each pause is left to chance: it is cut by up to this; default: 0% of fixed, 50% of exponential pauses")
        .optional("attempt_timeout", &LoginParams::attempt_timeout,
                  "how long a client that retries waits for one attempt; default: the whole timeout, so that only failures faster than that are tried again", if_given(more_than_zero()));
    return out;
  }();
  return spec;
}

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

HttpLoginOptions options_of(const LoginParams& params, const LoadPlan& plan) {
  HttpLoginOptions out;
  out.url = params.url;
  out.session_url = params.session_url;
  out.body = params.body;
  out.user_field = params.user_field;
  out.password_field = params.password_field;
  out.token_pointer = params.token;
  out.pool = pool_of(params, plan);
  out.tls = tls_of(params);
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

// A login with an expired token begins at the use of it, and has nothing of what the steps before would have given.
void check_expired_token(const LoginParams& params, Contradictions& found) {
  check_expired_token_share(params, found);
  if (!params.expired_token) return;
  Flow flow = flow_of(params);
  const auto use = first_use_of_token(flow);
  if (!use) {
    found.add("has an expired token, but no request that uses a token", params.steps ? "add a step that has {token} in it, after the one that sends the password" : "add the \"session_url\"");
    return;
  }
  const auto names_owner = [](FlowStep step) {
    step.check.clear();  // there it means whoever it is
    step.denied.reset();  // there it lets nobody in
    return names_in(step).contains("user");
  };
  if (!params.user && std::any_of(flow.steps.begin() + static_cast<std::ptrdiff_t>(*use), flow.steps.end(), names_owner)) {
    found.add("uses an expired token in a step that names {user}, who need not be the token's owner",
              "let the owner log in as the only \"user\", or leave {user} out of these steps but for \"check\"");
  }
  const bool is_said = unknown_name(flow).has_value();  // by check_names
  flow.steps.erase(flow.steps.begin(), flow.steps.begin() + static_cast<std::ptrdiff_t>(*use));
  flow.given["token"] = "";
  const auto name = unknown_name(flow);
  if (!name || is_said) return;
  found.add("uses an expired token in a request that also needs {" + *name + "}, which only a login gives", "leave it out of the steps that use {token}, or leave the expired token out");
}

Contradictions contradictions_in(const ProbeContext& context, const LoginParams& params) {
  Contradictions out;
  check_login(params, shares_of(params), out);
  check_tls(params, out);
  std::string replaced;
  for (const char* other : {"session_url", "body", "user_field", "password_field", "token"}) {
    if (params.steps && context.params.contains(other)) replaced += (replaced.empty() ? "\"" : ", \"") + std::string(other) + "\"";
  }
  if (!replaced.empty()) out.add("has \"steps\" and " + replaced + ", which they replace", "leave the steps out, or what they replace");
  check_expired_token(params, out);
  if (params.attempt_timeout && params.retry == RetryPolicy::none) {
    out.add("has an attempt_timeout, and clients that never try again", "give \"retry\": \"fixed\" or \"exponential\", or shorten \"timeout\"");
  }
  if (params.steps || params.expired_token) check_names(flow_of(params), params, out);
  return out;
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const LoginParams params = login_spec().parse_or_throw(context.params);
  contradictions_in(context, params).throw_if_any(context);
  const ControlShares shares = shares_of(params);
  LoadPlan plan = load_plan_of(context, params, shares);
  plan.retries = retries_of(params, context);
  if (params.steps || params.expired_token) return make_flow_probe(std::move(context), plan, flow_of(params), params);
  const HttpLoginOptions options = options_of(params, plan);
  return make_load_probe(std::move(context), plan, [options, shares](Clock& clock, std::uint64_t) { return with_controls(make_http_login_transport(clock, options), shares); });
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
