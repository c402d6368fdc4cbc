// What the faults of the network read: their targets, and the answers of their looks.
#include <fmt/format.h>

#include <algorithm>

#include "injector/faults/net.h"
#include "injector/faults/process_targets.h"
#include "injector/targets/container.h"

namespace capsize {
namespace {

constexpr std::uint16_t kDnsPort = 53;

bool is_every_address(std::string_view host) { return host == "0.0.0.0" || host == "::"; }

Error not_an_answer(const char* op, const char* problem) { return {ErrorKind::bug, fmt::format("not an answer of {}: {}", op, problem)}; }

AddressBlock block_of(const Json& json) {
  auto parsed = parse_address_block(json.get<std::string>());
  if (const auto* mistake = std::get_if<Mistake>(&parsed)) throw Error(ErrorKind::bug, mistake->fact);
  return std::get<AddressBlock>(parsed);
}

Side end_of(const Json& json) {
  Side side;
  side.addresses.push_back(block_of(json.at("address")));
  const auto port = json.at("port").get<std::uint16_t>();
  if (port != 0) side.ports.push_back({port, port});
  return side;
}

void add_admin_socket(const std::string& socket, NetGround& ground) {
  const auto parsed = parse_address(socket);
  const auto* address = std::get_if<Address>(&parsed);
  if (address == nullptr) return;
  GuardedPath path;
  path.what = fmt::format("HAProxy's admin socket {}, which this run needs in order to undo", socket);
  path.here.addresses = ground.own;
  path.there.ports.push_back({address->port, address->port});
  path.there.addresses = addresses_of(address->host, ground);
  if (!path.there.addresses.empty()) ground.control.push_back(std::move(path));  // a name that stands for nothing is reached by nobody
}

NetAim aim_at_network(const Json& target) {
  const NetworkTarget params = network_params().parse_or_throw(target);
  NetAim aim;
  aim.local = params.local;
  aim.peers = params.peers;
  aim.local_ports = params.local_ports;
  aim.peer_ports = params.peer_ports;
  aim.protocol = params.protocol;
  aim.user = params.user;
  aim.cgroup = params.cgroup;
  aim.network_namespace = params.network_namespace;
  aim.namespace_of = params.namespace_of;
  const bool has_ports = !aim.local_ports.empty() || !aim.peer_ports.empty();
  if (has_ports && aim.protocol == Protocol::icmp) throw Error(ErrorKind::refused, "icmp has no ports", "leave \"protocol\" or the ports out of the target");
  return aim;
}

NetAim aim_at_container(const Json& target) {
  const ContainerParams params = container_params().parse_or_throw(target);
  NetAim aim;
  aim.in_container = true;
  aim.peers = params.peers;
  aim.local_ports = params.local_ports;
  aim.peer_ports = params.peer_ports;
  aim.protocol = params.protocol;
  const bool has_ports = !aim.local_ports.empty() || !aim.peer_ports.empty();
  if (has_ports && aim.protocol == Protocol::icmp) throw Error(ErrorKind::refused, "icmp has no ports", "leave \"protocol\" or the ports out of the target");
  return aim;
}

}  // namespace

NetContainer container_from_json(const FaultRequest& request, const Json& answer) {
  try {
    const std::vector<Json> chosen = choose_containers(request, answer);
    if (chosen.size() > 1) throw Error(ErrorKind::refused, fmt::format("{} containers are meant: a fault of the network meets the packets of one", chosen.size()), "write \"match\": \"one\", or a fault for each");
    const Json& one = chosen.front();
    const TargetProcess first = target_process_from_json(one.at("first"));
    return {one.at("name").get<std::string>(), first.pid, one.at("network_namespace").get<std::uint64_t>(), one.value("host_network", false)};
  } catch (const Json::exception& problem) {
    throw not_an_answer("container.identify", problem.what());
  }
}

void move_into(const NetContainer& container, NetGround& ground) {
  ground.place_words = "container " + container.name;
  if (ground.place.inode != container.network_namespace) {
    throw Error(ErrorKind::changed, fmt::format("container {} was restarted while it was looked at", container.name), "plan again");
  }
  if (container.host_network || ground.own_namespace) {
    throw Error(ErrorKind::refused, fmt::format("container {} has the network of the host: its packets cannot be told from those of others", container.name),
                "aim at a \"service\" or a \"network\", by its ports or its user");
  }
}

NetAim aim_at_service(const std::string& host, std::uint16_t port) {
  NetAim aim;
  aim.is_service = true;
  aim.protocol = Protocol::tcp;
  if (!is_every_address(host)) aim.local.push_back({host});
  aim.local_ports.push_back({port, port});
  aim.words = show(Address{host, port});
  return aim;
}

NetAim aim_at(std::string_view target_type, const Json& target) {
  if (target_type == "network") return aim_at_network(target);
  if (target_type == "container") return aim_at_container(target);
  if (target_type != "service") throw Error(ErrorKind::bug, fmt::format("a fault of the network aimed at a target of type {}", target_type));
  const ServiceTarget params = service_params().parse_or_throw(target);
  NetAim aim = aim_at_service(params.address.host, params.address.port);
  aim.protocol = params.protocol == ServiceProtocol::tcp ? Protocol::tcp : Protocol::udp;
  aim.network_namespace = params.network_namespace;
  aim.namespace_of = params.namespace_of;
  return aim;
}

Op resolve_query(const NetAim& aim, const FaultRequest& request) {
  std::vector<std::string> names;
  const auto add = [&names](const std::string& text) {
    const bool literal = std::holds_alternative<AddressBlock>(parse_address_block(text));
    if (!literal && std::find(names.begin(), names.end(), text) == names.end()) names.push_back(text);
  };
  for (const NetworkPeer& peer : aim.local) add(peer.text);
  for (const NetworkPeer& peer : aim.peers) add(peer.text);
  for (const std::string& socket : request.keep_open) {
    const auto address = parse_address(socket);
    if (const auto* parsed = std::get_if<Address>(&address)) add(parsed->host);
  }
  Op query{"net.resolve", {{"names", names}}};
  if (aim.user) query.args["user"] = aim.user->text;
  if (aim.cgroup) query.args["cgroup"] = *aim.cgroup;
  if (aim.network_namespace) query.args["network_namespace"] = *aim.network_namespace;
  if (aim.namespace_of) query.args["namespace_of"] = aim.namespace_of->text;
  return query;
}

std::vector<AddressBlock> addresses_of(const std::string& text, const NetGround& ground) {
  const auto literal = parse_address_block(text);
  if (const auto* block = std::get_if<AddressBlock>(&literal)) return {*block};
  const auto found = ground.addresses.find(text);
  return found == ground.addresses.end() ? std::vector<AddressBlock>() : found->second;
}

bool is_own(const AddressBlock& block, const NetGround& ground) {
  return std::any_of(ground.own.begin(), ground.own.end(), [&](const AddressBlock& mine) { return contains(mine, block); });
}

void read_resolved(const Json& answer, NetGround& ground) {
  try {
    for (const auto& [name, list] : answer.at("addresses").items()) {
      auto& blocks = ground.addresses[name];
      for (const Json& item : list) blocks.push_back(block_of(item));
    }
    for (const auto& [name, problem] : answer.at("problems").items()) ground.problems[name] = problem.get<std::string>();
    for (const Json& item : answer.at("local")) ground.own.push_back(block_of(item));
    ground.place = network_namespace_from_json(answer.at("place"));
    ground.own_namespace = answer.at("own_namespace").get<bool>();
    ground.place_words = ground.place.path;
    if (answer.contains("user")) ground.user = answer["user"].get<std::uint32_t>();
  } catch (const Json::exception& problem) {
    throw not_an_answer("net.resolve", problem.what());
  }
}

NetCapabilities capabilities_from_json(const Json& answer) {
  try {
    NetCapabilities can;
    for (const auto& [key, member] : {std::pair{"cap_net_admin", &NetCapabilities::cap_net_admin}, {"rules", &NetCapabilities::rules}, {"egress_rules", &NetCapabilities::egress_rules},
                                      {"queue", &NetCapabilities::queue}, {"ifb", &NetCapabilities::ifb}, {"clsact", &NetCapabilities::clsact}, {"netem", &NetCapabilities::netem},
                                      {"tbf", &NetCapabilities::tbf}, {"sock_destroy", &NetCapabilities::sock_destroy}}) {
      can.*member = answer.at(key).get<bool>();
    }
    const Json missing = answer.value("missing", Json::object());
    for (const auto& [capability, remedy] : missing.items()) can.missing[capability] = remedy.get<std::string>();
    can.nonce = answer.at("nonce").get<std::string>();
    can.mark = answer.at("mark").get<std::uint32_t>();
    return can;
  } catch (const Json::exception& problem) {
    throw not_an_answer("net.capabilities", problem.what());
  }
}

void read_control_path(const Json& answer, const std::vector<std::string>& keep_open, NetGround& ground) {
  try {
    for (const Json& item : answer.at("connections")) {
      const auto place = item.value("namespace", std::uint64_t{0});
      if (place != 0 && ground.place.inode != 0 && place != ground.place.inode) continue;
      GuardedPath path;
      path.what = item.at("what").get<std::string>();
      path.here = end_of(item.at("local"));
      path.there = end_of(item.at("peer"));
      const Side& there = path.there;
      if (!there.addresses.empty() && !there.ports.empty()) path.what += fmt::format(" (with {})", show(Address{show(there.addresses[0]), there.ports[0].first}));
      ground.control.push_back(std::move(path));
    }
    if (!ground.own_namespace) return;  // what the agent itself connects to, it does from its own
    for (const Json& item : answer.at("resolvers")) {
      GuardedPath path;
      path.what = "the resolver " + item.get<std::string>();
      path.protocol = Protocol::any;
      path.here.addresses = ground.own;
      path.there.addresses.push_back(block_of(item));
      path.there.ports.push_back({kDnsPort, kDnsPort});
      path.resolver = true;
      ground.control.push_back(std::move(path));
    }
  } catch (const Json::exception& problem) {
    throw not_an_answer("net.control_path", problem.what());
  }
  for (const std::string& socket : keep_open) add_admin_socket(socket, ground);
}

}  // namespace capsize
