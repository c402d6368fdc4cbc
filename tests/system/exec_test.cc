#include "tests/system/machine.h"
#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;

namespace {

Watched watch_shell(const std::string& script, const std::string& timeout, std::size_t windows) {
  return watch("exec", {{"command", {"/bin/sh", "-c", script}}, {"rate", "10/s"}, {"timeout", timeout}}, windows);
}

}  // namespace

TEST_CASE("exec: exit code 0 is a success, another is a no, and a signal is neither", "[suspect]") {
  const auto yes = watch_shell("exit 0", "10s", 2);
  CHECK(yes.value("success_ratio") == 1);
  CHECK(yes.value("latency.p50") > 0);
  const auto no = watch_shell("exit 3", "10s", 2);
  CHECK(no.value("success_ratio") == 0);
  CHECK(no.value("denied") >= 5);
  const auto killed = watch_shell("kill -9 $$", "10s", 2);
  CHECK(killed.value("broken") >= 5);
}

TEST_CASE("exec: a command that hangs and ignores SIGTERM is killed at its timeout with all that it started", "[suspect]") {
  const TestFolder folder;
  const std::string pids = (folder / "pids").string();
  const auto seen = watch_shell("trap '' TERM HUP INT; echo $$ >>" + pids + "; sh -c \"trap '' TERM; echo \\$\\$ >>" + pids + "; while :; do sleep 1; done\"", "300ms", 2);
  CHECK(seen.value("success_ratio") == 0);
  CHECK(seen.value("timed_out") >= 5);
  std::istringstream lines(read_text(pids));
  int started = 0;
  for (std::string line; std::getline(lines, line); ++started) {
    CHECK(eventually([&] { return !is_running(static_cast<pid_t>(std::stol(line))); }, std::chrono::seconds(30)));
  }
  CHECK(started >= 10);
}

TEST_CASE("exec: a program that is not there is said before anything is run", "[suspect]") {
  try {
    watch("exec", {{"command", {"no-such-check"}}}, 1);
    FAIL("it was started");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::unavailable);
    CHECK(std::string(error.what()).find("no-such-check cannot be executed") != std::string::npos);
  }
}
