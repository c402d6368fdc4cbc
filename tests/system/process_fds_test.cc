// process.fds on real processes that serve connections.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "tests/system/cgroup_bench.h"

using namespace capsize;
using namespace capsize::cgroup_test;

namespace {

rlimit limit_of(int pid) {
  rlimit out = {};
  REQUIRE(::prlimit(pid, RLIMIT_NOFILE, nullptr, &out) == 0);
  return out;
}

constexpr int kMakeChild = 2;
constexpr int kMade = 3;
constexpr int kMakeOrphan = 4;    // a child that goes on when the server is gone
constexpr int kMakeStranger = 5;  // a child that becomes another user's

[[noreturn]] void live_as_child(int word, int server, int listener) {
  ::close(listener);
  ::alarm(60);
  if (word == kMakeStranger && (::setgid(65534) != 0 || ::setuid(65534) != 0)) ::_exit(1);
  if (word != kMakeOrphan) ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // after setuid, which takes that back
  if (word != kMakeOrphan && ::getppid() != server) ::_exit(0);  // killed before the line above
  for (;;) ::pause();
}

// Accepts, holds each connection for a moment, closes it; makes a child when it is told to (by the word).
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
    const int word = shared.word;
    if (word != kMakeChild && word != kMakeOrphan && word != kMakeStranger) continue;
    shared.word = kMade;
    const int server = ::getpid();
    const int child = ::fork();
    if (child == 0) live_as_child(word, server, listener);
    shared.made = static_cast<std::uint64_t>(child);
  }
}

struct Server {
  Server() : child([this] { return serve(*shared); }) {
    Control control;
    REQUIRE(control.until([&] { return shared->word == 1; }));
  }
  int make(Control& control, int what) {
    shared->made = 0;
    shared->word = what;
    REQUIRE(control.until([&] { return shared->made > 0; }));
    return static_cast<int>(shared->made);
  }
  SharedMemory shared;
  Child child;
  int pid() const { return child.pid(); }
};

bool drop_resource_capability() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective &= ~CAP_TO_MASK(CAP_SYS_RESOURCE);
  data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].permitted &= ~CAP_TO_MASK(CAP_SYS_RESOURCE);
  return ::syscall(SYS_capset, &header, data) == 0;
}

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
  const int child = server.make(control, kMakeChild);
  CHECK(limit_of(child).rlim_cur == plan.intended["limits"][0]);
  const UndoResult undone = control.undo(plan.steps[0].undo);
  INFO(undone.because);
  CHECK(undone.state == UndoState::undone);
  CHECK(undone.because.find("in 1 processes that it has started meanwhile") != std::string::npos);
  CHECK(limit_of(child).rlim_cur == was.rlim_cur);
}

TEST_CASE("heirs of a limit of descriptors get the old one back, whatever has become of that of the process", "[process.fds]") {
  Control control;
  Server server;
  const rlimit was = limit_of(server.pid());
  const FaultPlan plan = plan_fault(control, "process.fds", server.pid(), {{"spare", 10}});
  control.apply(plan.steps[0].apply);
  const int one = server.make(control, kMakeChild);
  REQUIRE(::prlimit(server.pid(), RLIMIT_NOFILE, &was, nullptr) == 0);  // as when an undo ended half way
  const UndoResult rest = control.undo(plan.steps[0].undo);
  INFO(rest.because);
  CHECK(rest.state == UndoState::undone);
  CHECK(limit_of(one).rlim_cur == was.rlim_cur);
  CHECK(control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo);

  const FaultPlan again = plan_fault(control, "process.fds", server.pid(), {{"spare", 10}});
  control.apply(again.steps[0].apply);
  const int two = server.make(control, kMakeChild);
  const rlimit theirs = {500, was.rlim_max};
  REQUIRE(::prlimit(server.pid(), RLIMIT_NOFILE, &theirs, nullptr) == 0);
  CHECK(control.undo(again.steps[0].undo).state == UndoState::refused);
  CHECK(limit_of(server.pid()).rlim_cur == 500);
  CHECK(limit_of(two).rlim_cur == was.rlim_cur);
}

TEST_CASE("an heir of a limit of descriptors that may not be touched is named, by every undo", "[process.fds]") {
  if (::geteuid() != 0) {
    WARN("skipped: only root can make a child of another user");
    return;
  }
  // Without the capability a process of another user is out of reach.
  Child helper([] {
    if (!drop_resource_capability()) return 10;
    Control control;
    Server server;
    const rlimit was = limit_of(server.pid());
    const FaultPlan plan = plan_fault(control, "process.fds", server.pid(), {{"spare", 10}});
    control.apply(plan.steps[0].apply);
    const int stranger = server.make(control, kMakeStranger);
    if (!control.until([&] { return ::prlimit(stranger, RLIMIT_NOFILE, nullptr, nullptr) != 0 && errno == EPERM; })) return 11;
    for (int times = 0; times < 2; ++times) {
      const UndoResult undone = control.undo(plan.steps[0].undo);
      if (undone.state != UndoState::failed || limit_of(server.pid()).rlim_cur != was.rlim_cur) return 12;
      if (undone.because.find(fmt::format("process {}, which it has started meanwhile, keeps our limit", stranger)) == std::string::npos) return 13;
      if (undone.remedy.find(fmt::format("prlimit --pid {} --nofile={}:{}", stranger, was.rlim_cur, was.rlim_max)) == std::string::npos) return 14;
    }
    ::kill(stranger, SIGKILL);
    if (!control.until([&] { return has_ended(ProcFs().threads(stranger)); })) return 15;
    return control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo ? 0 : 16;
  });
  Control control;
  std::optional<int> status;
  REQUIRE(control.until([&] {
    status = helper.poll();
    return status.has_value();
  }));
  CHECK(WIFEXITED(*status));
  CHECK(WEXITSTATUS(*status) == 0);
}

TEST_CASE("a child that lives on with a limit of descriptors when its parent has ended is named, and left alone", "[process.fds]") {
  Control control;
  Server server;
  const rlimit was = limit_of(server.pid());
  const FaultPlan plan = plan_fault(control, "process.fds", server.pid(), {{"spare", 10}});
  control.apply(plan.steps[0].apply);
  const int orphan = server.make(control, kMakeOrphan);
  server.child.kill();
  for (int times = 0; times < 2; ++times) {
    const UndoResult undone = control.undo(plan.steps[0].undo);
    INFO(undone.because);
    CHECK(undone.state == UndoState::refused);
    CHECK(undone.because.find(fmt::format("process {}, started since, has our limit of {}", orphan, plan.intended["limits"][0].dump())) != std::string::npos);
    CHECK(undone.remedy.find(fmt::format("prlimit --pid {} --nofile={}:{}", orphan, was.rlim_cur, was.rlim_max)) != std::string::npos);
  }
  CHECK(limit_of(orphan).rlim_cur == plan.intended["limits"][0]);
  ::kill(orphan, SIGKILL);
  CHECK(control.until([&] { return control.undo(plan.steps[0].undo).state == UndoState::nothing_to_undo; }));
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
