// What host.clock plans, refuses and measures: JSON in, JSON out.
#include "tests/injector/host_plan.h"

using namespace capsize;
using namespace capsize::host_plan;

namespace {

const Json kLook = {{"library", "/usr/lib/faketime/libfaketimeMT.so.1"}, {"new_id", "0a1b2c3d"}};
const Json kServer = {{"command", {"/usr/sbin/server", "--port", "8090"}}, {"ahead", "5m"}};

Json with(const char* key, const Json& value) {
  Json params = kServer;
  params[key] = value;
  return params;
}

}  // namespace

TEST_CASE("a command is started with a clock that is ahead or behind", "[host.clock]") {
  FakeView view(kLook);
  const FaultPlan ahead = plan("host.clock", view, kServer);
  CHECK(view.asked == Op{"host.clock_use", Json::object()});
  check_one_burden(ahead, {{"burden", "clock"}, {"command", {"/usr/sbin/server", "--port", "8090"}}, {"shift", 300.0}, {"library", "/usr/lib/faketime/libfaketimeMT.so.1"}});
  CHECK(ahead.observe == Op{"host.clock_use", {{"id", "0a1b2c3d"}, {"library", "/usr/lib/faketime/libfaketimeMT.so.1"}, {"shift", 300.0}}});
  CHECK(ahead.intended == Json{{"shift", 300.0}});
  CHECK(ahead.summary == "capsize starts /usr/sbin/server with a clock that is 5m ahead: it ends with the fault, and with the agent");
  CHECK(plan("host.clock", kLook, {{"command", {"/usr/sbin/server"}}, {"behind", "1h"}}).intended == Json{{"shift", -3600.0}});
}

TEST_CASE("without libfaketime there is no such clock, and the refusal says why", "[host.clock]") {
  const test::Refused got = refusal("host.clock", {{"library", ""}, {"new_id", "0a1b2c3d"}}, kServer);
  CHECK(got.kind == ErrorKind::unavailable);
  CHECK(got.text.find("the kernel has one time of day for everybody") != std::string::npos);
  CHECK(got.text.find("apt-get install libfaketime") != std::string::npos);
}

TEST_CASE("who may not make a pid namespace is told so when it is planned", "[host.clock]") {
  Json look = kLook;
  look["may_unshare"] = false;
  const test::Refused got = refusal("host.clock", look, kServer);
  CHECK(got.kind == ErrorKind::privilege);
  CHECK(got.text.find("CAP_SYS_ADMIN") != std::string::npos);
}

TEST_CASE("a command without an absolute path, and a shift of nothing or of both, are refused", "[host.clock]") {
  for (const Json& params : {with("command", {"server"}), with("command", Json::array()), with("ahead", "10ms"), with("ahead", "-5m"), with("behind", "5m"), Json{{"command", {"/usr/sbin/server"}}}}) {
    INFO(params.dump());
    CHECK(refusal("host.clock", kLook, params).kind == ErrorKind::refused);
  }
}

TEST_CASE("a wrong clock bites when the command runs, took up the library, and its time is off by what was intended", "[host.clock]") {
  const FaultPlan made = plan("host.clock", kLook, kServer);
  const auto effect = [&](const Json& change) {
    Json after = {{"bearer", 7}, {"command", 9}, {"loaded", true}, {"shift", 300.01}, {"error", 0.02}};
    after.update(change);
    return find_fault("host.clock")->effect(made, Json::object(), after);
  };
  CHECK(effect(Json::object()).bites);
  CHECK(effect({{"shift", 299.6}}).bites);
  CHECK_FALSE(effect({{"shift", 299.4}}).bites);
  CHECK(effect({{"shift", 299.4}, {"error", 0.2}}).bites);
  CHECK_FALSE(effect({{"shift", 0.0}}).bites);
  CHECK_FALSE(effect({{"shift", -300.0}}).bites);
  CHECK(effect({{"shift", nullptr}}).because == "what time it is for that command could not be told");
  CHECK(effect({{"loaded", false}}).because.find("did not take up libfaketime") != std::string::npos);
  CHECK(effect({{"command", 0}}).because == "the command has ended");
  CHECK_FALSE(effect({{"bearer", 0}}).bites);
  CHECK_FALSE(find_fault("host.clock")->effect(made, Json::object(), Json::object()).bites);
  CHECK(effect(Json::object()).because == "the clock of process 9 is +300.01 s off (give or take 0.02 s), +300.00 s were intended");
}
