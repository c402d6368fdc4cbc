// net.corrupt: which back end, and the share that proves it.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kService = {{"address", "127.0.0.1:8081"}};
const Json kTenth = {{"share", "10%"}};

}  // namespace

TEST_CASE("corruption is netem's work, or the queue's for what arrives", "[net.corrupt]") {
  CHECK(impairment_of(plan_of("net.corrupt", "service", kService, kTenth)).backend == ImpairBackend::device);
  const FaultPlan plan = plan_of("net.corrupt", "service", kService, kTenth, net_machine({"netem"}));
  CHECK(impairment_of(plan).backend == ImpairBackend::queue);
  CHECK(*impairment_of(plan).effect.corrupt == Approx(0.1));
  CHECK(plan.summary == "tcp packets to 127.0.0.1:8081 arriving are corrupted, 10% of them (queue: this kernel has no netem)");
  says(refusal_of("net.corrupt", "network", {{"peers", {"10.0.0.9"}}, {"protocol", "tcp"}}, {{"share", "10%"}, {"direction", "out"}}, net_machine({"netem"})), ErrorKind::unavailable,
       "corruption of what leaves this machine");
  says(refusal_of("net.corrupt", "service", kService, {{"share", "0%"}}), ErrorKind::refused, "a share of nothing");
}

TEST_CASE("corruption bites when the share counted is near the share intended", "[net.corrupt]") {
  const FaultType* type = find_fault("net.corrupt");
  const FaultPlan queue = plan_of("net.corrupt", "service", kService, kTenth, net_machine({"netem"}));
  CHECK(type->effect(queue, watched(nullptr), watched({{"matched", 1000}, {"corrupted", 95}})).bites);
  CHECK_FALSE(type->effect(queue, watched(nullptr), watched({{"matched", 1000}, {"corrupted", 0}})).bites);
  const FaultPlan device = plan_of("net.corrupt", "service", kService, kTenth);
  const Effect effect = type->effect(device, watched(nullptr), watched({{"matched", 1000}}));
  CHECK(effect.bites);
  CHECK(effect.because == "1000 packets met: 10.00 % of them intended to be corrupted; this back end does not count them");
  CHECK_FALSE(type->effect(device, watched(nullptr), watched({{"matched", 40}})).bites);  // about 4 of them: too few to tell
}
