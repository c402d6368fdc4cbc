// Containers as targets, with a real Podman: all their processes, their own network, and nothing of the host.
#include <catch2/catch.hpp>

#include <fmt/format.h>

#include "injector/netlink/network_namespace.h"
#include "tests/system/podman.h"

using namespace capsize;
using namespace capsize::process_test;

namespace {

bool is_in(const std::vector<int>& pids, int pid) { return std::find(pids.begin(), pids.end(), pid) != pids.end(); }

// What a client in the namespace of `pid` meets at a port of its loopback: 0, or errno.
int connect_within(int pid, int port) {
  int error = 0;
  in_network_namespace(look_up_network_namespace(fmt::format("/proc/{}/ns/net", pid)), [&] {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(static_cast<std::uint16_t>(port));
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    error = ::connect(fd, reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0 ? 0 : errno;
    ::close(fd);
  });
  return error;
}

}  // namespace

TEST_CASE("all processes of a container are paused, and nothing of the host or of another container", "[container]") {
  Control control;
  Podman podman(control);
  podman.start("one", {"sh", "-c", "sleep 1000 & sleep 1001 & wait"});
  podman.start("two", {"sleep", "1002"});
  const int first = podman.pid_of("one");
  REQUIRE(control.until([&] { return !ProcFs().threads(first).empty(); }));
  std::vector<int> pids;
  REQUIRE(control.until([&] {
    pids = pids_of(control.plan("process.pause", podman.target("one")));
    return pids.size() == 3;
  }));
  CHECK(is_in(pids, first));
  CHECK_FALSE(is_in(pids, podman.pid_of("two")));
  for (const int pid : pids) CHECK(ProcFs().arguments(pid)->back().find("100") != std::string::npos);

  const FaultPlan plan = control.plan("process.pause", podman.target("one"));
  const Json before = control.look(plan.observe);
  std::vector<Applied> applied;
  for (const Step& step : plan.steps) applied.push_back(control.apply(step.apply));
  const Effect effect = find_fault("process.pause")->effect(plan, before, control.look(plan.observe));
  INFO(effect.because);
  CHECK(effect.bites);
  CHECK(runs(podman.pid_of("two")));
  for (Applied& one : applied) one.held->release();
  for (const Step& step : plan.steps) CHECK(control.undo(step.undo).state == UndoState::undone);

  const Json label = {{"type", "container"}, {"label", "app=test"}, {"command", {podman.wrapper()}}};
  const WhyNot two = why_not(control, "process.pause", label);
  CHECK(two.kind == ErrorKind::refused);
  CHECK(two.text.find("there are 2 containers with the label app=test") != std::string::npos);
  Json all = label;
  all["match"] = "all";
  CHECK(control.plan("process.pause", all).steps.size() == 4);
}

TEST_CASE("a container that is not there, does not run, or is asked of nobody is said so", "[container]") {
  Control control;
  Podman podman(control);
  podman.start("one", {"sleep", "1000"});
  CHECK(why_not(control, "process.pause", podman.target("three")).text.find("there is no container three") != std::string::npos);
  CHECK(why_not(control, "process.pause", podman.target("on")).kind == ErrorKind::unavailable);
  podman.podman({"kill", "one"});
  WhyNot ended;
  CHECK(control.until([&] {
    ended = why_not(control, "process.pause", podman.target("one"));
    return ended.text.find("container one does not run") != std::string::npos;
  }));
  const WhyNot nobody = why_not(control, "process.pause", {{"type", "container"}, {"name", "one"}, {"command", {"/nonexistent/podman"}}});
  CHECK(nobody.kind == ErrorKind::unavailable);
  CHECK(nobody.text.find("container one cannot be looked for: ") != std::string::npos);
  CHECK(nobody.text.find("/nonexistent/podman") != std::string::npos);
}

TEST_CASE("a fault of the network bites in the container's own network, and nowhere else", "[container][net]") {
  Control control;
  Podman podman(control);
  podman.start("web", {"httpd", "-f", "-p", "127.0.0.1:8080"});
  const int pid = podman.pid_of("web");
  REQUIRE(control.until([&] { return connect_within(pid, 8080) == 0; }));
  const Listener here;
  Json target = podman.target("web");
  target["local_ports"] = {8080};
  const FaultPlan plan = control.plan("net.reject", target);
  INFO(plan.summary);
  CHECK(plan.summary.find("in container web: ") == 0);
  const Json before = control.look(plan.observe);
  std::vector<Applied> applied;
  for (const Step& step : plan.steps) applied.push_back(control.apply(step.apply));
  CHECK(connect_within(pid, 8080) == ECONNREFUSED);
  CHECK(connect_within(::getpid(), here.port()) == 0);
  const Effect effect = find_fault("net.reject")->effect(plan, before, control.look(plan.observe));
  INFO(effect.because);
  CHECK(effect.bites);
  for (Applied& one : applied) one.held->release();
  for (const Step& step : plan.steps) CHECK(control.undo(step.undo).state != UndoState::failed);
  CHECK(connect_within(pid, 8080) == 0);

  podman.start("shared", {"sleep", "1000"}, "host");
  const WhyNot shared = why_not(control, "net.reject", podman.target("shared"));
  CHECK(shared.kind == ErrorKind::refused);
  CHECK(shared.text.find("container shared has the network of the host") != std::string::npos);
}

TEST_CASE("a killed container is started again by the playbook's command, as other processes", "[container][process.kill]") {
  Control control;
  StateFolder folder(control);
  Podman podman(control);
  podman.start("one", {"sh", "-c", "sleep 1000 & wait"});
  const int old = podman.pid_of("one");
  REQUIRE(control.until([&] { return control.plan("process.pause", podman.target("one")).steps.size() == 2; }));
  const FaultPlan plan = control.plan("process.kill", podman.target("one"), {{"restart", {podman.wrapper(), "start", "one"}}}, {"irreversible"});
  const Json before = control.look(plan.observe);
  control.apply(plan.steps[0].apply);
  Effect effect;
  CHECK(control.until([&] {
    effect = find_fault("process.kill")->effect(plan, before, control.look(plan.observe));
    return effect.bites;
  }));
  INFO(effect.because);
  CHECK(effect.measured["of"] == 2);
  UndoResult result = control.undo(plan.steps[0].undo);
  INFO(result.because);
  CHECK(result.state == UndoState::undone);
  CHECK(podman.pid_of("one") != old);
  CHECK(podman.pid_of("one") > 0);
}
