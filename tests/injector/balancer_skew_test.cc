#include <catch2/catch.hpp>

#include "injector/base/rng.h"
#include "injector/faults/balancer.h"
#include "tests/injector/backend_of.h"

using namespace capsize;

namespace {

FaultPlan plan(const BackendState& seen, const std::string& server, double share, const Allowed& allow = {}) {
  return plan_balancer_skew({Name{server}, Share{share}}, auth_target(), seen, allow);
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a share becomes the smallest weights that give it", "[balancer]") {
  struct Case {
    std::vector<std::int64_t> others;
    double share;
    std::int64_t favourite;
    std::vector<std::int64_t> given;
  };
  const Case cases[] = {{{10, 10}, 0.80, 8, {1, 1}},        {{10, 10}, 0.95, 38, {1, 1}},   {{100, 50}, 0.80, 12, {2, 1}}, {{256, 256}, 0.5, 2, {1, 1}},
                        {{1}, 0.5, 1, {1}},                 {{7}, 0.9, 9, {1}},             {{10, 10}, 0.1, 2, {9, 9}},    {{10, 10, 10}, 0.25, 1, {1, 1, 1}},
                        {{200, 10}, 0.5, 20, {19, 1}},      {{10, 10}, 0.999, 256, {1, 1}}, {{5, 5, 5, 5}, 0.2, 1, {1, 1, 1, 1}}};
  for (const Case& one : cases) {
    INFO(one.share);
    const SkewWeights weights = weights_for_share(one.others, one.share);
    CHECK(weights.favourite == one.favourite);
    std::vector<std::int64_t> given = weights.others;
    std::sort(given.begin(), given.end());
    std::vector<std::int64_t> wanted = one.given;
    std::sort(wanted.begin(), wanted.end());
    CHECK(given == wanted);
  }
}

TEST_CASE("whatever the backend, the weights are whole, in range, and as near as 256 allows", "[balancer]") {
  Rng rng(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::int64_t> others;
    for (std::uint64_t i = rng.below(12) + 1; i > 0; --i) others.push_back(static_cast<std::int64_t>(rng.below(256)) + 1);
    const double share = 0.02 + rng.uniform() * 0.96;
    const SkewWeights weights = weights_for_share(others, share);
    std::int64_t sum = 0;
    for (const std::int64_t weight : weights.others) {
      REQUIRE(weight >= 1);
      REQUIRE(weight <= kMaxWeight);
      sum += weight;
    }
    REQUIRE(weights.favourite >= 1);
    REQUIRE(weights.favourite <= kMaxWeight);
    REQUIRE(weights.share == Approx(static_cast<double>(weights.favourite) / static_cast<double>(weights.favourite + sum)));
    const bool reachable = share / (1 - share) * static_cast<double>(others.size()) <= kMaxWeight;
    INFO("seed 7 round " << round << " share " << share << " of " << others.size() + 1);
    if (reachable) REQUIRE(std::abs(weights.share - share) <= 0.02);
  }
}

TEST_CASE("a skew is one step: compare and set, compare and restore", "[balancer]") {
  const FaultPlan planned = plan(three_servers(), "auth1", 0.8);
  const Json common = {{"backend", "auth"}, {"socket", "/run/haproxy/admin.sock"}, {"process", {{"pid", 1000}, {"start", 1700000000}, {"version", "2.6.12-fake"}}}};
  Json apply = common;
  apply["servers"] = {{"auth1", {{"from", 10}, {"to", 8}}}, {"auth2", {{"from", 10}, {"to", 1}}}, {"auth3", {{"from", 10}, {"to", 1}}}};
  Json undo = common;
  undo["servers"] = {{"auth1", {{"expect", 8}, {"restore", 10}}}, {"auth2", {{"expect", 1}, {"restore", 10}}}, {"auth3", {{"expect", 1}, {"restore", 10}}}};
  REQUIRE(planned.steps.size() == 1);
  CHECK(to_json(planned.steps[0]) == Json{{"apply", {{"op", "haproxy.weights"}, {"args", apply}}}, {"undo", {{"op", "haproxy.restore_weights"}, {"args", undo}}}});
  CHECK(planned.summary == "auth1 gets 80 % of backend auth (weights auth1 10 -> 8, auth2 10 -> 1, auth3 10 -> 1)");
  CHECK(to_json(planned.observe) == Json{{"op", "haproxy.servers"}, {"args", {{"socket", "/run/haproxy/admin.sock"}, {"backend", "auth"}}}});
  CHECK(planned.allowed.empty());
}

TEST_CASE("servers out of service are left as they are", "[balancer]") {
  FakeHaproxy fake("auth", {{.name = "auth1"}, {.name = "auth2"}, {.name = "down", .up = false}, {.name = "spare", .backup = true}, {.name = "zero", .initial_weight = 0}, {.name = "maint"}});
  fake.server("maint").admin_state = 1;
  const FaultPlan planned = plan(backend_of(fake), "auth1", 0.9);
  CHECK(planned.steps[0].apply.args["servers"] == Json{{"auth1", {{"from", 10}, {"to", 9}}}, {"auth2", {{"from", 10}, {"to", 1}}}});
}

TEST_CASE("a share that weights cannot give exactly is reported with the one they give", "[balancer]") {
  const FaultPlan planned = plan(three_servers(), "auth1", 0.999);
  CHECK(has(planned.summary, "auth1 gets 99.2 % of backend auth, the nearest that weights can give to 99.9 %"));
  CHECK(planned.intended["share"] == 0.999);
  CHECK(planned.intended["shares"]["auth1"].get<double>() == Approx(256.0 / 258));
}

TEST_CASE("what a skew cannot be planned on is refused with a remedy", "[balancer]") {
  const auto refusal = [](FakeHaproxy fake, const std::string& server, double share, const Allowed& allow = {}) {
    return refusal_of([&] { plan(backend_of(fake), server, share, allow); });
  };
  FakeHaproxy three("auth", {{.name = "auth1"}, {.name = "auth2"}, {.name = "auth3"}});
  CHECK(has(refusal(three, "aut1", 0.8), "refused: backend auth has no server aut1; did you mean \"auth1\"?"));
  FakeHaproxy down("auth", {{.name = "auth1", .up = false}, {.name = "auth2"}, {.name = "auth3"}});
  CHECK(has(refusal(down, "auth1", 0.8), "auth/auth1 is not in service"));
  FakeHaproxy alone("auth", {{.name = "auth1"}});
  CHECK(has(refusal(alone, "auth1", 0.8), "only server in service"));
  FakeHaproxy agent("auth", {{.name = "auth1"}, {.name = "auth2", .agent_check = true}});
  CHECK(has(refusal(agent, "auth1", 0.8), "disable agent auth/auth2"));
  for (const char* algorithm : {"static-rr", "first"}) {
    FakeHaproxy fixed = three;
    fixed.algorithm = algorithm;
    CHECK(has(refusal(fixed, "auth1", 0.8), "weights cannot be changed at runtime"));
  }
  CHECK(has(refusal(FakeHaproxy("auth", {{.name = "auth1", .initial_weight = 8}, {.name = "auth2", .initial_weight = 1}, {.name = "auth3", .initial_weight = 1}}), "auth1", 0.8), "gets 80 % of backend auth already"));
}

TEST_CASE("a share of everything takes the others out, which needs a permission", "[balancer]") {
  const auto refusal = refusal_of([] { plan(three_servers(), "auth1", 1); });
  CHECK(has(refusal, "takes 2 of the 3 servers in service out of backend auth, more than half"));
  CHECK(has(refusal, "\"allow\": [\"majority\"]"));
  const FaultPlan planned = plan(three_servers(), "auth1", 1, {"majority"});
  CHECK(planned.allowed == std::vector<std::string>{"majority"});
  CHECK(planned.steps[0].apply.args["servers"] == Json{{"auth2", {{"from", 10}, {"to", 0}}}, {"auth3", {{"from", 10}, {"to", 0}}}});
  CHECK(refusal_of([] { plan(three_servers(), "auth1", 0); }) == "planned");
}

TEST_CASE("a skew bites when the weights read back and the shares have clearly moved", "[balancer]") {
  const BackendState before = three_servers();
  const FaultPlan planned = plan(before, "auth1", 0.8);
  const BackendState set = with_weights(before, {{"auth1", 8}, {"auth2", 1}, {"auth3", 1}});
  const auto judge = [&](const BackendState& after) { return judge_balancer(planned, to_json(before), to_json(after)); };

  const Effect full = judge(after_sessions(set, {80, 10, 10}));
  CHECK(full.bites);
  CHECK(full.measured["shares"]["auth1"] == 0.8);
  CHECK(full.measured["way"].get<double>() == Approx(1));
  CHECK(has(full.because, "of 100 sessions: auth1 80 % (intended 80 %)"));

  CHECK(judge(after_sessions(set, {58, 21, 21})).bites);  // a server's maxconn holds it back, yet it clearly got more
  const Effect none = judge(after_sessions(set, {34, 33, 33}));
  CHECK_FALSE(none.bites);
  CHECK(has(none.because, "less than 25 %"));
  const Effect few = judge(after_sessions(set, {16, 2, 2}));
  CHECK_FALSE(few.bites);
  CHECK(has(few.because, "only 20 sessions arrived, 30 are needed"));
  CHECK(has(judge(after_sessions(before, {80, 10, 10})).because, "not set as planned: auth1 has weight 10, not 8"));
  BackendState reloaded = after_sessions(set, {80, 10, 10});
  reloaded.process.pid = 4711;
  CHECK(has(judge(reloaded).because, "HAProxy was reloaded or restarted during the fault (pid 1000 -> 4711)"));
  CHECK_FALSE(judge(reloaded).bites);
  CHECK_FALSE(judge(after_sessions(set, {-1, 50, 50})).bites);
  CHECK_FALSE(judge_balancer(planned, Json::object(), Json::object()).bites);
}
