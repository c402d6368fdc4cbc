// What host.disk plans, refuses and measures: JSON in, JSON out.
#include "tests/injector/host_plan.h"

using namespace capsize;
using namespace capsize::host_plan;

namespace {

const Json kDisk = {{"used", 600 * kMiB}, {"available", 400 * kMiB}, {"in_memory", false}, {"read_only", false}, {"device", 7}, {"state_folder_here", false},
                    {"memory", {{"total", 1000 * kMiB}, {"available", 600 * kMiB}}}, {"new_id", "0a1b2c3d"}};

Json with(const Json& changes) {
  Json look = kDisk;
  look.merge_patch(changes);
  return look;
}

Effect effect(const FaultPlan& made, std::uint64_t available, int bearer = 77, int device = 7) {
  return find_fault("host.disk")->effect(made, kDisk, {{"used", 1000 * kMiB - available}, {"available", available}, {"device", device}, {"bearer", bearer}});
}

}  // namespace

TEST_CASE("a file system is filled to a share, as df counts, or until so much is left", "[host.disk]") {
  FakeView view(kDisk);
  const FaultPlan share = plan("host.disk", view, {{"path", "/data"}, {"share", "95%"}});
  CHECK(view.asked == Op{"host.space", {{"path", "/data"}}});
  REQUIRE(share.steps.size() == 1);
  CHECK(share.steps[0].apply.args.at("leave").get<double>() == Approx(50.0 * kMiB).margin(1));
  const FaultPlan leave = plan("host.disk", kDisk, {{"path", "/data"}, {"leave", "0B"}});
  check_one_burden(leave, {{"burden", "disk"}, {"path", "/data"}, {"leave", 0}, {"floor", 0}});
  CHECK(leave.observe == Op{"host.space", {{"id", "0a1b2c3d"}, {"path", "/data"}}});
  CHECK(leave.intended == Json{{"available", 0}, {"fill", 400 * kMiB}, {"full", 1.0}});
  CHECK(leave.summary == "the file system of /data is filled until 0 B of the 400.0 MiB there are left (100.0% full), by a file that ends with the agent");
}

TEST_CASE("where capsize keeps its journals at least 64 MiB stay free, whatever is allowed", "[host.disk]") {
  const Json here = with({{"state_folder_here", true}});
  const test::Refused got = refusal("host.disk", here, {{"path", "/data"}, {"leave", "63MiB"}});
  CHECK(got.kind == ErrorKind::refused);
  CHECK(got.text.find("undo journals") != std::string::npos);
  CHECK_THROWS_AS(plan("host.disk", here, {{"path", "/data"}, {"share", "99%"}}, {"starve_host", "everything"}), Error);
  CHECK(plan("host.disk", here, {{"path", "/data"}, {"leave", "64MiB"}}).steps[0].apply.args.at("floor") == 64 * kMiB);
}

TEST_CASE("a file system in memory takes that memory from the machine", "[host.disk]") {
  const Json tmpfs = with({{"in_memory", true}});
  const test::Refused got = refusal("host.disk", tmpfs, {{"path", "/run"}, {"leave", "0B"}});  // 400 of 600 MiB
  CHECK(got.kind == ErrorKind::refused);
  CHECK(got.text.find("starve_host") != std::string::npos);
  CHECK(plan("host.disk", tmpfs, {{"path", "/run"}, {"leave", "0B"}}, {"starve_host"}).allowed == std::vector<std::string>{"starve_host"});
  CHECK(plan("host.disk", tmpfs, {{"path", "/run"}, {"leave", "100MiB"}}).allowed.empty());
}

TEST_CASE("what is fuller already, read-only or named wrongly is refused", "[host.disk]") {
  CHECK(refusal("host.disk", kDisk, {{"path", "/data"}, {"share", "60%"}}).text.find("60.0% full already") != std::string::npos);
  CHECK(refusal("host.disk", kDisk, {{"path", "/data"}, {"leave", "400MiB"}}).kind == ErrorKind::refused);
  CHECK(refusal("host.disk", with({{"read_only", true}}), {{"path", "/data"}, {"share", "90%"}}).kind == ErrorKind::unavailable);
  CHECK(refusal("host.disk", with({{"writable", false}}), {{"path", "/data"}, {"share", "90%"}}).kind == ErrorKind::privilege);
  CHECK(refusal("host.disk", kDisk, {{"path", "data"}, {"share", "90%"}}).text.find("not an absolute path") != std::string::npos);
  CHECK(refusal("host.disk", kDisk, {{"path", "/data"}}).kind == ErrorKind::refused);
  CHECK(refusal("host.disk", kDisk, {{"path", "/data"}, {"share", "90%"}, {"leave", "1MiB"}}).kind == ErrorKind::refused);
}

TEST_CASE("a full disk bites when about as little is left as intended, on the same file system", "[host.disk]") {
  const FaultPlan made = plan("host.disk", kDisk, {{"path", "/data"}, {"leave", "100MiB"}});
  CHECK(effect(made, 100 * kMiB).bites);
  CHECK(effect(made, 20 * kMiB).bites);
  CHECK(effect(made, 129 * kMiB).bites);
  CHECK_FALSE(effect(made, 140 * kMiB).bites);
  CHECK_FALSE(effect(made, 400 * kMiB).bites);
  CHECK_FALSE(effect(made, 100 * kMiB, 0).bites);
  const Effect other = effect(made, 100 * kMiB, 77, 8);
  CHECK_FALSE(other.bites);
  CHECK(other.because == "another file system is mounted there now");
  CHECK(effect(made, 100 * kMiB).because == "100.0 MiB are left, 100.0 MiB were intended (before: 400.0 MiB); the file system is 90.0% full");
  CHECK_FALSE(find_fault("host.disk")->effect(made, Json::object(), Json::object()).bites);
  const FaultPlan little = plan("host.disk", kDisk, {{"path", "/data"}, {"leave", "399MiB"}});
  CHECK_FALSE(effect(little, 400 * kMiB).bites);  // nothing happened
}
