// The probe prometheus.query: the value of any PromQL expression, now and then.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "probes/alert/poll_probe.h"
#include "probes/login/http_transport.h"
#include "probes/probes.h"

namespace capsize {
namespace {

using Windows = std::vector<const Window*>;

struct QueryParams : PollParams {
  Url prometheus;
  std::string query;
};

Rule<std::string> an_expression() {
  return {[](const std::string& text) -> std::optional<Mistake> {
            if (text.find_first_not_of(" \t\n") == std::string::npos) return Mistake{"an empty expression", "write PromQL, as \"sum(haproxy_server_current_queue)\""};
            return std::nullopt;
          },
          {{"minLength", 1}}};
}

const Spec<QueryParams>& query_spec() {
  static const auto spec = [] {
    Spec<QueryParams> out;
    out.required("prometheus", &QueryParams::prometheus, "the server, as \"http://prometheus.staging:9090\"; a path before /api/v1 belongs to it")
        .required("query", &QueryParams::query, "a PromQL expression whose value is one number", an_expression());
    add_poll_params(out);
    return out;
  }();
  return spec;
}

Json gap(const std::string& why) { return {{"gap", why}}; }

// A sample is [time, "value"].
Json value_of(const Json& sample) {
  const std::string text = sample.at(1).get<std::string>();
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || !std::isfinite(value)) return gap("the value of the expression is " + text + ", which no bound can judge");
  return {{"value", value}};
}

Json read_answer(const Json& answer) {
  const Json& data = answer.at("data");
  const std::string type = data.at("resultType").get<std::string>();
  const Json& result = data.at("result");
  if (type == "scalar") return value_of(result);
  if (type != "vector") return gap("the expression is a " + type + "; write one whose value is one number");
  if (result.empty()) return gap("the expression has no value: nothing matches it (add \"or vector(0)\" where that means zero)");
  if (result.size() > 1) return gap(fmt::format("the expression has {} values; make one of them, as with sum(...)", result.size()));
  return value_of(result.at(0).at("value"));
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const QueryParams params = query_spec().parse_or_throw(context.params);
  PollPlan plan{document_options(params, params.prometheus), "Prometheus", params.every, "/api/v1/query?query=" + form_encoded(params.query), read_answer};
  return make_poll_probe(std::move(context), std::move(plan));
}

// Nothing where any look of the span had no answer: the value then may have been anything.
std::optional<Measured> measure(std::string_view name, const Windows& windows) {
  std::vector<double> values;
  for (const Window* window : windows) {
    const auto found = window->find("value");
    if (found == window->end() || !found->is_number()) return std::nullopt;
    values.push_back(found->get<double>());
  }
  if (values.empty()) return std::nullopt;
  Measured out;
  out.samples = values.size();
  if (name == "max") {
    out.value = *std::max_element(values.begin(), values.end());
  } else if (name == "min") {
    out.value = *std::min_element(values.begin(), values.end());
  } else if (name == "last") {
    out.value = values.back();
  } else if (name == "mean") {
    for (const double value : values) out.value += value / static_cast<double>(values.size());
  } else {
    return std::nullopt;
  }
  out.low = out.high = out.value;
  return out;
}

const std::vector<MeasureInfo>& measures() {
  static const std::vector<MeasureInfo> infos = {
      {"max", MeasureKind::number, "the largest value at any look"},
      {"min", MeasureKind::number, "the smallest value at any look"},
      {"mean", MeasureKind::number, "the mean of the values at the looks"},
      {"last", MeasureKind::number, "the value at the last look"},
  };
  return infos;
}

}  // namespace

const ProbeType& prometheus_query() {
  static const ProbeType type = {
      .name = "prometheus.query",
      .doc = "Asks Prometheus for the value of an expression now and then",
      .target_type = "",
      .spec = []() -> const AnySpec& { return query_spec(); },
      .example = {{"probe", "prometheus.query"}, {"prometheus", "http://prometheus.staging:9090"}, {"query", "sum(haproxy_server_current_queue{proxy=\"auth\"})"}},
      .measures = measures,
      .make = make,
      .measure = measure,
      .why_unknown = [](std::string_view, const Windows& windows) { return gaps_in_words(windows); },
  };
  return type;
}

}  // namespace capsize
