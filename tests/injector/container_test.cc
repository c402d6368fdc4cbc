// What container runtimes say, read by total parsers; which cgroups are a container's; and which containers a target means.
#include "injector/faults/process_targets.h"
#include "injector/targets/container.h"
#include "tests/injector/net_view.h"
#include "tests/injector/process_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const std::string kId(64, 'a');

Json container(const std::string& name, std::vector<int> pids, std::uint64_t network = 200) {
  std::vector<Json> looks;
  for (const int pid : pids) looks.push_back(look_at(some_process(pid)));
  Json out = found(looks, "of the container " + name);
  out["name"] = name;
  out["id"] = kId;
  out["first"] = to_json(some_process(pids.at(0)));
  out["network_namespace"] = network;
  return out;
}

Json containers(std::vector<Json> all) { return {{"that", "with the label app=auth"}, {"containers", std::move(all)}}; }

ChosenProcesses choose(const Json& answer, Json target) {
  FaultRequest request;
  request.target_type = "container";
  request.target = std::move(target);
  return choose_among(request, answer);
}

Json machine_with(const Json& answer, bool own_namespace = false) {
  Json machine = net_machine();
  machine["container.identify"] = answer;
  machine["net.resolve"]["own_namespace"] = own_namespace;
  machine["net.resolve"]["place"] = {{"path", "/proc/12/ns/net"}, {"inode", 200}};
  return machine;
}

}  // namespace

TEST_CASE("the state of a container is read whole or not at all", "[container]") {
  CHECK(parse_container_state(kId + " 1234 auth1\n") == ContainerState{kId, "auth1", 1234});
  CHECK(parse_container_state(kId + " 0 /auth1\n") == ContainerState{kId, "auth1", 0});
  for (const std::string& wrong : std::vector<std::string>{"", kId, kId + " 12", kId + " x auth1", kId + " -1 auth1", "abc 12 auth1", kId + " 12 a b", kId + " 12 ", kId + " 12 a;b", "Error: no such container auth1"}) {
    INFO(wrong);
    CHECK_FALSE(parse_container_state(wrong));
  }
  CHECK(parse_container_ids(kId + "\nwarning: x\n" + std::string(64, 'b')) == std::vector<std::string>{kId, std::string(64, 'b')});
  CHECK(parse_container_ids("").empty());
}

TEST_CASE("the cgroups of a container carry its id, and that of its monitor is not one of them", "[container]") {
  using Groups = std::map<std::string, std::string>;
  CHECK(container_cgroups({{"", "/machine.slice/libpod-" + kId + ".scope/container"}}, kId) == Groups{{"", "/machine.slice/libpod-" + kId + ".scope"}});
  CHECK(container_cgroups({{"memory", "/docker/" + kId}, {"", "/"}}, kId) == Groups{{"memory", "/docker/" + kId}});
  CHECK(container_cgroups({{"cpu", "/libpod_parent/libpod-" + kId}}, kId) == Groups{{"cpu", "/libpod_parent/libpod-" + kId}});
  CHECK(container_cgroups({{"", "/system.slice/docker-" + kId + ".scope"}}, kId).size() == 1);
  CHECK(container_cgroups({{"", "/machine.slice/libpod-conmon-" + kId + ".scope"}}, kId).empty());
  CHECK(container_cgroups({{"", "/x" + kId}}, kId).empty());
  CHECK(container_cgroups({{"", "/docker/" + std::string(64, 'b')}}, kId).empty());
  CHECK(container_cgroups({}, kId).empty());
}

TEST_CASE("a process whose cgroups carry the id of another container is a stranger", "[container]") {
  const std::string other(64, 'b');
  CHECK(is_in_another_container({{"memory", "/docker/" + other}}, kId));
  CHECK(is_in_another_container({{"", "/"}, {"cpu", "/machine.slice/libpod-" + other + ".scope/container"}}, kId));
  CHECK(is_in_another_container({{"", "/kubepods.slice/cri-containerd-" + other + ".scope"}}, kId));
  CHECK_FALSE(is_in_another_container({{"", "/docker/" + kId}}, kId));
  CHECK_FALSE(is_in_another_container({{"", "/machine.slice/libpod-conmon-" + kId + ".scope"}}, kId));
  CHECK_FALSE(is_in_another_container({{"", "/system.slice/nginx.service"}, {"memory", "/user/" + other.substr(1)}}, kId));
  CHECK_FALSE(is_in_another_container({{"", "/" + std::string(64, 'z')}}, kId));
  CHECK_FALSE(is_in_another_container({}, kId));
}

