// The probe alert.fired: whether an alert fires, asked of Prometheus, which has its rule, or of the Alertmanager, which tells people.
#include "probes/alert/alert_state.h"
#include "probes/login/http_transport.h"
#include "probes/probes.h"

namespace capsize {
namespace {

using Windows = std::vector<const Window*>;

struct AlertParams : PollParams {
  std::optional<Url> prometheus;
  std::optional<Url> alertmanager;
  std::string alert;
  std::map<Name, std::string> labels;
};

Rule<std::string> alert_name() {
  return {[](const std::string& text) -> std::optional<Mistake> {
            if (text.find_first_not_of(' ') != std::string::npos) return std::nullopt;
            return Mistake{"an empty name", "write the alert's name, as its rule has it"};
          },
          {{"minLength", 1}}};
}

const Spec<AlertParams>& alert_spec() {
  static const auto spec = [] {
    Spec<AlertParams> out;
    out.optional("prometheus", &AlertParams::prometheus, "the Prometheus that evaluates the alert's rule, as \"http://prometheus.staging:9090\"")
        .optional("alertmanager", &AlertParams::alertmanager, "or the Alertmanager that it reaches, as \"http://alertmanager.staging:9093\"")
        .required("alert", &AlertParams::alert, "the alert's name (its label alertname)", alert_name())
        .optional("labels", &AlertParams::labels, "labels that it must have too, as {\"severity\": \"page\"}");
    add_poll_params(out);
    out.exactly_one_of({"prometheus", "alertmanager"});
    return out;
  }();
  return spec;
}

// alertname="…", with what a matcher escapes.
std::string matcher(const std::string& alert) {
  std::string out = "alertname=\"";
  for (const char c : alert) {
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const AlertParams params = alert_spec().parse_or_throw(context.params);
  AlertLabels labels;
  for (const auto& [name, value] : params.labels) labels.emplace(name.text, value);
  PollPlan plan;
  plan.every = params.every;
  if (params.prometheus) {
    plan.server = document_options(params, *params.prometheus);
    plan.named = "Prometheus";
    plan.target = "/api/v1/rules?type=alert&rule_name%5B%5D=" + form_encoded(params.alert);  // one before 2.47 sends all of them
    plan.read = [alert = params.alert, labels](const Json& answer) { return read_rules(answer, alert, labels); };
  } else {
    plan.server = document_options(params, *params.alertmanager);
    plan.named = "Alertmanager";
    plan.target = "/api/v2/alerts?filter=" + form_encoded(matcher(params.alert));
    plan.read = [alert = params.alert, labels](const Json& answer) { return read_alerts(answer, alert, labels); };
  }
  return make_poll_probe(std::move(context), std::move(plan));
}

// 1 when any look saw it, silenced or not; 0 only where every look proves that it was silent.
std::optional<Measured> measure(std::string_view name, const Windows& windows) {
  if (name != "firing") return std::nullopt;
  bool silent = !windows.empty();
  Measured out;
  out.samples = windows.size();
  for (const Window* window : windows) {
    const AlertState state = alert_state(*window);
    if (is_there(state)) out.value = out.low = out.high = 1;
    silent = silent && is_silent(state);
  }
  if (out.value == 0 && !silent) return std::nullopt;
  return out;
}

std::string why_unknown(std::string_view, const Windows& windows) {
  for (const Window* window : windows) {
    const AlertState state = alert_state(*window);
    if (state == AlertState::no_rule || state == AlertState::broken) return window->value("because", "") + ", so that it does not fire says nothing";
  }
  return gaps_in_words(windows);
}

const std::vector<MeasureInfo>& measures() {
  static const std::vector<MeasureInfo> infos = {
      {"time_to_detect", MeasureKind::duration, "from the fault until the alert was seen firing; it has to have been silent in the baseline", MeasureOf::since_fault},
      {"time_to_clear", MeasureKind::duration, "from the verified undo until the alert was seen gone, and stayed so", MeasureOf::since_undo},
      {"firing", MeasureKind::number, "1 when it fired at any look, 0 when every look proves that it was silent"},
  };
  return infos;
}

}  // namespace

const ProbeType& alert_fired() {
  static const ProbeType type = {
      .name = "alert.fired",
      .doc = "Asks Prometheus or an Alertmanager now and then whether an alert fires",
      .target_type = "",
      .spec = []() -> const AnySpec& { return alert_spec(); },
      .example = {{"probe", "alert.fired"}, {"prometheus", "http://prometheus.staging:9090"}, {"alert", "LoginsOnOneServer"}},
      .measures = measures,
      .make = make,
      .measure = measure,
      .why_unknown = why_unknown,
  };
  return type;
}

}  // namespace capsize
