// net.reorder: some overtake the others.
#include "tests/injector/net_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const Json kService = {{"address", "127.0.0.1:8081"}};

}  // namespace

TEST_CASE("some packets overtake the others, which are late", "[net.reorder]") {
  const FaultPlan plan = plan_of("net.reorder", "service", kService, {{"share", "25%"}, {"delay", "20ms"}}, net_machine({"netem"}));
  CHECK(impairment_of(plan).effect.reorder == ReorderEffect{0.25, std::chrono::milliseconds(20)});
  CHECK(plan.summary.find("are reordered: 25% of them overtake the others, which are 20ms late") != std::string::npos);
  says(refusal_of("net.reorder", "service", kService, {{"share", "100%"}}), ErrorKind::refused, "when all packets overtake, none does");
}

TEST_CASE("reordering bites when packets were seen to overtake", "[net.reorder]") {
  const FaultType* type = find_fault("net.reorder");
  const FaultPlan plan = plan_of("net.reorder", "service", kService, {{"share", "25%"}}, net_machine({"netem"}));
  CHECK(type->effect(plan, watched(nullptr), watched({{"matched", 100}, {"reordered", 20}})).bites);
  CHECK_FALSE(type->effect(plan, watched(nullptr), watched({{"matched", 100}, {"reordered", 0}})).bites);
}
