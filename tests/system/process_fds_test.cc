// process.fds on real processes that serve connections.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/system/cgroup_bench.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

rlimit limit_of(int pid) {
  rlimit out = {};
  REQUIRE(::prlimit(pid, RLIMIT_NOFILE, nullptr, &out) == 0);
  return out;
}

// Accepts, holds each connection for a moment, closes it; makes a child when it is told to (word 2).
int serve(Shared& shared) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener, 100) != 0) return 1;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  timeval patience = {0, 20000};
  ::setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  shared.word = 1;
  for (;;) {
    const int one = ::accept(listener, nullptr, nullptr);
    if (one >= 0) {
      shared.beats.fetch_add(1);
      ::usleep(20000);
      ::close(one);
    } else if (errno == EMFILE) {
      shared.ran.fetch_add(1);
      ::usleep(1000);
    }
    if (shared.word != 2) continue;
    shared.word = 3;
    const int server = ::getpid();
    const int child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != server) ::_exit(0);  // killed before the line above
      ::close(listener);
      for (;;) ::pause();
    }
    shared.made = static_cast<std::uint64_t>(child);
  }
}

struct Server {
  Server() : child([this] { return serve(*shared); }) {
    Control control;
    REQUIRE(control.until([&] { return shared->word == 1; }));
  }
  SharedMemory shared;
  Child child;
  int pid() const { return child.pid(); }
};

}  // namespace

TEST_CASE("a server without free descriptors accepts nothing, and accepts again after the undo", "[process.fds]") {
  Control control;
  Server server;
  const rlimit was = limit_of(server.pid());
  const FaultPlan plan = plan_fault(control, "process.fds", server.pid(), Json::object());
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);  // alone it changes nothing
  CHECK(limit_of(server.pid()).rlim_cur == was.rlim_cur);
  const Json before = control.look(plan.observe);
  CHECK(before["processes"][0]["connection"] == "accepted");
  REQUIRE(control.until([&] { return control.look({"process.descriptors", {{"identities", plan.observe.args["identities"]}}})["processes"][0]["limit"] == plan.intended["limits"][0]; }));

  control.apply(plan.steps[0].apply);
  CHECK(limit_of(server.pid()).rlim_cur == plan.intended["limits"][0]);
  CHECK(limit_of(server.pid()).rlim_max == was.rlim_max);
  // A thread that already waits in accept() has its descriptor: the first connection may still get in.
  Json during;
  CHECK(control.until([&] {
    during = control.look(plan.observe);
    return during["processes"][0]["connection"] == "not accepted";
  }));
  const Effect effect = find_fault("process.fds")->effect(plan, before, during);
  INFO(effect.because);
  CHECK(effect.bites);
  CHECK(server.shared->ran > 0);  // it was told EMFILE
  CHECK_FALSE(find_fault("process.fds")->effect(plan, before, before).bites);

  CHECK(control.undo(plan.steps[0].undo).state == UndoState::undone);
  CHECK(limit_of(server.pid()).rlim_cur == was.rlim_cur);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK(control.until([&] { return control.look(plan.observe)["processes"][0]["connection"] == "accepted"; }));
}

TEST_CASE("a limit of descriptors that someone has changed meanwhile is left alone", "[process.fds]") {
  Control control;
  Server server;
  const rlimit was = limit_of(server.pid());
  const FaultPlan plan = plan_fault(control, "process.fds", server.pid(), Json::object());
  control.apply(plan.steps[0].apply);
  const rlimit theirs = {500, was.rlim_max};
  REQUIRE(::prlimit(server.pid(), RLIMIT_NOFILE, &theirs, nullptr) == 0);
  for (int times = 0; times < 2; ++times) {
    const UndoResult undone = control.undo(plan.steps[0].undo);
    INFO(undone.because);
    CHECK(undone.state == UndoState::refused);
    CHECK(undone.remedy.find("prlimit --pid") != std::string::npos);
  }
  CHECK(limit_of(server.pid()).rlim_cur == 500);
  CHECK_THROWS_WITH(control.apply(plan.steps[0].apply), Catch::Contains("when it was planned"));
  CHECK(limit_of(server.pid()).rlim_cur == 500);
}

TEST_CASE("what a process starts under a limit of descriptors gets the old one back too", "[process.fds]") {
  Control control;
  Server server;
  const rlimit was = limit_of(server.pid());
  const FaultPlan plan = plan_fault(control, "process.fds", server.pid(), {{"spare", 10}});
  control.apply(plan.steps[0].apply);
  server.shared->word = 2;
  REQUIRE(control.until([&] { return server.shared->made > 0; }));
  const int child = static_cast<int>(server.shared->made);
  CHECK(limit_of(child).rlim_cur == plan.intended["limits"][0]);
  const UndoResult undone = control.undo(plan.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::undone);
  CHECK(undone.because.find("in 1 processes that it has started meanwhile") != std::string::npos);
  CHECK(limit_of(child).rlim_cur == was.rlim_cur);
}

TEST_CASE("a process that ends with a limit of descriptors leaves nothing to undo", "[process.fds]") {
  Control control;
  Server server;
  const FaultPlan plan = plan_fault(control, "process.fds", server.pid(), Json::object());
  control.apply(plan.steps[0].apply);
  server.child.kill();
  for (int times = 0; times < 2; ++times) CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);
  CHECK_THROWS_AS(control.apply(plan.steps[0].apply), Error);
}

TEST_CASE("another user's limit of descriptors needs a privilege, and the message names it", "[process.fds]") {
  SharedMemory shared;
  Child target([&] { return spin_for_ever(*shared); });
  Child stranger([&] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 10;
    Control control;
    try {
      plan_fault(control, "process.fds", target.pid(), Json::object());
      return 11;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::privilege && std::string(error.what()).find("CAP_SYS_RESOURCE") != std::string::npos ? 0 : 12;
    }
  });
  Control control;
  std::optional<int> status;
  REQUIRE(control.until([&] {
    status = stranger.poll();
    return status.has_value();
  }));
  CHECK(WEXITSTATUS(*status) == 0);
}
