// What host.io plans, refuses and measures: JSON in, JSON out.
#include "tests/injector/host_plan.h"

using namespace capsize;
using namespace capsize::host_plan;

namespace {

const Json kDisk = {{"used", 600 * kMiB}, {"available", 400 * kMiB}, {"in_memory", false}, {"read_only", false}, {"device", 7}, {"state_folder_here", false}, {"new_id", "0a1b2c3d"}};

Json with(const Json& changes) {
  Json look = kDisk;
  look.merge_patch(changes);
  return look;
}

Effect effect(const FaultPlan& made, double read, double written, const Json& busy, int bearer = 77) {
  const Json before = {{"read_per_second", 0.0}, {"written_per_second", 0.0}, {"disk", "vda"}, {"disk_busy", 0.05}, {"window", "1s"}};
  const Json after = {{"read_per_second", read}, {"written_per_second", written}, {"disk", busy.is_null() ? Json() : Json("vda")}, {"disk_busy", busy}, {"window", "1s"}, {"bearer", bearer}};
  return find_fault("host.io")->effect(made, before, after);
}

}  // namespace

TEST_CASE("a disk is read and written at a rate, half of each where nothing else is said", "[host.io]") {
  FakeView view(kDisk);
  const FaultPlan made = plan("host.io", view, {{"path", "/data"}, {"rate", "20MiB/s"}});
  CHECK(view.asked == Op{"host.disk_use", {{"path", "/data"}}});
  check_one_burden(made, {{"burden", "io"}, {"path", "/data"}, {"bytes_per_second", 20 * kMiB}, {"reads", true}, {"writes", true}, {"workers", 4}, {"block", 65536}, {"file_bytes", 32 * kMiB}, {"seed", 0x0a1b2c3d}});
  CHECK(made.observe == Op{"host.disk_use", {{"id", "0a1b2c3d"}, {"path", "/data"}}});
  CHECK(made.intended == Json{{"bytes_per_second", 20 * kMiB}, {"kind", "both"}});
  CHECK(made.summary == "capsize reads and writes 20.0 MiB a second at the disk of /data, 4 requests of 64KiB at a time, past the page cache: it ends with the agent");
}

TEST_CASE("it may only read or only write, with so many requests of a size at a time", "[host.io]") {
  const Json reads = plan("host.io", kDisk, {{"path", "/data"}, {"rate", "1MiB/s"}, {"kind", "read"}, {"workers", 16}, {"block", "4KiB"}}).steps[0].apply.args;
  CHECK((reads.at("reads") == true && reads.at("writes") == false && reads.at("workers") == 16 && reads.at("block") == 4096));
  const Json writes = plan("host.io", kDisk, {{"path", "/data"}, {"rate", "1MiB/s"}, {"kind", "write"}}).steps[0].apply.args;
  CHECK((writes.at("reads") == false && writes.at("writes") == true));
}

TEST_CASE("where there is no disk, or no room, or no sense, it is refused", "[host.io]") {
  const Json good = {{"path", "/data"}, {"rate", "1MiB/s"}};
  CHECK(refusal("host.io", with({{"in_memory", true}}), good).text.find("no disk below it") != std::string::npos);
  CHECK(refusal("host.io", with({{"read_only", true}}), good).kind == ErrorKind::unavailable);
  CHECK(refusal("host.io", with({{"available", 127 * kMiB}}), good).kind == ErrorKind::refused);
  CHECK(plan("host.io", with({{"available", 128 * kMiB}}), good).steps.size() == 1);
  for (const auto& [key, value] : {std::pair<const char*, Json>{"rate", "1MiB"}, {"rate", "1KiB/s"}, {"rate", 5}, {"path", "data"}, {"block", "5000B"}, {"block", "16MiB"}, {"workers", 0}, {"kind", "seek"}}) {
    Json params = good;
    params[key] = value;
    INFO(params.dump());
    CHECK(refusal("host.io", kDisk, params).kind == ErrorKind::refused);
  }
}

TEST_CASE("a busy disk bites when most of the rate is met, or when it cannot do more and we are a part of that", "[host.io]") {
  const FaultPlan made = plan("host.io", kDisk, {{"path", "/data"}, {"rate", "10MiB/s"}});
  const auto mib = [](double count) { return count * static_cast<double>(kMiB); };
  CHECK(effect(made, mib(5), mib(5), 0.3).bites);
  CHECK(effect(made, mib(7.1), 0, 0.3).bites);
  CHECK_FALSE(effect(made, mib(3), mib(3), 0.3).bites);
  CHECK(effect(made, mib(3), mib(3), 0.95).bites);
  CHECK_FALSE(effect(made, mib(0.5), 0, 0.95).bites);
  CHECK(effect(made, mib(5), mib(5), nullptr).bites);
  CHECK_FALSE(effect(made, mib(3), mib(3), nullptr).bites);
  CHECK_FALSE(effect(made, mib(5), mib(5), 0.3, 0).bites);
  CHECK(effect(made, mib(5), mib(4), 0.3).because == "capsize reads 5.0 MiB and writes 4.0 MiB a second, 10.0 MiB were intended; disk vda is busy 30.0% of the time (before: 5.0%)");
  CHECK_FALSE(find_fault("host.io")->effect(made, Json::object(), Json::object()).bites);
}
