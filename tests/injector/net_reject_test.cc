// net.reject: how packets are refused.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

TEST_CASE("a refusal is by reset, as unreachable or as prohibited", "[net.reject]") {
  const auto with = [](const char* word) { return impairment_of(plan_of("net.reject", "service", {{"address", "127.0.0.1:8081"}}, {{"with", word}})).effect.refusal; };
  CHECK(with("tcp_reset") == Refusal::tcp_reset);
  CHECK(with("unreachable") == Refusal::unreachable);
  CHECK(with("prohibited") == Refusal::prohibited);
  says(refusal_of("net.reject", "service", {{"address", "127.0.0.1:8081"}}, {{"with", "silent"}}), ErrorKind::refused, "\"silent\" is not known here");
  CHECK(plan_of("net.reject", "service", {{"address", "127.0.0.1:8081"}}, Json::object()).summary == "tcp packets to 127.0.0.1:8081 arriving are refused with a reset (rules)");
}

TEST_CASE("a refusal bites when our own connections are refused that came about before", "[net.reject]") {
  const FaultType* type = find_fault("net.reject");
  const FaultPlan plan = plan_of("net.reject", "service", {{"address", "127.0.0.1:8081"}}, Json::object());
  Json refused = echo_in(0, 0);
  refused["refused"] = 5;
  refused["timed_out"] = 0;
  CHECK(type->effect(plan, watched(nullptr, echo_in(0.2)), watched({{"matched", 9}, {"dropped", 9}}, refused)).bites);
  CHECK_FALSE(type->effect(plan, watched(nullptr, echo_in(0.2)), watched({{"matched", 9}, {"dropped", 9}}, echo_in(0.2))).bites);
}
