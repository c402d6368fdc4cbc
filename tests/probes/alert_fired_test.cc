#include "probes/alert/alert_state.h"

#include "tests/probes/scripted_documents.h"

using namespace capsize;
using namespace capsize::test;
using namespace std::chrono_literals;

namespace {

Json rule(const std::string& name, std::vector<Json> alerts, const std::string& health = "ok") {
  Json out = {{"type", "alerting"}, {"name", name}, {"state", "inactive"}, {"health", health}, {"labels", Json::object()}, {"alerts", alerts}};
  if (health == "err") out["lastError"] = "found duplicate series";
  return out;
}
Json instance(const std::string& state, Json labels = {{"severity", "page"}}) { return {{"labels", std::move(labels)}, {"state", state}, {"activeAt", "2026-11-23T15:22:47.6Z"}, {"value", "1e+00"}}; }
Json rules(std::vector<Json> all) { return {{"status", "success"}, {"data", {{"groups", Json::array({{{"name", "g"}, {"rules", all}}})}}}}; }

Json alert(const std::string& name, const std::string& state, Json labels = Json::object()) {
  labels["alertname"] = name;
  Json status = {{"state", state}, {"silencedBy", Json::array()}, {"inhibitedBy", Json::array()}};
  return {{"labels", std::move(labels)}, {"status", std::move(status)}};
}

const AlertLabels kAny;

}  // namespace

TEST_CASE("what Prometheus says of a rule: firing, pending, silent, not there, not evaluated, broken", "[alert]") {
  const auto state = [](const Json& answer) { return read_rules(answer, "Skew", kAny); };
  const Json recording = {{"type", "recording"}, {"name", "Skew"}, {"health", "ok"}};
  CHECK(state(rules({rule("Other", {instance("firing")}), rule("Skew", {})})) == Json({{"state", "silent"}}));
  CHECK(state(rules({rule("Skew", {instance("pending")})})) == Json({{"state", "pending"}}));
  CHECK(state(rules({rule("Skew", {instance("pending"), instance("firing")})})) == Json({{"state", "firing"}}));
  CHECK(state(rules({rule("Skew", {}), rule("Skew", {instance("firing")})})) == Json({{"state", "firing"}}));
  const Json none = {{"state", "no_rule"}, {"because", "there is no alert rule of this name"}};
  CHECK(state(rules({rule("Other", {instance("firing")})})) == none);
  CHECK(state(rules({recording})) == none);
  CHECK(state({{"data", {{"groups", Json::array()}}}}) == none);
  CHECK(state(rules({rule("Skew", {}, "unknown")})) == Json({{"gap", "the rule of the alert has not been evaluated yet"}}));
  CHECK(state(rules({rule("Skew", {instance("firing")}, "err")})) == Json({{"state", "broken"}, {"because", "its rule cannot be evaluated: found duplicate series"}}));
}

TEST_CASE("of two rules of one name a healthy one that fires is heard, whatever ails the other", "[alert]") {
  const auto state = [](const Json& answer) { return read_rules(answer, "Skew", kAny).at("state"); };
  CHECK(state(rules({rule("Skew", {}, "err"), rule("Skew", {instance("firing")})})) == "firing");
  CHECK(state(rules({rule("Skew", {instance("firing")}), rule("Skew", {}, "err")})) == "firing");
  CHECK(state(rules({rule("Skew", {instance("firing")}, "err"), rule("Skew", {})})) == "broken");
  CHECK(state(rules({rule("Skew", {instance("pending")}), rule("Skew", {}, "err")})) == "broken");
}

TEST_CASE("what an Alertmanager says: active fires, silenced reaches nobody, unprocessed is pending, an empty list is silent", "[alert]") {
  const auto state = [](Json answer) { return read_alerts(answer, "Skew", kAny); };
  CHECK(state(Json::array()) == Json({{"state", "silent"}}));
  CHECK(state(Json::array({alert("Other", "active")})) == Json({{"state", "silent"}}));
  CHECK(state(Json::array({alert("Skew", "unprocessed")})) == Json({{"state", "pending"}}));
  Json silenced = alert("Skew", "suppressed");
  silenced["status"]["silencedBy"] = {"7f3a"};
  CHECK(state(Json::array({silenced})) == Json({{"state", "suppressed"}, {"because", "silenced by 7f3a"}}));
  Json inhibited = alert("Skew", "suppressed");
  inhibited["status"]["inhibitedBy"] = {"9c"};
  CHECK(state(Json::array({inhibited})) == Json({{"state", "suppressed"}, {"because", "inhibited by another alert"}}));
  CHECK(state(Json::array({silenced, alert("Skew", "active")})) == Json({{"state", "firing"}}));
  CHECK(state(Json::object()).contains("gap"));
}

