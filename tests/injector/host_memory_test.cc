// What host.memory plans, refuses and measures: JSON in, JSON out.
#include "tests/injector/host_plan.h"

using namespace capsize;
using namespace capsize::host_plan;

namespace {

const Json kMachine = {{"total", 16000 * kMiB}, {"available", 8000 * kMiB}, {"swap_total", 0}, {"new_id", "0a1b2c3d"}};
constexpr std::uint64_t kFloor = 800 * kMiB;  // a twentieth

Effect effect(const FaultPlan& made, std::uint64_t held, std::uint64_t available, int bearer = 77) {
  return find_fault("host.memory")->effect(made, kMachine, {{"held", held}, {"available", available}, {"bearer", bearer}});
}

}  // namespace

TEST_CASE("memory of a size is held, and a floor kept that the order names", "[host.memory]") {
  FakeView view(kMachine);
  const FaultPlan made = plan("host.memory", view, {{"size", "2GiB"}});
  CHECK(view.asked == Op{"host.memory_use", Json::object()});
  check_one_burden(made, {{"burden", "memory"}, {"bytes", 2048 * kMiB}, {"floor", kFloor}});
  CHECK(made.observe.type == "host.memory_use");
  CHECK(made.intended == Json{{"held", 2048 * kMiB}});
  CHECK(made.summary == "capsize holds 2.0 GiB of the 7.8 GiB of memory that are available: it ends with the agent");
  CHECK(made.allowed.empty());
}

TEST_CASE("or memory is held until so much is left", "[host.memory]") {
  const FaultPlan made = plan("host.memory", kMachine, {{"leave", "1GiB"}});
  check_one_burden(made, {{"burden", "memory"}, {"leave", 1024 * kMiB}, {"floor", kFloor}});
  CHECK(made.intended == Json{{"available", 1024 * kMiB}});
}

TEST_CASE("a host is not left with hardly any memory, unless the playbook allows that", "[host.memory]") {
  for (const Json& params : {Json{{"leave", "512MiB"}}, Json{{"size", "7500MiB"}}}) {
    const test::Refused got = refusal("host.memory", kMachine, params);
    CHECK(got.kind == ErrorKind::refused);
    CHECK(got.text.find("500.0 MiB") + got.text.find("512.0 MiB") != 2 * std::string::npos);
    CHECK(got.text.find("starve_host") != std::string::npos);
    const FaultPlan made = plan("host.memory", kMachine, params, {"starve_host"});
    CHECK(made.allowed == std::vector<std::string>{"starve_host"});
    CHECK(made.steps[0].apply.args.at("floor") == 0);
  }
  CHECK(plan("host.memory", kMachine, {{"leave", "1GiB"}}, {"starve_host"}).allowed.empty());  // not needed
  const Json small = {{"total", 1024 * kMiB}, {"available", 900 * kMiB}, {"new_id", "0a1b2c3d"}};
  CHECK(refusal("host.memory", small, {{"leave", "255MiB"}}).kind == ErrorKind::refused);
  CHECK(plan("host.memory", small, {{"leave", "256MiB"}}).steps.size() == 1);
}

TEST_CASE("more memory than there is, or leaving more than there is, is refused whatever is allowed", "[host.memory]") {
  CHECK_THROWS_AS(plan("host.memory", kMachine, {{"size", "9000MiB"}}, {"starve_host"}), Error);
  CHECK_THROWS_AS(plan("host.memory", kMachine, {{"leave", "9000MiB"}}, {"starve_host"}), Error);
  CHECK(refusal("host.memory", kMachine, Json::object()).kind == ErrorKind::refused);
  CHECK(refusal("host.memory", kMachine, {{"size", "1GiB"}, {"leave", "1GiB"}}).kind == ErrorKind::refused);
  CHECK(refusal("host.memory", kMachine, {{"size", "10KiB"}}).kind == ErrorKind::refused);
}

TEST_CASE("memory bites when it is held, or when no more than intended is left", "[host.memory]") {
  const FaultPlan size = plan("host.memory", kMachine, {{"size", "2GiB"}});
  CHECK(effect(size, 2048 * kMiB, 6000 * kMiB).bites);
  CHECK(effect(size, 2000 * kMiB, 9000 * kMiB).bites);
  CHECK_FALSE(effect(size, 1900 * kMiB, 6000 * kMiB).bites);
  CHECK_FALSE(effect(size, 2048 * kMiB, 6000 * kMiB, 0).bites);
  const FaultPlan leave = plan("host.memory", kMachine, {{"leave", "1GiB"}});
  CHECK(effect(leave, 7000 * kMiB, 1000 * kMiB).bites);
  CHECK(effect(leave, 7000 * kMiB, 1120 * kMiB).bites);
  CHECK_FALSE(effect(leave, 7000 * kMiB, 1200 * kMiB).bites);
  CHECK_FALSE(effect(leave, 0, 1000 * kMiB).bites);  // it was not us
  const FaultPlan much = plan("host.memory", kMachine, {{"leave", "7500MiB"}});  // of 8000: a tenth of it would be more than all that is to be taken
  CHECK_FALSE(effect(much, 8 * kMiB, 7990 * kMiB).bites);
  CHECK(effect(much, 480 * kMiB, 7520 * kMiB).bites);
  CHECK(effect(leave, 7000 * kMiB, 1000 * kMiB).measured == Json{{"held", 7000 * kMiB}, {"available", 1000 * kMiB}, {"available_before", 8000 * kMiB}});
  CHECK(effect(leave, 7000 * kMiB, 1000 * kMiB).because == "capsize holds 6.8 GiB, and 1000.0 MiB are available (before: 7.8 GiB); intended were 1.0 GiB to be left");
  CHECK_FALSE(find_fault("host.memory")->effect(leave, Json::object(), Json::object()).bites);
}
