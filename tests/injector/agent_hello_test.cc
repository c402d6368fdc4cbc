#include "injector/host/agent_hello.h"

#include <catch2/catch.hpp>

using namespace capsize;

namespace {

const std::string kHello = R"({"boot_id":"b","hello":"capsize-agent","pid":7,"version":"0.1.0"})";

std::string remedy_of(const std::string& fact, const std::string& said) { return no_agent({"ssh edge-1 capsize agent", fact, said, ""}).remedy(); }

}  // namespace

TEST_CASE("a hello is heard alone, behind a greeting without an end of line, and behind other braces") {
  for (const std::string before : {"", "Welcome to edge-1> ", "{not json} ", "{\"a\": 1} "}) {
    INFO(before);
    const auto hello = hello_in(before + kHello);
    REQUIRE(hello);
    CHECK((*hello)["pid"] == 7);
  }
}

TEST_CASE("what is no hello is none, and a long line is not searched at every brace") {
  for (const std::string line : {"", "Welcome to edge-1!", "{\"not\": \"a hello\"}", R"({"hello":"another-agent"})", R"("capsize-agent")", "{{{{{{{{", "[1]"}) {
    INFO(line);
    CHECK(!hello_in(line));
  }
  CHECK(!hello_in(kHello.substr(0, kHello.size() - 1)));
  CHECK(!hello_in(std::string(1 << 20, '{')));
}

TEST_CASE("what a far end says is shown in one line, without ssh's frame and without control characters") {
  CHECK(plain_words("@@@@@@@@@@@@@@@@@@@@") == "");
  CHECK(plain_words("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @") == "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!");
  CHECK(plain_words("root@10.77.0.2: Permission denied (publickey).\r") == "root@10.77.0.2: Permission denied (publickey).");
  CHECK(plain_words("\x1b[2Jgone") == "\\x1b[2Jgone");
  CHECK(plain_words(std::string(5000, 'x')).size() < 310);
}

TEST_CASE("no agent is an error of the world that says the command, how it ended, and both of its outputs") {
  const Error error = no_agent({"ssh edge-1 capsize agent", "did not become an agent: exit code 127", "bash: line 1: capsize: command not found", "Welcome!"});
  CHECK(error.kind() == ErrorKind::unavailable);
  CHECK(error.fact() ==
        "ssh edge-1 capsize agent did not become an agent: exit code 127; it said: bash: line 1: capsize: command not found; where the agent's hello was to come, it printed: Welcome!");
  CHECK(error.remedy().find("install capsize there") == 0);
}

TEST_CASE("the remedy is the one for what the far end said, and else to try by hand") {
  const std::string ended = "did not become an agent: exit code 255";
  CHECK(remedy_of(ended, "Host key verification failed.").find("compare the key") == 0);
  CHECK(remedy_of(ended, "ann@edge-1: Permission denied (publickey,password).").find("give ssh a key") == 0);
  CHECK(remedy_of(ended, "ssh: connect to host edge-1 port 22: Connection refused").find("see whether its sshd") == 0);
  CHECK(remedy_of(ended, "ssh: connect to host edge-1 port 22: No route to host").find("see whether that machine is up") == 0);
  CHECK(remedy_of(ended, "ssh: Could not resolve hostname edge-1: Name or service not known").find("see how the machine is called") == 0);
  CHECK(remedy_of("did not become an agent: exit code 1", "sudo: a password is required").find("let sudo run it without") == 0);
  CHECK(remedy_of("did not become an agent: exit code 125", "Error: no container with name or ID \"auth9\" found: no such container").find("see podman ps") == 0);
  CHECK(remedy_of("did not become an agent: exit code 127", "").find("install capsize there") == 0);
  CHECK(remedy_of("said no hello within 15s", "").find("see whether the command runs by hand") == 0);
}
