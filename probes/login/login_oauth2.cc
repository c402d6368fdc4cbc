// The probe login.oauth2: tokens from an OAuth 2.0 token endpoint, refreshed where that is asked for, and used: by introspection or userinfo.
#include <fmt/format.h>

#include "probes/login/flow.h"
#include "probes/login/flow_steps.h"
#include "probes/login/http_transport.h"
#include "probes/login/login_oauth2.h"
#include "probes/login/login_params.h"
#include "probes/probes.h"

namespace capsize {
namespace {

enum class OAuth2Grant { password, client_credentials };
enum class ClientAuth { basic, post, none };

}  // namespace

template <>
struct EnumWords<OAuth2Grant> {
  static constexpr std::array<std::pair<OAuth2Grant, std::string_view>, 2> words = {
      {{OAuth2Grant::password, "password"}, {OAuth2Grant::client_credentials, "client_credentials"}}};
};
template <>
struct EnumWords<ClientAuth> {
  static constexpr std::array<std::pair<ClientAuth, std::string_view>, 3> words = {{{ClientAuth::basic, "basic"}, {ClientAuth::post, "post"}, {ClientAuth::none, "none"}}};
};

namespace {

struct OAuth2Params : LoginHttpParams {
  Url token_url;
  std::optional<Url> userinfo_url;
  std::optional<Url> introspection_url;
  OAuth2Grant grant = OAuth2Grant::password;
  bool refresh = false;
  std::optional<std::string> client_id;
  std::optional<std::string> client_secret;
  ClientAuth client_auth = ClientAuth::basic;
  std::optional<std::string> scope;
  std::optional<Texts> parameters;
  std::optional<std::string> subject;
};

const Spec<OAuth2Params>& oauth2_spec() {
  static const auto spec = [] {
    Spec<OAuth2Params> out;
    out.required("token_url", &OAuth2Params::token_url, "the token endpoint; http or https")
        .optional("userinfo_url", &OAuth2Params::userinfo_url, "asked with the token (\"Authorization: Bearer\"); must answer 2xx, or the token does not work")
        .optional("introspection_url", &OAuth2Params::introspection_url, "asked about the token (RFC 7662), as the client \"client_id\"; must say that it is active, or the token does not work")
        .exactly_one_of({"userinfo_url", "introspection_url"})
        .optional("grant", &OAuth2Params::grant, "\"password\": users log in through the client \"client_id\"; \"client_credentials\": the \"users\" are clients, each with its secret as password")
        .optional("refresh", &OAuth2Params::refresh, "whether each token is refreshed once, and the new one used")
        .optional("client_id", &OAuth2Params::client_id, "the client that users log in through, and that introspects")
        .optional("client_secret", &OAuth2Params::client_secret, "its secret; may be \"${secret:NAME}\"")
        .optional("client_auth", &OAuth2Params::client_auth, "how a client proves who it is: in the header (\"basic\"), in the form (\"post\"), or not at all")
        .optional("scope", &OAuth2Params::scope, "the scope to ask for, as \"openid profile\"")
        .optional("parameters", &OAuth2Params::parameters, "more for the token request, as {\"audience\": \"api\"}")
        .optional("subject", &OAuth2Params::subject, "what \"sub\" in the answer of userinfo or introspection must be, as \"{user}\": a token of somebody else is no login");
    add_load_params(out);
    add_expired_token_params(out);
    add_connection_params(out);
    return out;
  }();
  return spec;
}

void add_client(FlowStep& step, const OAuth2Params& params, bool user_is_client) {
  if (!user_is_client && !params.client_id) return;
  if (params.client_auth == ClientAuth::basic) {
    step.headers.emplace_back("Authorization", user_is_client ? "Basic {client}" : "Basic {the_client}");
    return;
  }
  step.form.emplace_back("client_id", user_is_client ? "{user}" : "{client_id}");
  if (params.client_auth == ClientAuth::post) step.form.emplace_back("client_secret", user_is_client ? "{password}" : "{client_secret}");
}

FlowStep token_step(const OAuth2Params& params) {
  FlowStep out;
  out.method = "POST";
  out.url = show(params.token_url);
  out.form = {{"grant_type", ParamTraits<OAuth2Grant>::show(params.grant).get<std::string>()}};
  if (params.grant == OAuth2Grant::password) {
    out.form.emplace_back("username", "{user}");
    out.form.emplace_back("password", "{password}");
  }
  if (params.scope) out.form.emplace_back("scope", *params.scope);
  if (params.parameters) out.form.insert(out.form.end(), params.parameters->entries.begin(), params.parameters->entries.end());
  add_client(out, params, params.grant == OAuth2Grant::client_credentials);
  out.capture["token"] = {Capture::From::json, "/access_token"};
  if (params.refresh) out.capture["refresh_token"] = {Capture::From::json, "/refresh_token"};
  return out;
}

FlowStep refresh_step(const OAuth2Params& params) {
  FlowStep out;
  out.method = "POST";
  out.url = show(params.token_url);
  out.form = {{"grant_type", "refresh_token"}, {"refresh_token", "{refresh_token}"}};
  add_client(out, params, params.grant == OAuth2Grant::client_credentials);
  out.capture["token"] = {Capture::From::json, "/access_token"};
  return out;
}

FlowStep use_step(const OAuth2Params& params) {
  FlowStep out;
  if (params.userinfo_url) {
    out.url = show(*params.userinfo_url);
    out.headers = {{"Authorization", "Bearer {token}"}};
  } else {
    out.method = "POST";
    out.url = show(*params.introspection_url);
    out.form = {{"token", "{token}"}};
    add_client(out, params, false);
    out.check.push_back({{Capture::From::json, "/active"}, true});
    out.verdict_at = "/active";  // a status of 4xx or 5xx is about the client that asks, or about nothing (RFC 7662, 2.3)
  }
  if (params.subject) out.check.push_back({{Capture::From::json, "/sub"}, *params.subject});
  out.proves_token = true;
  return out;
}

void check_client(const OAuth2Params& params, Contradictions& found) {
  if (params.introspection_url && !params.client_id) {
    found.add("introspects tokens, and no client may", "add \"client_id\" and \"client_secret\" of one that may, or use \"userinfo_url\"");
  }
  if (params.client_auth != ClientAuth::none && params.client_id.has_value() != params.client_secret.has_value()) {
    found.add("has a client or its secret, not both", "give both \"client_id\" and \"client_secret\", or \"client_auth\": \"none\"");
  }
  if (params.client_auth == ClientAuth::none && params.grant == OAuth2Grant::client_credentials) {
    found.add("logs clients in without a secret", "let \"client_auth\" be \"basic\" or \"post\"");
  }
}

Flow flow_of(const OAuth2Params& params) {
  Flow out;
  out.base = params.token_url;
  out.steps.push_back(token_step(params));
  if (params.refresh) out.steps.push_back(refresh_step(params));
  out.steps.push_back(use_step(params));
  out.expired_token = params.expired_token.value_or("");
  out.given = {{"client_id", params.client_id.value_or("")}, {"client_secret", params.client_secret.value_or("")}};
  out.given["the_client"] = base64(form_encoded(out.given["client_id"]) + ":" + form_encoded(out.given["client_secret"]));
  return out;
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const OAuth2Params params = oauth2_spec().parse_or_throw(context.params);
  const Flow flow = flow_of(params);
  Contradictions found;
  check_login(params, shares_of(params), found);
  check_tls(params, found);
  check_expired_token_share(params, found);
  check_client(params, found);
  check_names(flow, params, found);
  found.throw_if_any(context);
  const LoadPlan plan = load_plan_of(context, params, shares_of(params));
  return make_flow_probe(std::move(context), plan, flow, params);
}

}  // namespace

Flow oauth2_flow(const Json& params) { return flow_of(oauth2_spec().parse_or_throw(params)); }

const ProbeType& login_oauth2() {
  static const ProbeType type = {
      .name = "login.oauth2",
      .doc = "Gets OAuth 2.0 tokens at a given rate, whatever becomes of them, and uses each once",
      .target_type = "",
      .spec = []() -> const AnySpec& { return oauth2_spec(); },
      .example = {{"probe", "login.oauth2"}, {"token_url", "https://id.staging.example/token"}, {"userinfo_url", "https://id.staging.example/userinfo"}, {"client_id", "web"},
                  {"client_secret", "${secret:WEB_CLIENT}"}, {"scope", "openid"}, {"rate", "50/s"}, {"wrong_password_share", "5%"}},
      .measures = load_measures,
      .make = make,
      .measure = measure_load,
      .sends_controls = has_control_share,
  };
  return type;
}

}  // namespace capsize
