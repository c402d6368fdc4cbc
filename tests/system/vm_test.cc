// What the kernel at hand may lack is met in a virtual machine with Debian's own (tests/system/vm/run).
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/system/machine.h"

using namespace capsize;

namespace {

Ran run_in_vm(std::vector<std::string> words, const std::filesystem::path& folder) {
  words.insert(words.begin(), std::string(CAPSIZE_SOURCE_DIR) + "/tests/system/vm/run");
  return run_to_end(words, folder / "vm");
}

}  // namespace

TEST_CASE("the virtual machine has a kernel with netem, and hands back output and exit code of what it runs", "[vm]") {
  const TestFolder folder;
  const Ran ran = run_in_vm({"--limit", "300", "--", "sh", "-c", "tc qdisc add dev lo root netem loss 7% && tc qdisc show dev lo; exit 7"}, folder.path());
  INFO(ran.out << ran.err);
  CHECK(ran.code == 7);
  CHECK(ran.out.find("qdisc netem") == 0);
  CHECK(ran.out.find("loss 7%") != std::string::npos);
}

TEST_CASE("what needs netem does what it says under Debian's kernel", "[vm]") {
  const TestFolder folder;
  ::setenv("BUILD", CAPSIZE_BINARY_DIR, 1);
  const Ran ran = run_in_vm({"--limit", "540", "system_tests", "[netem]~[slow],[net.table]", "-w", "NoTests", "-d", "yes"}, folder.path());
  INFO(ran.out << ran.err);
  CHECK(ran.code == 0);
  CHECK(ran.out.find("All tests passed") != std::string::npos);
}
