#include <catch2/catch.hpp>

#include "injector/faults/balancer.h"
#include "tests/injector/backend_of.h"

using namespace capsize;

namespace {

FaultPlan plan(const BackendState& seen, const std::vector<Name>& servers, const Allowed& allow = {}) { return plan_balancer_drain({servers}, auth_target(), seen, allow); }

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a drain is one step whose undo knows the exact state to find and to leave", "[balancer]") {
  const FaultPlan planned = plan(three_servers(), {Name{"auth2"}, Name{"auth2"}});
  REQUIRE(planned.steps.size() == 1);
  CHECK(planned.steps[0].apply.type == "haproxy.admin_state");
  CHECK(planned.steps[0].apply.args["servers"] == Json{{"auth2", {{"from", "ready"}, {"to", "drain"}}}});
  CHECK(planned.steps[0].undo.type == "haproxy.restore_admin_state");
  CHECK(planned.steps[0].undo.args["servers"] == Json{{"auth2", {{"expect", "drain"}, {"restore", "ready"}}}});
  CHECK(planned.summary == "backend auth sends no new sessions to auth2");
  CHECK(planned.intended["shares"] == Json{{"auth1", 0.5}, {"auth2", 0.0}, {"auth3", 0.5}});
}

TEST_CASE("a server that is not ready is not drained: its state could not be put back exactly", "[balancer]") {
  // Each of these bits, or two of them, would come back otherwise than it was.
  for (int bits = 1; bits < 64; ++bits) {
    BackendState seen = three_servers();
    seen.servers[0].admin_state = bits;
    INFO(bits);
    CHECK(has(refusal_of([&] { plan(seen, {Name{"auth1"}}); }), "refused: auth/auth1 is "));
  }
}

TEST_CASE("the blast radius of a drain is what goes out of service", "[balancer]") {
  struct Case {
    std::vector<Name> drained;
    std::vector<std::string> down;
    std::string needs;
  };
  const Name one{"auth1"}, two{"auth2"}, three{"auth3"};
  const Case cases[] = {{{one}, {}, ""},
                        {{one, two}, {}, "majority"},
                        {{one, two, three}, {}, "last_server"},
                        {{one}, {"auth3"}, ""},             // one of two: half, not more
                        {{one, two}, {"auth3"}, "last_server"},
                        {{one}, {"auth2", "auth3"}, "last_server"},
                        {{three}, {"auth3"}, ""}};          // takes nothing out
  for (const Case& test : cases) {
    BackendState seen = three_servers();
    for (const std::string& name : test.down) {
      for (ServerState& server : seen.servers) {
        if (server.name == name) server.op_state = 0;
      }
    }
    const std::string refusal = refusal_of([&] { plan(seen, test.drained); });
    INFO(test.drained.size() << " drained, " << test.down.size() << " down");
    if (test.needs.empty()) {
      CHECK(refusal == "planned");
      CHECK(plan(seen, test.drained).allowed.empty());
    } else {
      CHECK(has(refusal, "\"allow\": [\"" + test.needs + "\"]"));
      CHECK(plan(seen, test.drained, {test.needs}).allowed == std::vector<std::string>{test.needs});
    }
  }
}

TEST_CASE("a drain bites when the server is drained and new sessions go elsewhere", "[balancer]") {
  const BackendState before = three_servers();
  const FaultPlan planned = plan(before, {Name{"auth1"}});
  BackendState drained = before;
  drained.servers[0].admin_state = kAdminForcedDrain;
  CHECK(judge_balancer(planned, to_json(before), to_json(after_sessions(drained, {1, 50, 49}))).bites);
  CHECK_FALSE(judge_balancer(planned, to_json(before), to_json(after_sessions(drained, {33, 33, 34}))).bites);
  const Effect undone = judge_balancer(planned, to_json(before), to_json(after_sessions(before, {0, 50, 50})));
  CHECK_FALSE(undone.bites);
  CHECK(has(undone.because, "auth1 is not drained"));
}

TEST_CASE("a drain that leaves nobody bites when the few sessions are too few to tell says so", "[balancer]") {
  const BackendState before = three_servers();
  const FaultPlan planned = plan(before, {Name{"auth1"}, Name{"auth2"}, Name{"auth3"}}, {"last_server"});
  BackendState drained = before;
  for (ServerState& server : drained.servers) server.admin_state = kAdminForcedDrain;
  CHECK(has(judge_balancer(planned, to_json(before), to_json(drained)).because, "only 0 sessions arrived"));
}
