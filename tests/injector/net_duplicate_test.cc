// net.duplicate: which back end, and the share that proves it.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kService = {{"address", "127.0.0.1:8081"}};
const Json kTenth = {{"share", "10%"}};

}  // namespace

TEST_CASE("duplication is netem's work, or the queue's for what arrives", "[net.duplicate]") {
  CHECK(impairment_of(plan_of("net.duplicate", "service", kService, kTenth)).backend == ImpairBackend::device);
  const FaultPlan plan = plan_of("net.duplicate", "service", kService, kTenth, net_machine({"netem"}));
  CHECK(impairment_of(plan).backend == ImpairBackend::queue);
  CHECK(*impairment_of(plan).effect.duplicate == Approx(0.1));
  CHECK(plan.summary == "tcp packets to 127.0.0.1:8081 arriving come twice, 10% of them (queue: this kernel has no netem)");
  says(refusal_of("net.duplicate", "network", {{"peers", {"10.0.0.9"}}, {"protocol", "tcp"}}, {{"share", "10%"}, {"direction", "out"}}, net_machine({"netem"})), ErrorKind::unavailable,
       "duplication of what leaves this machine");
  says(refusal_of("net.duplicate", "service", kService, {{"share", "0%"}}), ErrorKind::refused, "a share of nothing");
}

TEST_CASE("duplication bites when the share counted is near the share intended", "[net.duplicate]") {
  const FaultType* type = find_fault("net.duplicate");
  const FaultPlan queue = plan_of("net.duplicate", "service", kService, kTenth, net_machine({"netem"}));
  CHECK(type->effect(queue, watched(nullptr), watched({{"matched", 1000}, {"duplicated", 95}})).bites);
  CHECK_FALSE(type->effect(queue, watched(nullptr), watched({{"matched", 1000}, {"duplicated", 0}})).bites);
  const FaultPlan device = plan_of("net.duplicate", "service", kService, kTenth);
  CHECK(type->effect(device, watched(nullptr), watched({{"matched", 1000}, {"duplicated", 95}})).bites);
  CHECK_FALSE(type->effect(device, watched(nullptr), watched({{"matched", 45}, {"duplicated", 0}})).bites);  // too few to be outside of its interval, but none
}
