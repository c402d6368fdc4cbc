// What host.cpu plans, refuses and measures: JSON in, JSON out.
#include "tests/injector/host_plan.h"

using namespace capsize;
using namespace capsize::host_plan;

namespace {

const Json kFour = {{"processors", 4}, {"allowed", {0, 1, 2, 3}}, {"new_id", "0a1b2c3d"}};

Effect effect(const FaultPlan& made, double busy, double ours, int bearer = 77) {
  const Json before = {{"processors", 4}, {"busy", 0.1}, {"ours", 0.0}, {"bearer", 0}, {"window", "1s"}};
  return find_fault("host.cpu")->effect(made, before, {{"processors", 4}, {"busy", busy}, {"ours", ours}, {"bearer", bearer}, {"window", "1s"}});
}

}  // namespace

TEST_CASE("without parameters every processor that capsize may use is taken whole", "[host.cpu]") {
  FakeView view(kFour);
  const FaultPlan made = plan("host.cpu", view, Json::object());
  CHECK(view.asked == Op{"host.cpu_use", Json::object()});
  check_one_burden(made, {{"burden", "cpu"}, {"cpus", {0, 1, 2, 3}}, {"share", 1.0}});
  CHECK(made.observe.type == "host.cpu_use");
  CHECK(made.intended == Json{{"share", 1.0}, {"processors", 4}, {"share_of_each", 1.0}});
}

TEST_CASE("a share of some processors is so much of the machine", "[host.cpu]") {
  const FaultPlan made = plan("host.cpu", Json{{"processors", 8}, {"allowed", {2, 3, 6}}, {"new_id", "0a1b2c3d"}}, {{"share", "50%"}, {"cores", 2}});
  check_one_burden(made, {{"burden", "cpu"}, {"cpus", {2, 3}}, {"share", 0.5}});
  CHECK(made.intended.at("share").get<double>() == Approx(0.125));
  CHECK(made.summary == "50% of the time of 2 of 8 processors goes to capsize, 12.5% of the machine: it ends with the agent");
}

TEST_CASE("more processors than capsize may use are refused, and so is no share", "[host.cpu]") {
  const test::Refused many = refusal("host.cpu", {{"processors", 8}, {"allowed", {0, 1}}, {"new_id", "0a1b2c3d"}}, {{"cores", 3}});
  CHECK(many.kind == ErrorKind::refused);
  CHECK(many.text.find("3 processors are wanted, and capsize may use 2 of the 8") != std::string::npos);
  CHECK(refusal("host.cpu", kFour, {{"share", "0%"}}).kind == ErrorKind::refused);
  CHECK(refusal("host.cpu", kFour, {{"cores", 0}}).kind == ErrorKind::refused);
}

TEST_CASE("processor time that capsize does not get does not bite, unless nobody there finds an idle processor", "[host.cpu]") {
  const FaultPlan made = plan("host.cpu", kFour, {{"share", "40%"}});
  CHECK(effect(made, 0.5, 0.40).bites);
  CHECK(effect(made, 0.5, 0.33).bites);
  CHECK_FALSE(effect(made, 0.5, 0.31).bites);
  CHECK(effect(made, 0.99, 0.31).bites);
  CHECK_FALSE(effect(made, 0.99, 0.05).bites);
  CHECK_FALSE(effect(made, 0.5, 0.4, 0).bites);
  CHECK_FALSE(find_fault("host.cpu")->effect(made, Json::object(), Json::object()).bites);
  const Effect whole = effect(made, 0.5, 0.39);
  CHECK(whole.measured == Json{{"share", 0.39}, {"busy", 0.5}, {"busy_before", 0.1}, {"window", "1s"}});
  CHECK(whole.because == "capsize takes 39.0% of the machine's processor time, 40.0% was intended; the machine is 50.0% busy (before: 10.0%)");
  CHECK(effect(made, 0.5, 0.4, 0).because.find("no process of capsize bears this burden") == 0);
}
