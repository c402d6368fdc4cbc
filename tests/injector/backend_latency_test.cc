// backend.latency: in the words of its users, and the delay it plans.
#include "tests/injector/net_view.h"

#include "injector/targets/haproxy.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kBalancer = {{"socket", "/run/haproxy/admin.sock"}, {"backend", "auth"}};
const Json kLater = {{"server", "auth1"}, {"later", "200ms"}};

// A backend of two servers, of which auth1 is at `address`.
Json machine_with(const std::string& address, std::int64_t port, const std::vector<std::string>& without = {"netem"}) {
  BackendState seen;
  seen.name = "auth";
  seen.algorithm = "roundrobin";
  for (const char* name : {"auth1", "auth2"}) {
    ServerState server;
    server.name = name;
    server.address = std::string(name) == "auth1" ? address : "127.0.0.1";
    server.port = std::string(name) == "auth1" ? port : 8082;
    seen.servers.push_back(server);
  }
  Json out = net_machine(without);
  out["haproxy.servers"] = to_json(seen);
  return out;
}

}  // namespace

TEST_CASE("a server of the balancer on this machine gets its requests later", "[backend.latency]") {
  NetView view(machine_with("127.0.0.1", 8081));
  const FaultPlan plan = plan_of("backend.latency", "haproxy", kBalancer, kLater, view);
  CHECK(view.asked["haproxy.servers"] == kBalancer);
  CHECK(met_by(plan) == Words{"tcp packets to 127.0.0.1:8081 arriving"});
  CHECK(plan.summary == "auth/auth1 (127.0.0.1:8081) answers 200ms later: tcp packets to 127.0.0.1:8081 arriving are 200ms late (queue: this kernel has no netem)");
  CHECK(plan.intended["round_trip_ms"] == 200.0);
}

TEST_CASE("of a server elsewhere the answers are late, which no kernel lacks the means for", "[backend.latency]") {
  CHECK(met_by(plan_of("backend.latency", "haproxy", kBalancer, kLater, machine_with("10.0.0.9", 443))) == Words{"tcp packets from 10.0.0.9:443 arriving"});
  CHECK(met_by(plan_of("backend.latency", "haproxy", kBalancer, kLater, machine_with("fd00::9", 443))) == Words{"tcp packets from [fd00::9]:443 arriving"});
  CHECK(met_by(plan_of("backend.latency", "service", {{"address", "10.0.0.9:443"}}, {{"later", "1s"}}, net_machine({"netem"}))) == Words{"tcp packets from 10.0.0.9:443 arriving"});
}

TEST_CASE("a service by its address needs no balancer", "[backend.latency]") {
  const FaultPlan plan = plan_of("backend.latency", "service", {{"address", "127.0.0.1:8081"}}, {{"later", "200ms"}, {"jitter", "20ms"}}, net_machine({"netem"}));
  CHECK(plan.summary == "127.0.0.1:8081 answers 200ms later: tcp packets to 127.0.0.1:8081 arriving are 200ms late, give or take 20ms (queue: this kernel has no netem)");
}

TEST_CASE("which server is said for a balancer, and only for one", "[backend.latency]") {
  const Json machine = machine_with("127.0.0.1", 8081);
  says(refusal_of("backend.latency", "haproxy", kBalancer, {{"later", "200ms"}}, machine), ErrorKind::refused, "\"server\" is missing");
  says(refusal_of("backend.latency", "service", {{"address", "127.0.0.1:8081"}}, kLater, machine), ErrorKind::refused, "\"server\" is for a target of type haproxy");
  says(refusal_of("backend.latency", "haproxy", kBalancer, {{"server", "auth11"}, {"later", "200ms"}}, machine), ErrorKind::refused, "did you mean \"auth1\"?");
  says(refusal_of("backend.latency", "haproxy", kBalancer, kLater, machine_with("", 0)), ErrorKind::refused, "auth1 has no address");
}
