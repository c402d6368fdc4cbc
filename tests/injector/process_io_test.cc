// What process.io plans, refuses and measures: JSON in, JSON out.
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>

#include "injector/cgroup/disks.h"
#include "injector/cgroup/limit_step.h"
#include "tests/injector/cgroup_view.h"
#include "tests/injector/scratch_dir.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

constexpr const char* kFault = "process.io";
constexpr std::uint64_t kMiB = 1048576;
const Json kOneDisk = {{"disks", Json::array({{{"device", "254:0"}, {"name", "vda"}}})}};

FaultPlan plan_io(const Json& placed, const Json& params, const Json& disks = kOneDisk) {
  FakeView view(placed);
  view.extra = disks;
  return plan(kFault, view, params);
}

std::vector<LimitChange> changes(const Json& placed, const Json& params, const Json& disks = kOneDisk) {
  const FaultPlan made = plan_io(placed, params, disks);
  REQUIRE(made.steps.size() == 1);
  return limit_step_from_json(made.steps[0].apply.args).changes;
}

Json own_v2(const char* max) {
  Json look = placed_v2();
  look["values"] = {{"io.max", max}};
  return look;
}

Json use(double read, double written, const char* limit = "1048576") {
  Json one = {{"same", "yes"}, {"because", ""}, {"cgroup_there", true}, {"outside", 0}, {"read_per_second", read * kMiB}, {"written_per_second", written * kMiB}};
  one["devices"] = {{"254:0", {{"read", read * kMiB}, {"written", written * kMiB}}}};
  one["limits"] = {{"blkio.throttle.read_bps_device", std::string("254:0 ") + limit}};
  return {{"window_s", 2.0}, {"groups", Json::array({one})}};
}

const Json kTwoDisks = {{"disks", Json::array({{{"device", "8:0"}, {"name", "sda"}}, {{"device", "8:16"}, {"name", "sdb"}}})}};

// What is written in a second at sda and at sdb, under limits of 1 MiB/s.
Json use_of_two(double sda, double sdb) {
  Json one = {{"same", "yes"}, {"because", ""}, {"cgroup_there", true}, {"outside", 0}, {"read_per_second", 0.0}, {"written_per_second", (sda + sdb) * kMiB}};
  one["devices"] = {{"8:0", {{"read", 0.0}, {"written", sda * kMiB}}}, {"8:16", {{"read", 0.0}, {"written", sdb * kMiB}}}};
  one["limits"] = {{"blkio.throttle.write_bps_device", "8:0 1048576\n8:16 1048576"}};
  return {{"window_s", 2.0}, {"groups", Json::array({one})}};
}

}  // namespace

TEST_CASE("throughputs become limits of each disk, beside those that are there", "[process.io]") {
  CHECK(changes(placed_v1(), {{"read", "1MiB/s"}, {"write", "2MiB/s"}}) ==
        std::vector<LimitChange>{{"blkio.throttle.read_bps_device", "254:0", "0", "1048576"}, {"blkio.throttle.write_bps_device", "254:0", "0", "2097152"}});
  CHECK(changes(placed_v1(), {{"write", "1MiB/s"}}) == std::vector<LimitChange>{{"blkio.throttle.write_bps_device", "254:0", "0", "1048576"}});
  CHECK(changes(own_v2(""), {{"read", "1MiB/s"}}) == std::vector<LimitChange>{{"io.max", "254:0", "rbps=max wbps=max riops=max wiops=max", "rbps=1048576 wbps=max riops=max wiops=max"}});
  CHECK(changes(own_v2("254:0 rbps=9999999 wbps=5 riops=7 wiops=max"), {{"read", "1MiB/s"}}) ==
        std::vector<LimitChange>{{"io.max", "254:0", "rbps=9999999 wbps=5 riops=7 wiops=max", "rbps=1048576 wbps=5 riops=7 wiops=max"}});
  CHECK(changes(own_v2("8:16 rbps=max wbps=max riops=1 wiops=max"), {{"write", "4KiB/s"}}, kTwoDisks) ==
        std::vector<LimitChange>{{"io.max", "8:0", "rbps=max wbps=max riops=max wiops=max", "rbps=max wbps=4096 riops=max wiops=max"},
                                 {"io.max", "8:16", "rbps=max wbps=max riops=1 wiops=max", "rbps=max wbps=4096 riops=1 wiops=max"}});
}

TEST_CASE("what holds at home goes on to hold in ours: other limits of the disk are taken along", "[process.io]") {
  Json shared = own_v2("254:0 rbps=9999999 wbps=5 riops=7 wiops=max");
  shared["stranger_count"] = 1;
  const FaultPlan made = plan_io(shared, {{"read", "1MiB/s"}});
  const LimitStep step = limit_step_from_json(made.steps[0].apply.args);
  REQUIRE(step.move);
  CHECK(step.changes == std::vector<LimitChange>{{"io.max", "254:0", "rbps=max wbps=max riops=max wiops=max", "rbps=1048576 wbps=5 riops=7 wiops=max"}});
  CHECK(made.observe.args["watched"][0]["devices"] == Json::array({"254:0"}));
}

