// net.rate: bandwidths, and when a limit was felt.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kService = {{"address", "127.0.0.1:8081"}};

std::uint64_t bytes_of(const char* rate) { return impairment_of(plan_of("net.rate", "service", kService, {{"rate", rate}})).effect.rate->bytes_per_second; }

}  // namespace

TEST_CASE("a bandwidth is in bits or bytes a second", "[net.rate]") {
  CHECK(bytes_of("8Mbit/s") == 1'000'000);
  CHECK(bytes_of("64kbit/s") == 8000);
  CHECK(bytes_of("1MiB/s") == 1048576);
  CHECK(bytes_of("1.5Gbit/s") == 187'500'000);
  for (const char* bad : {"8Mbit", "8", "fast", "0kbit/s", "1bit/s", "9999Gbit/s", "Mbit/s"}) CHECK(refusal_of("net.rate", "service", kService, {{"rate", bad}}).kind == ErrorKind::refused);
  says(refusal_of("net.rate", "service", kService, {{"rate", "1Mbit/s"}, {"burst", "100B"}}), ErrorKind::refused, "lets no whole packet pass");
}

TEST_CASE("a rate is a device's work, by tbf or else netem", "[net.rate]") {
  const FaultPlan plan = plan_of("net.rate", "service", kService, {{"rate", "1Mbit/s"}}, net_machine({"netem"}));
  CHECK(impairment_of(plan).backend == ImpairBackend::device);
  CHECK(plan.summary == "tcp packets to 127.0.0.1:8081 arriving pass at 1Mbit/s at most (device: tbf)");
  CHECK(plan_of("net.rate", "service", kService, {{"rate", "1Mbit/s"}}, net_machine({"tbf"})).summary.ends_with("(device: netem)"));
  says(refusal_of("net.rate", "service", kService, {{"rate", "1Mbit/s"}}, net_machine({"tbf", "netem"})), ErrorKind::unavailable, "lacks tbf");
  says(refusal_of("net.rate", "service", kService, {{"rate", "1Mbit/s"}}, net_machine({"ifb"})), ErrorKind::unavailable, "lacks ifb");
  says(refusal_of("net.rate", "network", {{"peers", {"10.0.0.9"}}}, {{"rate", "1Mbit/s"}, {"direction", "out"}}, net_machine({"clsact"})), ErrorKind::unavailable, "lacks clsact");
}

TEST_CASE("a limit was felt when packets had to wait for it or were dropped, and no more passed than was intended", "[net.rate]") {
  const FaultType* type = find_fault("net.rate");
  const FaultPlan plan = plan_of("net.rate", "service", kService, {{"rate", "8Mbit/s"}});
  const auto effect = [&](double came, double passed, int dropped, int held_back) {
    return type->effect(plan, watched(nullptr), watched({{"matched", 100}, {"matched_bytes", came}, {"passed_bytes", passed}, {"dropped", dropped}, {"held_back", held_back}}));
  };
  CHECK(effect(3e6, 2e6, 0, 7).bites);
  CHECK(effect(3e6, 2e6, 0, 7).because == "100 packets met: in 2.0 s 3000 kB came and 2000 kB passed (at most 2066 kB intended), 0 packets dropped");
  CHECK(effect(1e5, 1e5, 3, 0).bites);
  CHECK_FALSE(effect(2e6, 1.9e6, 0, 0).bites);
  CHECK_FALSE(effect(3e6, 2.9e6, 0, 7).bites);
}
