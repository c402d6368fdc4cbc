// net.dns: which queries are met, what becomes of them, and that the resolver is no control path here.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kNames = {{"names", {"DB.staging.", "*.internal"}}};

Json with(Json base, const Json& changes) {
  base.merge_patch(changes);
  return base;
}

}  // namespace

TEST_CASE("queries from here are met by their port, and names are as DNS compares them", "[net.dns]") {
  Json machine = net_machine({"netem"});
  machine["net.control_path"]["resolvers"] = {"10.0.0.2"};
  const FaultPlan plan = plan_of("net.dns", "network", {{"peers", {"10.0.0.2"}}}, with(kNames, {{"answer", "nxdomain"}}), machine);
  CHECK(met_by(plan) == Words{"udp packets to 10.0.0.2:53 leaving"});
  const Impairment one = impairment_of(plan);
  CHECK(one.backend == ImpairBackend::queue);
  CHECK(one.effect.dns == DnsEffect{{"db.staging", "*.internal"}, DnsAnswer::nxdomain, {}});
  CHECK(one.exempt.empty());
  CHECK(plan.summary == "udp packets to 10.0.0.2:53 leaving that ask for db.staging and 1 more are told that there is no such name (queue)");
}

TEST_CASE("at a DNS server of this machine queries are met when they arrive", "[net.dns]") {
  CHECK(met_by(plan_of("net.dns", "service", {{"address", "127.0.0.53:53"}}, kNames)) == Words{"udp packets to 127.0.0.53:53 arriving"});
}

TEST_CASE("a delay is written with the answer that it belongs to", "[net.dns]") {
  const Json server = {{"address", "127.0.0.53:53"}};
  CHECK(impairment_of(plan_of("net.dns", "service", server, with(kNames, {{"answer", "delay"}, {"delay", "2s"}}))).effect.dns->delay == std::chrono::seconds(2));
  says(refusal_of("net.dns", "service", server, with(kNames, {{"answer", "delay"}})), ErrorKind::refused, "without a \"delay\"");
  says(refusal_of("net.dns", "service", server, with(kNames, {{"delay", "2s"}})), ErrorKind::refused, "for the answer \"delay\" only");
  says(refusal_of("net.dns", "service", server, {{"names", {"not a name"}}}), ErrorKind::refused, "is not a name of DNS");
  says(refusal_of("net.dns", "service", server, kNames, net_machine({"queue"})), ErrorKind::unavailable, "lacks queue");
  says(refusal_of("net.dns", "network", {{"protocol", "icmp"}, {"peers", {"10.0.0.2"}}}, kNames), ErrorKind::refused, "queries are not ICMP");
}

TEST_CASE("it bites when somebody asked for these names", "[net.dns]") {
  const FaultType* type = find_fault("net.dns");
  const FaultPlan plan = plan_of("net.dns", "service", {{"address", "127.0.0.53:53"}}, kNames);
  CHECK(type->effect(plan, watched(nullptr), watched({{"matched", 9}, {"dropped", 2}})).because == "9 packets met: 0 answered by us, 2 dropped, 0 delayed");
  CHECK(type->effect(plan, watched(nullptr), watched({{"matched", 9}, {"dropped", 2}})).bites);
  const Effect none = type->effect(plan, watched(nullptr), watched({{"matched", 9}}));
  CHECK_FALSE(none.bites);
  CHECK(none.because.ends_with("nobody asked for these names"));
}
