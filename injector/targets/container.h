// A container as a target: how a playbook names it, and what is known of it once it has been found. Its runtime (Podman, Docker) is asked for
// nothing but a process id; everything else is what the kernel says of that process.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/targets/network.h"
#include "injector/targets/process_selector.h"

namespace capsize {

enum class ContainerRuntime { podman, docker };
template <>
struct EnumWords<ContainerRuntime> {
  static constexpr std::array<std::pair<ContainerRuntime, std::string_view>, 2> words = {{{ContainerRuntime::podman, "podman"}, {ContainerRuntime::docker, "docker"}}};
};

struct ContainerParams {  // name or label
  std::optional<Name> name;
  std::optional<std::string> label;
  std::optional<ContainerRuntime> runtime;             // none: whichever of them knows it
  std::optional<std::vector<std::string>> command;     // instead of the runtime's name: how it is called
  std::optional<HowMany> match;                        // of containers
  std::vector<NetworkPeer> peers;                      // for faults of the network
  std::vector<PortRange> local_ports;
  std::vector<PortRange> peer_ports;
  Protocol protocol = Protocol::any;
};
const Spec<ContainerParams>& container_params();
const AnySpec& container_spec();

// What a runtime says of one: total, nothing for what is not of that form.
struct ContainerState {
  std::string id;    // 64 hex digits
  std::string name;  // without Docker's leading slash
  int pid = 0;       // 0: it does not run
  friend bool operator==(const ContainerState&, const ContainerState&) = default;
};
inline constexpr const char* kContainerFormat = "{{.Id}} {{.State.Pid}} {{.Name}}";  // for `inspect --format`
std::optional<ContainerState> parse_container_state(std::string_view line);
std::vector<std::string> parse_container_ids(std::string_view text);  // of `ps --quiet --no-trunc`

// Where the processes of the container `id` are, by the cgroups of one of them: hierarchy -> path. Empty: no cgroup carries its id.
std::map<std::string, std::string> container_cgroups(const std::map<std::string, std::string>& cgroups, const std::string& id);

// Whether they carry the id of a container that is not `id`: a pid of another machine or pid namespace may mean such a stranger here.
bool is_in_another_container(const std::map<std::string, std::string>& cgroups, const std::string& id);

// The processes of a container, whose first one is `init`: those of its cgroup, or else of its pid namespace. Throws Error: refused when
// neither tells them from the processes of the host, and as select_processes() does.
SelectedProcesses processes_of_container(const ContainerState& container, const TargetProcess& init, const ProcFs& proc);

}  // namespace capsize
