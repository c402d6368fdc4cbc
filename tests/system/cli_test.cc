#include <sys/wait.h>

#include <cstdlib>

// The command line as scripts see it: exit codes are pinned.
namespace {

int exit_of(const std::string& arguments) {
  const std::string command = std::string(CAPSIZE_BINARY_DIR) + "/capsize " + arguments + " >/dev/null 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("the version is printed with exit 0", "[cli]") { CHECK(exit_of("--version") == 0); }
