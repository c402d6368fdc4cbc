#include "injector/targets/container.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace capsize {
namespace {

constexpr std::size_t kIdLength = 64;

bool is_id(std::string_view text) { return text.size() == kIdLength && text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }

Rule<std::optional<std::string>> a_label() {
  return {[](const std::optional<std::string>& label) -> std::optional<Mistake> {
            if (!label || (!label->empty() && label->front() != '=' && label->front() != '-' && label->find('\0') == std::string::npos)) return std::nullopt;
            return Mistake{"\"" + printable(*label, 60) + "\" is not a label", "write its name, or name and value, as \"app=auth\""};
          },
          {{"pattern", "^[^=-]"}}};
}

// "libpod-ID.scope", "docker-ID.scope", "libpod-ID", "ID"; not "libpod-conmon-ID.scope", where its monitor is.
bool carries(std::string_view component, std::string_view id) {
  if (component.ends_with(".scope")) component.remove_suffix(6);
  if (!component.ends_with(id)) return false;
  component.remove_suffix(id.size());
  return component.empty() || component == "libpod-" || component == "docker-";
}

}  // namespace

const Spec<ContainerParams>& container_params() {
  static const auto spec = Spec<ContainerParams>()
                               .optional("name", &ContainerParams::name, "its name, or its whole id")
                               .optional("label", &ContainerParams::label, "or a label that it has, as \"app=auth\"", a_label())
                               .optional("runtime", &ContainerParams::runtime, "who runs it; without it, whichever of them knows it")
                               .optional("command", &ContainerParams::command, "how the runtime's command line is called, as [\"podman\", \"--root\", \"/srv/containers\"]; without it, by its name")
                               .optional("match", &ContainerParams::match, "where several containers may have the label: \"all\", \"one\" of them or a share of them by chance; without it, several are a mistake")
                               .optional("peers", &ContainerParams::peers, "for faults of the network: addresses of the other side; without it, any")
                               .optional("local_ports", &ContainerParams::local_ports, "for faults of the network: ports of the container")
                               .optional("peer_ports", &ContainerParams::peer_ports, "for faults of the network: ports of the other side")
                               .optional("protocol", &ContainerParams::protocol, "for faults of the network")
                               .exactly_one_of({"name", "label"});
  return spec;
}

const AnySpec& container_spec() { return container_params(); }

std::optional<ContainerState> parse_container_state(std::string_view line) {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
  const auto first = line.find(' ');
  const auto second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  ContainerState out;
  out.id = line.substr(0, first);
  const std::string_view pid = line.substr(first + 1, second - first - 1);
  std::string_view name = line.substr(second + 1);
  if (name.starts_with('/')) name.remove_prefix(1);
  out.name = name;
  const auto number = std::from_chars(pid.data(), pid.data() + pid.size(), out.pid);
  const bool is_number = !pid.empty() && number.ec == std::errc() && number.ptr == pid.data() + pid.size() && out.pid >= 0;
  if (!is_id(out.id) || !is_number || !std::holds_alternative<Name>(parse_name(name))) return std::nullopt;
  return out;
}

std::vector<std::string> parse_container_ids(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (is_id(line)) out.emplace_back(line);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::map<std::string, std::string> container_cgroups(const std::map<std::string, std::string>& cgroups, const std::string& id) {
  std::map<std::string, std::string> out;
  for (const auto& [hierarchy, path] : cgroups) {
    for (std::size_t at = 1; at < path.size();) {
      const std::size_t end = std::min(path.find('/', at), path.size());
      if (carries(std::string_view(path).substr(at, end - at), id)) {
        out[hierarchy] = path.substr(0, end);
        break;
      }
      at = end + 1;
    }
  }
  return out;
}

bool is_in_another_container(const std::map<std::string, std::string>& cgroups, const std::string& id) {
  for (const auto& [hierarchy, path] : cgroups) {
    for (std::size_t at = 0; at < path.size();) {
      const std::size_t end = std::min(path.find('/', at), path.size());
      std::string_view part = std::string_view(path).substr(at, end - at);
      at = end + 1;
      if (part.ends_with(".scope")) part.remove_suffix(6);
      if (part.size() < kIdLength) continue;
      const std::string_view last = part.substr(part.size() - kIdLength);
      if (is_id(last) && last != id) return true;
    }
  }
  return false;
}

SelectedProcesses processes_of_container(const ContainerState& container, const TargetProcess& init, const ProcFs& proc) {
  SelectedProcesses out;
  out.that = "of the container " + container.name;
  const auto groups = container_cgroups(init.cgroups, container.id);
  if (!groups.empty()) {
    const auto& [hierarchy, path] = *groups.begin();
    out.processes = processes_that(out.that, proc, [hierarchy = hierarchy, path = path, &proc](int pid) {
      const auto theirs = proc.cgroups(pid);
      const auto found = theirs.find(hierarchy);
      return found != theirs.end() && (found->second + "/").starts_with(path + "/") ? Proof::yes : Proof::no;
    });
    return out;
  }
  const auto inside = proc.namespace_of(init.pid, "pid");
  const auto own = proc.own_namespace("pid");
  if (!inside || !own) throw Error(ErrorKind::privilege, fmt::format("container {}: its namespaces cannot be seen", container.name), "run capsize there as root or with CAP_SYS_PTRACE");
  if (*inside == *own) {
    throw Error(ErrorKind::refused, fmt::format("container {} has neither a cgroup nor a pid namespace of its own: its processes cannot be told from those of the host", container.name),
                "aim at its processes by \"pid_file\", \"listens_on\" or \"exe\"");
  }
  out.processes = processes_that(out.that, proc, [inside, &proc](int pid) {
    const auto theirs = proc.namespace_of(pid, "pid");
    if (theirs) return *theirs == *inside ? Proof::yes : Proof::no;
    return errno == ENOENT || errno == ESRCH ? Proof::no : when_out_of_sight(pid, proc);
  });
  return out;
}

}  // namespace capsize
