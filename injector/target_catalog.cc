// THE table of target types.
#include "injector/target_type.h"
#include "injector/targets/container.h"
#include "injector/targets/haproxy.h"
#include "injector/targets/host.h"
#include "injector/targets/network.h"
#include "injector/targets/process_selector.h"

namespace capsize {

const std::vector<TargetType>& target_catalog() {
  static const std::vector<TargetType> table = {
      {.name = "haproxy",
       .doc = "one backend of an HAProxy 2.4 or later, through its runtime API",
       .spec = []() -> const AnySpec& { return haproxy_target_spec(); },
       .example = {{"type", "haproxy"}, {"socket", "/run/haproxy/admin.sock"}, {"backend", "auth"}}},
      {.name = "process",
       .doc = "running processes: by pid, pid file, listening address, program, systemd unit or cgroup",
       .spec = process_spec,
       .example = {{"type", "process"}, {"pid_file", "/run/auth2.pid"}}},
      {.name = "container",
       .doc = "a container of Podman or Docker: all its processes, and its network namespace",
       .spec = container_spec,
       .example = {{"type", "container"}, {"name", "auth2"}}},
      {.name = "service",
       .doc = "a service of the network, by the address it listens at",
       .spec = service_spec,
       .example = {{"type", "service"}, {"address", "127.0.0.1:8081"}}},
      {.name = "network",
       .doc = "traffic of a machine, a container or a network namespace: between which addresses and ports, and who sends it",
       .spec = network_spec,
       .example = {{"type", "network"}, {"peers", {"10.0.0.0/8"}}, {"peer_ports", {5432}}}},
      {.name = "host",
       .doc = "a whole machine: which one, its \"host\" says; without it, this one",
       .spec = []() -> const AnySpec& { return host_target_spec(); },
       .example = {{"type", "host"}}},
  };
  return table;
}

const TargetType* find_target_type(std::string_view name) {
  for (const TargetType& type : target_catalog()) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

}  // namespace capsize
