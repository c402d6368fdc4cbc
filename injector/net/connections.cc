#include "injector/net/connections.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "injector/net/cgroup_folder.h"
#include "injector/net/json_parts.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxCgroups = 20000;  // below one that a match names

std::set<std::uint64_t> members_of(const std::string& path) {
  const fs::path top = cgroup_folder(path);
  std::set<std::uint64_t> out;
  const auto add = [&out](const fs::path& folder) {
    struct stat look = {};
    if (::stat(folder.c_str(), &look) == 0) out.insert(look.st_ino);
  };
  add(top);
  std::error_code problem;
  for (auto it = fs::recursive_directory_iterator(top, fs::directory_options::skip_permission_denied, problem); it != fs::recursive_directory_iterator(); it.increment(problem)) {
    if (problem || out.size() > kMaxCgroups) break;
    std::error_code gone;
    if (it->is_directory(gone)) add(it->path());
  }
  return out;
}

bool admits(const Side& side, const AddressBlock& address, std::uint16_t port) {
  const bool address_fits = side.addresses.empty() || std::any_of(side.addresses.begin(), side.addresses.end(), [&](const AddressBlock& block) { return contains(block, address); });
  const bool port_fits = side.ports.empty() || std::any_of(side.ports.begin(), side.ports.end(), [&](const PortRange& range) { return range.first <= port && port <= range.last; });
  return address_fits && port_fits;
}

bool is_of(const PacketMatch& match, const TcpSocket& socket, const CgroupMembers& cgroups) {
  if (match.protocol != Protocol::any && match.protocol != Protocol::tcp) return false;
  if (match.user && *match.user != socket.user) return false;
  if (!match.cgroup) return true;
  const auto members = cgroups.find(*match.cgroup);
  return members != cgroups.end() && socket.cgroup && members->second.count(*socket.cgroup) > 0;
}

bool sends(const PacketMatch& match, const TcpSocket& socket) {
  return admits(match.source, socket.local, socket.local_port) && admits(match.destination, socket.remote, socket.remote_port);
}

bool receives(const PacketMatch& match, const TcpSocket& socket) {
  return admits(match.source, socket.remote, socket.remote_port) && admits(match.destination, socket.local, socket.local_port);
}

bool carries_data(const TcpSocket& socket) {
  const bool half_closed = socket.state == TcpState::fin_wait_1 || socket.state == TcpState::fin_wait_2;
  return socket.state == TcpState::established || socket.state == TcpState::close_wait || (half_closed && socket.inode != 0);
}

Json list_of(const std::vector<PacketMatch>& matches) {
  Json out = Json::array();
  for (const PacketMatch& match : matches) out.push_back(to_json(match));
  return out;
}

}  // namespace

Json to_json(const ConnectionMatch& match) { return {{"place", to_json(match.place)}, {"affected", list_of(match.affected)}, {"exempt", list_of(match.exempt)}}; }

ConnectionMatch connection_match_from_json(const Json& json) {
  const JsonParts parts(json, "a choice of connections", {"place", "affected", "exempt"});
  ConnectionMatch out;
  out.place = network_namespace_from_json(parts.at("place"));
  for (const Json& item : parts.list("affected")) out.affected.push_back(packet_match_from_json(item));
  for (const Json& item : parts.list("exempt")) out.exempt.push_back(packet_match_from_json(item));
  return out;
}

CgroupMembers cgroup_members(const ConnectionMatch& match) {
  CgroupMembers out;
  for (const auto* matches : {&match.affected, &match.exempt}) {
    for (const PacketMatch& each : *matches) {
      if (each.cgroup && out.count(*each.cgroup) == 0) out[*each.cgroup] = members_of(*each.cgroup);
    }
  }
  return out;
}

bool selects(const PacketMatch& match, const TcpSocket& socket, const CgroupMembers& cgroups) {
  return is_of(match, socket, cgroups) && (match.hook == Hook::leave ? sends(match, socket) : receives(match, socket));
}

bool exempts(const PacketMatch& match, const TcpSocket& socket, const CgroupMembers& cgroups) {
  return is_of(match, socket, cgroups) && (sends(match, socket) || receives(match, socket));
}

SortedConnections sort_connections(const std::vector<TcpSocket>& sockets, const ConnectionMatch& match, const CgroupMembers& cgroups) {
  SortedConnections out;
  for (const TcpSocket& socket : sockets) {
    if (!carries_data(socket)) continue;
    const bool matched = std::any_of(match.affected.begin(), match.affected.end(), [&](const PacketMatch& each) { return selects(each, socket, cgroups); });
    const bool exempt = matched && std::any_of(match.exempt.begin(), match.exempt.end(), [&](const PacketMatch& each) { return exempts(each, socket, cgroups); });
    if (!matched) ++out.others;
    else if (exempt) ++out.exempt;
    else out.affected.push_back(socket);
  }
  return out;
}

SortedConnections find_connections(const ConnectionMatch& match) {
  const CgroupMembers cgroups = cgroup_members(match);
  const std::vector<TcpState> states = {TcpState::established, TcpState::close_wait, TcpState::fin_wait_1, TcpState::fin_wait_2};
  return sort_connections(list_tcp_sockets(match.place, states), match, cgroups);
}

}  // namespace capsize
