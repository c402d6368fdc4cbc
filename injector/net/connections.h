// Which TCP connections a network fault concerns: the same matches that select packets, asked of a socket instead.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "injector/net/traffic.h"
#include "injector/netlink/sock_diag.h"

namespace capsize {

struct ConnectionMatch {  // args of net.connections, net.cut and net.cut_done
  NetworkNamespace place;
  std::vector<PacketMatch> affected;  // a connection whose packets any of these selects ...
  std::vector<PacketMatch> exempt;    // ... and none of these, in whichever direction: the control path, always
  friend bool operator==(const ConnectionMatch&, const ConnectionMatch&) = default;
};
Json to_json(const ConnectionMatch& match);
ConnectionMatch connection_match_from_json(const Json& json);  // throws Error::bug for what is not one

// Inodes of the cgroups that a match names, and of all below them: a connection is of one of these. By the path that the match names.
using CgroupMembers = std::map<std::string, std::set<std::uint64_t>>;
CgroupMembers cgroup_members(const ConnectionMatch& match);  // throws Error::unavailable: there is no such cgroup

// A packet that arrives comes from the remote end, one that leaves from the local end. `user` and `cgroup` are those of the socket. Pure.
bool selects(const PacketMatch& match, const TcpSocket& socket, const CgroupMembers& cgroups);
// An exempt match counts whichever way it is written: over loopback what leaves one end arrives at the other. Pure.
bool exempts(const PacketMatch& match, const TcpSocket& socket, const CgroupMembers& cgroups);

struct SortedConnections {
  std::vector<TcpSocket> affected;   // matched, and to be cut
  std::size_t exempt = 0;            // matched, and left alone
  std::size_t others = 0;
};
// Connections that can still carry data: established ones, and half closed ones that a process has open. Throws Error. Thread: any.
SortedConnections find_connections(const ConnectionMatch& match);
SortedConnections sort_connections(const std::vector<TcpSocket>& sockets, const ConnectionMatch& match, const CgroupMembers& cgroups);  // pure

}  // namespace capsize
