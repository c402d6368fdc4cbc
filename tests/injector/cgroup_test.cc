// Cgroups as text and JSON: which hierarchy serves a process, where a limit goes, what is counted.
#include <catch2/catch.hpp>

#include "injector/cgroup/placement.h"
#include "injector/cgroup/usage.h"
#include "tests/injector/cgroup_view.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

const char* kVersion1 =
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "38 31 0:35 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const char* kVersion2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

std::vector<std::string> all(const std::string&) { return {"cpu", "io", "memory", "pids"}; }
std::vector<std::string> none(const std::string&) { return {"hugetlb"}; }

PlaceAnswer place(Controller controller, const char* mounts, const char* membership, std::vector<std::string> (*controllers)(const std::string&) = all) {
  return place_of(controller, parse_cgroup_mounts(mounts), membership, controllers);
}

}  // namespace

TEST_CASE("the hierarchy that serves a controller is found in version 1, version 2 and both together", "[cgroup]") {
  const char* hybrid = "8:blkio:/b\n4:memory:/m/x\n1:cpu,cpuacct:/\n0::/unified/y\n";
  const auto cpu = place(Controller::cpu, kVersion1, hybrid, none);
  REQUIRE(cpu.place);
  CHECK(cpu.place->version == 1);
  CHECK(cpu.place->folder == "/sys/fs/cgroup/cpu,cpuacct");
  CHECK(cpu.place->topmost());
  CHECK(place(Controller::memory, kVersion1, hybrid, none).place->folder == "/sys/fs/cgroup/memory/m/x");
  CHECK_FALSE(place(Controller::memory, kVersion1, hybrid, none).place->topmost());
  CHECK(place(Controller::io, kVersion1, hybrid, none).place->folder == "/sys/fs/cgroup/blkio/b");
  const auto unified = place(Controller::io, kVersion2, "0::/system.slice/web.service\n");
  REQUIRE(unified.place);
  CHECK(unified.place->version == 2);
  CHECK(unified.place->folder == "/sys/fs/cgroup/system.slice/web.service");
  CHECK(unified.place->path == "/system.slice/web.service");
}

TEST_CASE("where no hierarchy serves a controller, the answer says what is missing", "[cgroup]") {
  const auto missing = [](const PlaceAnswer& answer) {
    CHECK_FALSE(answer.place);
    return answer.missing;
  };
  CHECK(missing(place(Controller::cpu, kVersion2, "0::/x\n", none)).find("the kernel offers no cpu controller here") == 0);
  CHECK(missing(place(Controller::cpu, kVersion2, "1:cpu:/x\n0::/\n")).find("version 1) is not mounted") != std::string::npos);
  CHECK(missing(place(Controller::cpu, "", "")).find("it is in no cgroup") == 0);
  CHECK(missing(place(Controller::cpu, kVersion2, "0::/../other\n")).find("outside of what is in sight") != std::string::npos);
  const char* part = "30 23 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  CHECK(place(Controller::cpu, part, "0::/docker/1/a\n").place->folder == "/sys/fs/cgroup/a");
  CHECK(missing(place(Controller::cpu, part, "0::/docker/12\n")).find("not below what is mounted here") != std::string::npos);
}

TEST_CASE("processes that have a cgroup to themselves are limited there", "[cgroup]") {
  const Placement own = place_limits(placed_v2(), Controller::cpu, "0123456789ab", 0);
  CHECK_FALSE(own.step.move);
  CHECK(own.step.cgroup == CgroupRef{"/sys/fs/cgroup/system.slice/web.service", 77});
  CHECK(own.step.enable.empty());
  CHECK_FALSE(own.fresh);
  CHECK(own.words == "by its own cgroup /system.slice/web.service, in which are 3 processes");
}

TEST_CASE("a controller that is off for a cgroup is switched on from where it ends, topmost first", "[cgroup]") {
  Json look = placed_v2();
  look["values"] = Json::object();
  look["lineage"][1]["enabled"] = false;
  const Placement one = place_limits(look, Controller::cpu, "0123456789ab", 0);
  CHECK(one.step.enable == std::vector<CgroupRef>{{"/sys/fs/cgroup/system.slice", 20}});
  CHECK(one.fresh);
  look["lineage"][0]["enabled"] = false;
  look["lineage"][1]["has"] = false;
  CHECK(place_limits(look, Controller::cpu, "0123456789ab", 0).step.enable == std::vector<CgroupRef>{{"/sys/fs/cgroup", 1}, {"/sys/fs/cgroup/system.slice", 20}});
  look["lineage"][0]["has"] = false;
  CHECK_THROWS_WITH(place_limits(look, Controller::cpu, "0123456789ab", 0), Catch::Contains("does not reach /sys/fs/cgroup"));
}

TEST_CASE("a process that shares its cgroup is moved to one of ours: below it in version 1, beside it in version 2", "[cgroup]") {
  const Placement below = place_limits(placed_v1(), Controller::cpu, "0123456789ab", 0);
  REQUIRE(below.step.move);
  CHECK(below.step.move->parent == CgroupRef{"/sys/fs/cgroup/cpu", 1});
  CHECK(below.step.move->from == CgroupRef{"/sys/fs/cgroup/cpu", 1});
  CHECK(below.step.limited().folder == "/sys/fs/cgroup/cpu/capsize-0123456789ab");
  CHECK(below.fresh);
  Json shared = placed_v2();
  shared["stranger_count"] = 1;
  const Placement beside = place_limits(shared, Controller::cpu, "0123456789ab", 2);
  REQUIRE(beside.step.move);
  CHECK(beside.step.move->parent == CgroupRef{"/sys/fs/cgroup/system.slice", 20});
  CHECK(beside.step.move->from == CgroupRef{"/sys/fs/cgroup/system.slice/web.service", 77});
  CHECK(beside.step.limited().folder == "/sys/fs/cgroup/system.slice/capsize-0123456789ab-2");
}