TEST_CASE("each disk is judged by the limit that it has for itself", "[process.io]") {
  const FaultType* type = find_fault(kFault);
  const FaultPlan made = plan_io(placed_v1(), {{"write", "1MiB/s"}}, kTwoDisks);
  const auto effect = [&](const Json& before, const Json& after) { return type->effect(made, before, after); };
  const Effect one = effect(use_of_two(0.2, 50), use_of_two(0.2, 1));
  CHECK(one.bites);
  CHECK(one.because == "wrote 1 MiB/s at sdb (intended at most 1 MiB/s, before 50 MiB/s)");
  CHECK(one.measured["groups"][0]["devices"]["8:16"]["written"] == kMiB);
  CHECK_FALSE(effect(use_of_two(0, 50), use_of_two(0, 1.9)).bites);  // less than both limits together
  CHECK(effect(use_of_two(1, 50), use_of_two(1, 1)).bites);          // more than one limit, and each within its own
  CHECK_FALSE(effect(use_of_two(0, 50), use_of_two(0, 0)).bites);    // it has stopped writing
  CHECK_FALSE(effect(use_of_two(0.2, 0.1), use_of_two(0.2, 0.1)).bites);
}

TEST_CASE("the plan says how fast, at which disks, and asks for the disk of a path", "[process.io]") {
  const FaultPlan made = plan_io(placed_v1(), {{"read", "1MiB/s"}, {"write", "64KiB/s"}});
  CHECK(made.summary == "process 12 (server) reads at most 1 MiB/s and writes at most 64 KiB/s (vda), moved from cgroup / to /sys/fs/cgroup/cpu/capsize-0123456789ab");
  CHECK(made.intended == Json{{"disks", kOneDisk["disks"]}, {"read_per_second", kMiB}, {"written_per_second", 65536}});
  FakeView view(placed_v1());
  view.extra = kOneDisk;
  plan(kFault, view, {{"read", "1MiB/s"}, {"path", "/var/lib"}});
  CHECK(view.asked.front() == Op{"cgroup.disks", {{"path", "/var/lib"}}});
}

TEST_CASE("throughputs that are none, no smaller, or of no disk are refused", "[process.io]") {
  const auto refused = [](const Json& placed, const Json& params, const Json& disks = kOneDisk) {
    try {
      plan_io(placed, params, disks);
    } catch (const Error& error) {
      CHECK_FALSE(error.remedy().empty());
      return std::string(error.what());
    }
    return std::string("it was planned");
  };
  CHECK(refused(placed_v1(), Json::object()).find("neither \"read\" nor \"write\"") == 0);
  CHECK(refused(placed_v1(), {{"read", "1KiB/s"}}).find("4KiB/s") != std::string::npos);
  CHECK(refused(placed_v1(), {{"read", "1MiB"}}).find("is not a throughput") != std::string::npos);
  CHECK(refused(placed_v1(), {{"read", "fast/s"}}).find("is not a throughput") != std::string::npos);
  CHECK(refused(placed_v1(), {{"read", "1MiB/s"}, {"path", "data"}}).find("is not an absolute path") != std::string::npos);
  CHECK(refused(placed_v1(), {{"read", "1MiB/s"}}, {{"disks", Json::array()}}).find("there is no disk") == 0);
  CHECK(refused(own_v2("254:0 rbps=1000 wbps=max riops=max wiops=max"), {{"read", "1MiB/s"}}).find("process 12 (server) at vda is limited to 0.9766 KiB/s already") == 0);
}

TEST_CASE("it bites when no more went through than may, and near to that or more before", "[process.io]") {
  const FaultType* type = find_fault(kFault);
  const FaultPlan made = plan_io(placed_v1(), {{"read", "1MiB/s"}});
  const auto effect = [&](const Json& before, const Json& after) { return type->effect(made, before, after); };
  const Effect whole = effect(use(50, 0), use(1.05, 0));
  CHECK(whole.bites);
  CHECK(whole.because == "read 1.05 MiB/s (intended at most 1 MiB/s, before 50 MiB/s)");
  CHECK(effect(use(50, 0), use(0.2, 0)).bites);        // it asked for more before
  CHECK(effect(use(0, 0), use(0.9, 0)).bites);         // it asks for more now
  CHECK_FALSE(effect(use(50, 0), use(2, 0)).bites);    // the limit does not hold
  CHECK_FALSE(effect(use(0.1, 9), use(0.1, 9)).bites); // writes are not limited
  CHECK(effect(use(0.1, 9), use(0.1, 9)).because.find("it did not ask for more") != std::string::npos);
  CHECK_FALSE(effect(use(50, 0), use(1, 0, "0")).bites);
  CHECK_FALSE(effect(use(50, 0), Json::object()).bites);
}

TEST_CASE("disks are whole ones that hold something, and a path leads to the one below it", "[process.io]") {
  const ScratchDir scratch;
  const auto sys = scratch.path();
  const auto add = [&](const std::string& name, const char* device, const char* size) {
    std::filesystem::create_directories(sys / "block" / name);
    std::ofstream(sys / "block" / name / "dev") << device << "\n";
    std::ofstream(sys / "block" / name / "size") << size << "\n";
  };
  add("sdb", "8:16", "100");
  add("sda", "8:0", "100");
  add("loop0", "7:0", "0");
  add("ram0", "1:0", "100");
  CHECK(all_disks(sys.string()) == std::vector<Disk>{{"8:0", "sda"}, {"8:16", "sdb"}});
  CHECK(all_disks((sys / "none").string()).empty());
  CHECK_THROWS_WITH(disk_of("/proc/self/status", sys.string()), Catch::Contains("is on no disk of this machine"));
  CHECK_THROWS_AS(disk_of("/no/such/path", sys.string()), Error);
}