TEST_CASE("an alert must have the labels asked for, and may have more", "[alert]") {
  const Json two = rules({rule("Skew", {instance("firing", {{"severity", "ticket"}}), instance("pending", {{"severity", "page"}, {"team", "auth"}})})});
  CHECK(read_rules(two, "Skew", {{"severity", "page"}}) == Json({{"state", "pending"}}));
  CHECK(read_rules(two, "Skew", {{"severity", "ticket"}}) == Json({{"state", "firing"}}));
  CHECK(read_rules(two, "Skew", {{"severity", "page"}, {"team", "mail"}}) == Json({{"state", "silent"}}));
  CHECK(read_alerts(Json::array({alert("Skew", "active", {{"severity", "page"}})}), "Skew", {{"severity", "ticket"}}) == Json({{"state", "silent"}}));
}

TEST_CASE("the probe asks Prometheus for its rules, or an Alertmanager for its alerts", "[alert]") {
  const auto silent = [](double) { return answered(rules({rule("Sk\"ew", {})})); };
  const Watched of_rules = watch("alert.fired", {{"prometheus", "http://p:9090"}, {"alert", "Sk\"ew"}}, 500ms, silent);
  REQUIRE(of_rules.asked == std::vector<std::string>{"/api/v1/rules?type=alert&rule_name%5B%5D=Sk%22ew"});
  CHECK(of_rules.windows[0] == Json({{"from", 0.0}, {"to", 0.0}, {"state", "silent"}}));
  const Watched of_alerts = watch("alert.fired", {{"alertmanager", "http://a:9093"}, {"alert", "Sk\"ew"}, {"labels", {{"severity", "page"}}}}, 500ms,
                                  [](double) { return answered(Json::array({alert("Sk\"ew", "active", {{"severity", "page"}})})); });
  REQUIRE(of_alerts.asked == std::vector<std::string>{"/api/v2/alerts?filter=alertname%3D%22Sk%5C%22ew%22"});
  CHECK(of_alerts.windows[0].at("state") == "firing");
}

TEST_CASE("an alert is silent over a span only when every look proves it", "[alert]") {
  const auto firing = [](std::vector<Json> windows) -> std::optional<double> {
    std::vector<const Window*> all;
    for (const Json& window : windows) all.push_back(&window);
    const auto measured = find_probe("alert.fired")->measure("firing", all);
    return measured ? std::optional(measured->value) : std::nullopt;
  };
  const auto is = [](const char* state) { return Json{{"state", state}, {"because", "its reason"}}; };
  const Json gap = {{"gap", "Prometheus at http://p:9090/: no answer within 1s"}};
  CHECK(firing({is("silent"), is("pending")}) == 0);
  CHECK(firing({is("silent"), is("firing"), gap}) == 1);
  CHECK(firing({is("suppressed")}) == 1);
  CHECK(firing({is("silent"), gap}) == std::nullopt);
  CHECK(firing({is("silent"), is("no_rule")}) == std::nullopt);
  CHECK(firing({is("broken")}) == std::nullopt);
  CHECK(firing({}) == std::nullopt);
  const Json none = is("no_rule");
  CHECK(find_probe("alert.fired")->why_unknown("firing", {&none}) == "its reason, so that it does not fire says nothing");
  CHECK(find_probe("alert.fired")->why_unknown("firing", {&gap}).find("no answer within 1s") != std::string::npos);
}

TEST_CASE("an alert is asked of one server, by a name", "[alert]") {
  const auto mistakes = [](const Json& params) {
    Diagnostics found;
    find_probe("alert.fired")->spec().validate(params, "", {}, found);
    return found.all().size();
  };
  CHECK(mistakes({{"prometheus", "http://p:9090"}, {"alert", "Skew"}}) == 0);
  CHECK(mistakes({{"alert", "Skew"}}) == 1);
  CHECK(mistakes({{"prometheus", "http://p:9090"}, {"alertmanager", "http://a:9093"}, {"alert", "Skew"}}) == 1);
  CHECK(mistakes({{"prometheus", "http://p:9090"}, {"alert", ""}}) == 1);
  CHECK(mistakes({{"prometheus", "p:9090"}, {"alert", "Skew"}}) == 1);
}