TEST_CASE("a container is named by name or by label", "[container]") {
  const auto problems = [](const Json& target) {
    Diagnostics diagnostics;
    container_spec().validate(target, "", {"type", "host"}, diagnostics);
    return diagnostics.text("p.json");
  };
  CHECK(problems({{"name", "auth1"}}) == "");
  CHECK(problems({{"label", "app=auth"}, {"match", "50%"}, {"runtime", "docker"}}) == "");
  CHECK(problems({{"name", "auth1"}, {"command", {"podman", "--root", "/x"}}, {"local_ports", {8443}}, {"peers", {"10.0.0.0/8"}}}) == "");
  CHECK(problems(Json::object()).find("add one of them") != std::string::npos);
  CHECK(problems({{"name", "a b"}}).find("/name") != std::string::npos);
  CHECK(problems({{"label", "--all"}}).find("is not a label") != std::string::npos);
  CHECK(problems({{"name", "x"}, {"runtime", "lxc"}}).find("known: \"podman\", \"docker\"") != std::string::npos);
}

TEST_CASE("all processes of a container are meant, and of several containers as many as the target says", "[container][targets]") {
  const ChosenProcesses one = choose(containers({container("auth1", {12, 13, 14})}), {{"name", "auth1"}});
  CHECK(one.processes == std::vector<TargetProcess>{some_process(12), some_process(13), some_process(14)});
  CHECK(one.words == "all 3 processes of the container auth1");
  CHECK(choose(containers({container("auth1", {12})}), {{"name", "auth1"}}).words == "process 12 (server) of the container auth1");
  const Json two = containers({container("auth1", {12}), container("auth2", {22, 23})});
  CHECK_THROWS_WITH(choose(two, {{"label", "app=auth"}}), Catch::Contains("there are 2 containers with the label app=auth: auth1, auth2"));
  CHECK(choose(two, {{"label", "app=auth"}, {"match", "all"}}).words == "all 3 processes of 2 containers with the label app=auth");
  CHECK(choose(two, {{"label", "app=auth"}, {"match", "one"}}).processes.size() <= 2);
  CHECK_THROWS_WITH(choose(containers({}), {{"label", "app=auth"}}), Catch::Contains("there are no containers"));
}

TEST_CASE("each process of a container is paused", "[container][process.pause]") {
  ProcessView view({{"container.identify", containers({container("auth1", {12, 13})})}});
  FaultRequest request;
  request.target_type = "container";
  request.target = {{"name", "auth1"}};
  const FaultPlan plan = plan_fault("process.pause", request, view);
  CHECK(view.asked.at(0) == Op{"container.identify", {{"name", "auth1"}}});
  CHECK(plan.steps.size() == 2);
  CHECK(plan.summary == "all 2 processes of the container auth1 (12, 13) are paused, each by tracing it: the kernel lets it go should capsize die");
}

TEST_CASE("a fault of the network meets packets in the container's own network namespace", "[container][net]") {
  for (const char* fault : {"net.delay", "net.loss", "net.rate", "net.blackhole", "net.reject", "net.duplicate", "net.corrupt", "net.reorder", "net.cut", "net.partition", "net.dns"}) CHECK(accepts(*find_fault(fault), "container"));
  NetView view(machine_with(containers({container("auth1", {12})})));
  const FaultPlan plan = plan_of("net.delay", "container", {{"name", "auth1"}, {"local_ports", {8443}}}, {{"delay", "50ms"}}, view);
  CHECK(view.asked["net.resolve"]["namespace_of"] == "12");
  CHECK(impairment_of(plan).place.inode == 200);
  CHECK(plan.summary.find("in container auth1: ") == 0);
  CHECK(plan.summary.find("8443") != std::string::npos);
}

TEST_CASE("a container without a network of its own, or one that was restarted meanwhile, is refused", "[container][net]") {
  const Json target = {{"name", "auth1"}};
  says(refusal_of("net.delay", "container", target, {{"delay", "50ms"}}, machine_with(containers({container("auth1", {12})}), true)), ErrorKind::refused, "has the network of the host");
  Json beside_agent = container("auth1", {12});  // the agent was put into another network
  beside_agent["host_network"] = true;
  says(refusal_of("net.delay", "container", target, {{"delay", "50ms"}}, machine_with(containers({beside_agent}))), ErrorKind::refused, "has the network of the host");
  says(refusal_of("net.delay", "container", target, {{"delay", "50ms"}}, machine_with(containers({container("auth1", {12}, 201)}))), ErrorKind::changed, "was restarted while it was looked at");
  says(refusal_of("net.delay", "container", {{"label", "app=auth"}, {"match", "all"}}, {{"delay", "50ms"}}, machine_with(containers({container("auth1", {12}), container("auth2", {22})}))), ErrorKind::refused,
       "2 containers are meant");
}
