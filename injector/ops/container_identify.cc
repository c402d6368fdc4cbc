// container.identify: which containers a name or a label means, by their runtime's word, and which processes and namespaces those have, by
// the kernel's. The runtime's command line is only asked; it changes nothing.
#include <fmt/format.h>

#include <algorithm>

#include "injector/base/run_program.h"
#include "injector/ops/process_ops.h"
#include "injector/targets/container.h"

namespace capsize {
namespace {

constexpr Duration kRuntimeLimit = std::chrono::seconds(10);  // of one question
constexpr std::size_t kMaxContainers = 50;
constexpr std::size_t kShortId = 12;  // as the runtimes show it

using Command = std::vector<std::string>;

struct Asked {
  bool there = false;  // the runtime could be started
  std::string why_not;
  ProgramResult result;
};

std::string first_line(const std::string& text) { return printable(std::string_view(text).substr(0, text.find('\n')), 200); }

Task<Asked> ask(Command command, Command words, Clock& clock) {
  command.insert(command.end(), words.begin(), words.end());
  Asked asked;
  try {
    asked.result = co_await run_program(clock, command, kRuntimeLimit);
    asked.there = true;
  } catch (const Error& problem) {
    asked.why_not = problem.fact();  // it is not installed, or may not be called, or the machine has no room for it
  }
  if (asked.there && !asked.result.ended) throw Error(ErrorKind::unavailable, fmt::format("{} did not answer within {}", command.front(), show(kRuntimeLimit)), "see what keeps it busy");
  co_return asked;
}

struct Known {
  std::vector<ContainerState> containers;
  bool there = false;
  std::string problem;  // what the runtime said instead, or why it could not be asked
};

Task<std::optional<ContainerState>> inspect(Command command, std::string container, Clock& clock) {
  Command words = {"inspect", "--type", "container", "--format", kContainerFormat, container};
  const Asked asked = co_await ask(command, words, clock);
  co_return asked.result.succeeded ? parse_container_state(asked.result.out) : std::nullopt;
}

Task<Known> known_to(Command command, ContainerParams params, Clock& clock) {
  Known known;
  const std::string filter = params.label ? "label=" + *params.label : "";
  Command words = {"ps", "--quiet", "--no-trunc"};
  if (params.label) words.insert(words.end(), {"--filter", filter});
  const Asked listed = co_await ask(command, words, clock);
  known.there = listed.there;
  if (!listed.result.succeeded) {
    known.problem = first_line(listed.there ? listed.result.err : listed.why_not);
    co_return known;
  }
  std::vector<std::string> wanted = params.name ? std::vector<std::string>{params.name->text} : parse_container_ids(listed.result.out);
  if (wanted.size() > kMaxContainers) throw Error(ErrorKind::refused, fmt::format("{} containers have the label {}: more than {}", wanted.size(), printable(*params.label), kMaxContainers), "select less");
  for (const std::string& one : wanted) {
    auto state = co_await inspect(command, one, clock);
    if (!state && params.label) {
      throw Error(ErrorKind::changed, fmt::format("container {} is listed by {}, which then does not describe it", one.substr(0, kShortId), printable(command.front())), "plan again");
    }
    if (!state) continue;  // there is none of that name
    const bool meant = !params.name || state->name == params.name->text || state->id == params.name->text;  // not one whose id only begins so
    if (meant) known.containers.push_back(std::move(*state));
  }
  co_return known;
}

struct Found {
  Command command;
  std::vector<ContainerState> containers;
};

Task<Found> find_containers(ContainerParams params, Clock& clock) {
  std::vector<Command> commands;
  if (params.command) commands.push_back(*params.command);
  else if (params.runtime) commands.push_back({ParamTraits<ContainerRuntime>::show(*params.runtime).get<std::string>()});
  else commands = {{"podman"}, {"docker"}};
  const std::string what = params.name ? "container " + params.name->text : "container with the label " + printable(params.label.value_or(""));
  Found found;
  std::string problems;
  std::string unasked;
  bool any = false;
  for (const Command& command : commands) {
    Known known = co_await known_to(command, params, clock);
    any = any || known.there;
    if (known.there && !known.problem.empty()) problems += fmt::format("; {}: {}", command.front(), known.problem);
    if (!known.there) unasked += fmt::format("{}{}", unasked.empty() ? "" : "; ", known.problem);
    if (known.containers.empty()) continue;
    if (!found.containers.empty()) throw Error(ErrorKind::refused, fmt::format("podman and docker both have a {}", what), "write \"runtime\" in the target");
    found.containers = std::move(known.containers);
    found.command = command;
  }
  if (!any) throw Error(ErrorKind::unavailable, fmt::format("{} cannot be looked for: {}", what, unasked), "install podman or docker, or write \"command\": how it is called");
  if (found.containers.empty()) throw Error(ErrorKind::unavailable, fmt::format("there is no {}{}", what, problems), "start it; and ask as its owner: a user's containers are seen by that user only");
  co_return found;
}

// Its first process, known for certain to be that container's: a cgroup carries the id, or the runtime says so again.
Task<TargetProcess> first_process(Command command, ContainerState container, Clock& clock) {
  if (container.pid == 0) throw Error(ErrorKind::unavailable, fmt::format("container {} does not run", container.name), "start it");
  const ProcFs proc;
  TargetProcess init = proc.identify(container.pid);
  if (!container_cgroups(init.cgroups, container.id).empty()) co_return init;
  if (is_in_another_container(init.cgroups, container.id)) {
    throw Error(ErrorKind::refused,
                fmt::format("container {}: process {} is in another container: {} counts the processes of another machine or pid namespace", container.name, container.pid,
                            printable(command.front())),
                "run the agent where the container runs, and ask the runtime of that machine");
  }
  const auto again = co_await inspect(command, container.id, clock);
  if (!again || again->pid != container.pid || proc.same_process(init).answer != Proof::yes) {
    throw Error(ErrorKind::changed, fmt::format("container {} was restarted while it was looked at", container.name), "plan again");
  }
  co_return init;
}

Json network_of(const TargetProcess& init, const ProcFs& proc) {
  const auto inode = proc.namespace_of(init.pid, "net");
  if (!inode) throw system_error(errno, fmt::format("the network namespace of {}", describe(init)), "run capsize there as root or with CAP_SYS_PTRACE");
  return *inode;
}

// The host is where process 1 is: the agent itself may have been put into another network. Out of sight: not known to be.
bool is_network_of_host(const Json& inode, const ProcFs& proc) {
  const auto host = proc.namespace_of(1, "net");
  return host && inode == *host;
}

Task<Json> look(Json args, OpContext& context) {
  const ContainerParams params = container_params().parse_or_throw(args);
  const Found found = co_await find_containers(params, context.clock);
  const ProcFs proc;
  Json answer = {{"that", params.label ? "with the label " + printable(*params.label) : "of the name " + params.name->text}, {"containers", Json::array()}};
  for (const ContainerState& container : found.containers) {
    const TargetProcess init = co_await first_process(found.command, container, context.clock);
    Json one = look_at_processes(processes_of_container(container, init, proc), context);
    one["name"] = container.name;
    one["id"] = container.id;
    one["first"] = to_json(init);
    one["network_namespace"] = network_of(init, proc);
    one["host_network"] = is_network_of_host(one["network_namespace"], proc);
    if (proc.same_process(init).answer != Proof::yes) throw Error(ErrorKind::changed, fmt::format("container {} ended while it was looked at", container.name), "plan again when it runs");
    answer["containers"].push_back(std::move(one));
  }
  co_return answer;
}

}  // namespace

OpType container_identify() {
  OpType type{"container.identify", Lasts::look, "which containers a name or a label means, and their processes and namespaces"};
  type.look = look;
  return type;
}

}  // namespace capsize
