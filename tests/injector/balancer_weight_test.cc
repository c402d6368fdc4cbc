#include <catch2/catch.hpp>

#include "injector/faults/balancer.h"
#include "tests/injector/backend_of.h"

using namespace capsize;

namespace {

FaultPlan plan(const BackendState& seen, const std::map<Name, Count>& weights, const Allowed& allow = {}) { return plan_balancer_weight({weights}, auth_target(), seen, allow); }

std::string refusal(const std::map<Name, Count>& weights, const Allowed& allow = {}) {
  return refusal_of([&] { plan(three_servers(), weights, allow); });
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("only the weights that differ are set, and each has its way back", "[balancer]") {
  const FaultPlan planned = plan(three_servers(), {{Name{"auth1"}, 80}, {Name{"auth2"}, 10}});
  REQUIRE(planned.steps.size() == 1);
  CHECK(planned.steps[0].apply.args["servers"] == Json{{"auth1", {{"from", 10}, {"to", 80}}}});
  CHECK(planned.steps[0].undo.args["servers"] == Json{{"auth1", {{"expect", 80}, {"restore", 10}}}});
  CHECK(planned.summary == "weights of backend auth: auth1 10 -> 80");
  CHECK(planned.intended["shares"]["auth1"] == 0.8);
  CHECK(planned.intended["shares_before"]["auth1"].get<double>() == Approx(1.0 / 3));
}

TEST_CASE("weights that change no share, and servers that are not there, are refused", "[balancer]") {
  CHECK(has(refusal({{Name{"auth1"}, 10}}), "leave every share of backend auth as it is"));
  CHECK(has(refusal({{Name{"auth1"}, 20}, {Name{"auth2"}, 20}, {Name{"auth3"}, 20}}), "leave every share"));
  CHECK(has(refusal({{Name{"auth4"}, 20}}), "has no server auth4; did you mean"));
}

TEST_CASE("weights of 0 count as servers taken out", "[balancer]") {
  const std::map<Name, Count> one = {{Name{"auth1"}, 0}};
  const std::map<Name, Count> two = {{Name{"auth1"}, 0}, {Name{"auth2"}, 0}};
  const std::map<Name, Count> all = {{Name{"auth1"}, 0}, {Name{"auth2"}, 0}, {Name{"auth3"}, 0}};
  CHECK(refusal(one) == "planned");
  CHECK(has(refusal(two), "\"majority\""));
  CHECK(refusal(two, {"majority"}) == "planned");
  CHECK(has(refusal(all, {"majority"}), "\"last_server\""));
  CHECK(plan(three_servers(), all, {"last_server"}).allowed == std::vector<std::string>{"last_server"});
}

TEST_CASE("a weight that HAProxy would not take is found in the playbook", "[balancer]") {
  const auto errors = [](const Json& weights) {
    Diagnostics diagnostics;
    spec_of_balancer_weight().validate({{"weights", weights}}, "", {}, diagnostics);
    return diagnostics.errors();
  };
  CHECK(errors({{"auth1", 256}}) == 0);
  CHECK(errors({{"auth1", 257}}) == 1);
  CHECK(errors({{"auth1", -1}}) == 1);
  CHECK(errors({{"auth1;x", 1}}) == 1);
  CHECK(errors(Json::object()) == 1);
}

TEST_CASE("the effect of weights is how far all shares have gone towards the intended ones", "[balancer]") {
  const BackendState before = three_servers();
  const FaultPlan planned = plan(before, {{Name{"auth1"}, 20}, {Name{"auth2"}, 0}});
  const BackendState set = with_weights(before, {{"auth1", 20}, {"auth2", 0}});
  CHECK(judge_balancer(planned, to_json(before), to_json(after_sessions(set, {40, 0, 20}))).bites);
  CHECK_FALSE(judge_balancer(planned, to_json(before), to_json(after_sessions(set, {20, 20, 20}))).bites);
}
