// The probe login.basic: HTTP Basic authentication, as nginx's auth_basic asks for it. The page behind it is the proof.
#include "probes/login/flow.h"
#include "probes/login/login_basic.h"
#include "probes/login/login_params.h"
#include "probes/probes.h"

namespace capsize {
namespace {

struct BasicParams : LoginHttpParams {
  Url url;
  std::optional<std::string> contains;
};

const Spec<BasicParams>& basic_spec() {
  static const auto spec = [] {
    Spec<BasicParams> out;
    out.required("url", &BasicParams::url, "a page that is shown to those who may log in only; http or https");
    add_load_params(out);
    out.optional("contains", &BasicParams::contains, "text that must be on the page, as \"Welcome, {user}\"; without it any 2xx is a success");
    add_connection_params(out);
    return out;
  }();
  return spec;
}

Flow flow_of(const BasicParams& params) {
  FlowStep page;
  page.url = show(params.url);
  page.headers = {{"Authorization", "Basic {basic}"}};
  page.contains = params.contains;
  Flow out;
  out.base = params.url;
  out.steps = {page};
  return out;
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const BasicParams params = basic_spec().parse_or_throw(context.params);
  const Flow flow = flow_of(params);
  Contradictions found;
  check_login(params, shares_of(params), found);
  check_tls(params, found);
  check_names(flow, params, found);
  found.throw_if_any(context);
  const LoadPlan plan = load_plan_of(context, params, shares_of(params));
  return make_flow_probe(std::move(context), plan, flow, params);
}

}  // namespace

Flow basic_flow(const Json& params) { return flow_of(basic_spec().parse_or_throw(params)); }

const ProbeType& login_basic() {
  static const ProbeType type = {
      .name = "login.basic",
      .doc = "Logs people in with HTTP Basic authentication at a given rate, and sees whether the page behind it is shown",
      .target_type = "",
      .spec = []() -> const AnySpec& { return basic_spec(); },
      .example = {{"probe", "login.basic"}, {"url", "https://staging.example/private/"}, {"rate", "50/s"}, {"wrong_password_share", "5%"}, {"unknown_user_share", "1%"}},
      .measures = load_measures,
      .make = make,
      .measure = measure_load,
      .sends_controls = has_control_share,
  };
  return type;
}

}  // namespace capsize
