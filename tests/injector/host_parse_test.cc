// What the kernel says of a machine's processors, memory and disks, read by total parsers; and where the journals' file system is.
#include <catch2/catch.hpp>

#include <sys/stat.h>

#include "injector/base/error.h"
#include "injector/burdens/bearer.h"
#include "injector/burdens/bearer_wire.h"
#include "injector/ops/host_ops.h"
#include "injector/targets/host.h"
#include "tests/injector/scratch_dir.h"

using namespace capsize;

TEST_CASE("processor ticks are busy or idle, waiting for a disk is idle, and guests are not counted twice", "[host]") {
  const char* stat =
      "cpu  100 20 30 400 50 6 7 8 90 10\n"
      "cpu0 50 10 15 200 25 3 3 4 45 5\n"
      "cpu1 50 10 15 200 25 3 4 4 45 5\n"
      "intr 12345\n";
  CHECK(parse_cpu_ticks(stat) == CpuTicks{171, 450, 2});
  for (const char* bad : {"", "cpu", "cpu  1 2 3\ncpu0 1 2 3 4 5\n", "cpu  1 2 x 4 5 6\ncpu0 1\n", "cpu  1 2 3 4 5 6 7 8\n", "cpu0 1 2 3 4 5 6 7 8\n"}) {
    INFO(bad);
    CHECK_FALSE(parse_cpu_ticks(bad));
  }
}

TEST_CASE("memory is what the kernel says is available, not what is free", "[host]") {
  CHECK(parse_meminfo("MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    600 kB\nSwapTotal:     5 kB\n") == HostMemory{1024000, 614400, 5120});
  CHECK(parse_meminfo("MemTotal:       1000 kB\nMemAvailable:    600 kB") == HostMemory{1024000, 614400, 0});
  for (const char* bad : {"", "MemTotal: 1000 kB\n", "MemAvailable: 5 kB\n", "MemTotal: 0 kB\nMemAvailable: 0 kB\n", "MemTotal: many kB\nMemAvailable: 5 kB\n"}) CHECK_FALSE(parse_meminfo(bad));
  CHECK(number_after("read_bytes: 12\nwrite_bytes: 13", "write_bytes") == 13);
  CHECK_FALSE(number_after("cancelled_write_bytes: 12", "write_bytes"));
  CHECK_FALSE(number_after("write_bytes:", "write_bytes"));
}

TEST_CASE("a disk is found by its numbers, and its busy time read", "[host]") {
  const char* stats =
      "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0\n"
      " 254       0 vda 1 2 3 4 5 6 7 8 9 4321 11 12 13 14 15\n";
  CHECK(parse_disk_ticks(stats, 254, 0) == DiskTicks{"vda", 4321});
  CHECK_FALSE(parse_disk_ticks(stats, 254, 1));
  CHECK_FALSE(parse_disk_ticks(stats, 0, 42));
  CHECK_FALSE(parse_disk_ticks("", 7, 0));
  CHECK_FALSE(parse_disk_ticks("254 0 vda 1 2 3", 254, 0));
}

TEST_CASE("a folder of journals is on the file system of the nearest folder that is there, and where it cannot be told it may be here", "[host]") {
  const ScratchDir scratch;
  struct stat entry = {};
  REQUIRE(::stat(scratch.path().c_str(), &entry) == 0);
  CHECK(state_folder_is_on(scratch.path().string(), entry.st_dev));
  CHECK(state_folder_is_on(scratch / "not/there/yet", entry.st_dev));
  CHECK_FALSE(state_folder_is_on(scratch.path().string(), entry.st_dev + 1));
  CHECK_FALSE(state_folder_is_on("", entry.st_dev));
}

TEST_CASE("the space of a file system is asked of a folder, and a folder alone", "[host]") {
  const ScratchDir scratch;
  write_file(scratch / "file", "text");
  CHECK(file_system_space(scratch.path().string()).available > 0);
  CHECK_THROWS_AS(file_system_space(scratch / "file"), Error);
  CHECK_THROWS_AS(file_system_space(scratch / "none"), Error);
}

TEST_CASE("a burden's id is eight hexadecimal digits, and fits with its name into what ps shows", "[host]") {
  CHECK(is_burden_id("0a1b2c3d"));
  for (const char* bad : {"", "0a1b2c3", "0a1b2c3d4", "0A1B2C3D", "../../xx", "0a1b2c3 "}) CHECK_FALSE(is_burden_id(bad));
  CHECK(bearer_name("0a1b2c3d").size() == 15);
  CHECK(find_bearer("ffffffff").pid == 0);
  for (const Json& args : {Json::object(), Json{{"id", 7}}, Json{{"id", "x"}}}) {
    SystemClock clock;
    OpContext context{clock, {}, {}};
    asio::io_context io;
    std::exception_ptr problem;
    asio::co_spawn(io, find_op("host.unburden")->undo(args, context), [&](std::exception_ptr error, UndoResult) { problem = error; });
    io.run();
    CHECK_THROWS_AS(std::rethrow_exception(problem), Error);
  }
}

TEST_CASE("bytes are shown in the unit that people would use", "[host]") {
  CHECK(show_bytes(0) == "0 B");
  CHECK(show_bytes(1023) == "1023 B");
  CHECK(show_bytes(1536) == "1.5 KiB");
  CHECK(show_bytes(std::uint64_t{5} << 40) == "5.0 TiB");
}