TEST_CASE("what cannot be limited is said with the kind of its reason", "[cgroup]") {
  const auto kind = [](const char* key, const char* value) {
    Json look = placed_v2();
    look[key] = value;
    try {
      place_limits(look, Controller::cpu, "0123456789ab", 0);
    } catch (const Error& error) {
      CHECK_FALSE(error.remedy().empty());
      return error.kind();
    }
    return ErrorKind::bug;
  };
  CHECK(kind("missing", "the kernel offers no cpu controller here") == ErrorKind::unavailable);
  CHECK(kind("not_writable", "user 1000 may not write to cgroup /x") == ErrorKind::privilege);
  CHECK(kind("lineage", "?") == ErrorKind::bug);
}

TEST_CASE("the step of a limit reads as it was written, and takes no file but limits and no name but ours", "[cgroup]") {
  LimitStep step = place_limits(placed_v1(), Controller::io, "0123456789ab", 0).step;
  step.changes = {{"blkio.throttle.read_bps_device", "8:0", "0", "1024"}, {"blkio.throttle.write_bps_device", "8:0", "0", "1024"}};
  step.enable = {{"/sys/fs/cgroup", 1}};
  const Json json = to_json(step);
  CHECK(to_json(limit_step_from_json(json)) == json);
  const auto refused = [&](const Json& patch) {
    Json other = json;
    other.merge_patch(patch);
    CHECK_THROWS_AS(limit_step_from_json(other), Error);
  };
  refused({{"changes", {{{"file", "cgroup.kill"}, {"was", "0"}, {"set", "1"}}}}});
  refused({{"changes", {{{"file", "../cpu.max"}, {"was", "0"}, {"set", "1"}}}}});
  refused({{"changes", Json::array()}});
  refused({{"move", {{"name", "system.slice"}}}});
  refused({{"move", {{"name", "capsize-/../x"}}}});
  refused({{"move", {{"from", {{"folder", "/sys/fs/cgroup/../../x"}}}}}});
  refused({{"controller", "freezer"}});
}

TEST_CASE("the limit of one device is its line, and without a line there is none", "[cgroup]") {
  const LimitChange bps{"blkio.throttle.read_bps_device", "8:0", "0", "1024"};
  CHECK(value_for(bps, "8:16 5\n8:0 1024") == "1024");
  CHECK(value_for(bps, "8:16 5") == "0");
  const LimitChange max{"io.max", "8:0", "", ""};
  CHECK(value_for(max, "8:0 rbps=1 wbps=max riops=max wiops=max") == "rbps=1 wbps=max riops=max wiops=max");
  CHECK(value_for(max, "") == "rbps=max wbps=max riops=max wiops=max");
  CHECK(value_for({"cpu.max", "", "", ""}, "20000 100000") == "20000 100000");
}

TEST_CASE("what a cgroup uses is read from the files of both versions", "[cgroup]") {
  CHECK(memory_from(1, {{"memory.usage_in_bytes", "1000"}, {"memory.stat", "cache 300\nrss 1\ntotal_cache 400\ntotal_shmem 100"}, {"memory.failcnt", "7"}, {"memory.oom_control", "oom_kill_disable 0\noom_kill 2"}}) ==
        MemoryUse{1000, 700, 7, 2});
  CHECK(memory_from(2, {{"memory.current", "1000"}, {"memory.stat", "anon 500\nfile 300\nshmem 100\nslab_reclaimable 50"}, {"memory.events", "low 0\nmax 9\noom 1\noom_kill 1"}}) == MemoryUse{1000, 750, 9, 1});
  CHECK(memory_from(2, {}) == MemoryUse{});
  for (const char* text : {"8:0 Read 100\n8:0 Write 20\n8:0 Total 120\n8:16 Read 1\nTotal 121", "8:0 rbytes=100 wbytes=20 rios=3\n8:16 rbytes=1 wbytes=0"}) {
    IoByDevice io = parse_io_counters(text);
    CHECK(io.size() == 2);
    CHECK(io["8:0"].read_bytes == 100);
    CHECK(io["8:0"].written_bytes == 20);
    CHECK(io["8:16"].read_bytes == 1);
    CHECK(sum_of(io).read_bytes == 101);
    CHECK(sum_of(io).written_bytes == 20);
  }
}

TEST_CASE("the share of a core is the cgroup's own count, else that of the processes, new ones whole and ended ones not", "[cgroup]") {
  CpuSample first, second;
  first.ticks = {{5, 100}, {6, 50}};
  second.ticks = {{5, 120}, {7, 3}};
  CHECK(share_between(first, second, 1.0) == Approx(0.23));
  first.group_seconds = 10;
  second.group_seconds = 10.5;
  CHECK(share_between(first, second, 2.0) == Approx(0.25));
  CHECK(share_between(first, second, 0) == 0);
}
