// net.control_path: the connections by which this host is controlled, and which a fault must not cut: the session that the agent was
// started from, the connections it speaks through, and the resolvers.
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "injector/base/error.h"
#include "injector/net/tcp_table.h"
#include "injector/ops/net_looks.h"
#include "injector/targets/process.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxConnections = 200;
// Programs that carry a person's or a program's session: every connection of theirs above us is one by which we are controlled.
constexpr std::array<std::string_view, 9> kSessionPrograms = {"sshd", "sshd-session", "dropbear", "in.telnetd", "telnetd", "mosh-server", "ttyd", "ssh", "kubectl"};

struct Connection {
  std::string what;
  TcpEnd local;
  TcpEnd peer;
  std::uint64_t place = 0;  // inode of its network namespace
};

std::string text_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// By inode; of the descriptors below `most` only.
std::set<std::uint64_t> sockets_of(const ProcFs& proc, int pid, int most) {
  std::set<std::uint64_t> out;
  const OpenFiles files = proc.open_files(pid);
  for (const auto& [number, inode] : files.socket_of) {
    if (number < most && inode != 0) out.insert(inode);
  }
  return out;
}

std::vector<TcpTableEntry> tables_of(const ProcFs& proc, int pid) {
  auto out = parse_tcp_table(text_of(proc.path(pid, "net/tcp")));
  const auto v6 = parse_tcp_table(text_of(proc.path(pid, "net/tcp6")));
  out.insert(out.end(), v6.begin(), v6.end());
  return out;
}

bool is_loopback(const AddressBlock& address) { return address.v6 ? show(address) == "::1" : address.bytes[0] == 127; }

enum class Which { standard_streams, all, from_elsewhere };

void add_connections(std::vector<Connection>& out, const ProcFs& proc, int pid, Which which, const std::string& what) {
  const auto wanted = sockets_of(proc, pid, which == Which::standard_streams ? 3 : 1 << 20);
  if (wanted.empty()) return;
  for (const TcpTableEntry& socket : tables_of(proc, pid)) {
    if (socket.listens || !wanted.contains(socket.inode) || out.size() >= kMaxConnections) continue;
    if (which == Which::from_elsewhere && (is_loopback(socket.peer.address) || socket.peer.address == socket.local.address)) continue;
    out.push_back({what, socket.local, socket.peer, proc.namespace_of(pid, "net").value_or(0)});
  }
}

std::string name_of(const ProcFs& proc, int pid) {
  const auto stat = proc.stat(pid);
  return stat ? printable(stat->comm, 64) : "";
}

bool is_capsize(const ProcFs& proc, int self, int pid) {
  const auto ours = proc.exe(self);
  const auto theirs = proc.exe(pid);
  return ours && theirs && ours->device == theirs->device && ours->inode == theirs->inode;
}

std::vector<int> children_of(const ProcFs& proc, int parent) {
  std::vector<int> out;
  for (const int pid : proc.pids()) {
    const auto stat = proc.stat(pid);
    if (stat && stat->parent == parent) out.push_back(pid);
  }
  return out;
}

void add_ancestors(std::vector<Connection>& out, const ProcFs& proc, int self) {
  add_connections(out, proc, self, Which::standard_streams, "the connection that capsize's agent speaks through");
  int depth = 0;
  for (const int pid : proc.ancestors(self)) {
    const std::string name = name_of(proc, pid);
    const std::string who = fmt::format("{} (process {}), from which capsize was started", name, pid);
    add_connections(out, proc, pid, Which::standard_streams, "the connection of " + who);
    const bool carries = std::find(kSessionPrograms.begin(), kSessionPrograms.end(), name) != kSessionPrograms.end();
    if (carries) add_connections(out, proc, pid, Which::all, "the session of " + who);
    else if (pid != 1 && !is_capsize(proc, self, pid)) add_connections(out, proc, pid, Which::from_elsewhere, "a connection of " + who);
    // The runner's other children are its ways to other hosts.
    if (depth++ > 0 || !is_capsize(proc, self, pid)) continue;
    for (const int sibling : children_of(proc, pid)) {
      if (sibling != self) add_connections(out, proc, sibling, Which::all, fmt::format("the way of capsize to another host ({}, process {})", name_of(proc, sibling), sibling));
    }
  }
}

// "192.0.2.9 50122 192.0.2.1 22": the client and the server of the session, as sshd sets it.
std::optional<Connection> ssh_connection(const std::string& value) {
  std::istringstream words(value);
  std::string client, server;
  unsigned client_port = 0, server_port = 0;
  if (!(words >> client >> client_port >> server >> server_port) || client_port > 65535 || server_port > 65535) return std::nullopt;
  const auto from = parse_address_block(client.substr(0, client.find('%')));
  const auto to = parse_address_block(server.substr(0, server.find('%')));
  if (!std::holds_alternative<AddressBlock>(from) || !std::holds_alternative<AddressBlock>(to)) return std::nullopt;
  Connection out;
  out.what = "the SSH session that capsize was started from";
  out.local = {std::get<AddressBlock>(to), static_cast<std::uint16_t>(server_port)};
  out.peer = {std::get<AddressBlock>(from), static_cast<std::uint16_t>(client_port)};
  return out;
}

Json to_json(const TcpEnd& end) { return {{"address", show(end.address)}, {"port", end.port}}; }

Task<Json> look(Json, OpContext&) {
  const char* session = std::getenv("SSH_CONNECTION");
  Json answer = find_control_path(ProcFs(), static_cast<int>(::getpid()), session == nullptr ? "" : session);
  for (const std::string& server : parse_nameservers(text_of("/etc/resolv.conf"))) answer["resolvers"].push_back(server);
  co_return answer;
}

}  // namespace

Json find_control_path(const ProcFs& proc, int self, const std::string& ssh_session) {
  std::vector<Connection> found;
  add_ancestors(found, proc, self);
  if (auto session = ssh_connection(ssh_session)) {
    session->place = proc.namespace_of(self, "net").value_or(0);
    found.push_back(std::move(*session));
  }
  Json answer = {{"connections", Json::array()}, {"resolvers", Json::array()}, {"namespace", proc.namespace_of(self, "net").value_or(0)}};
  std::set<std::string> seen;
  for (const Connection& connection : found) {
    Json one = {{"what", connection.what}, {"protocol", "tcp"}, {"local", to_json(connection.local)}, {"peer", to_json(connection.peer)}, {"namespace", connection.place}};
    if (!seen.insert(one["local"].dump() + one["peer"].dump()).second) continue;
    answer["connections"].push_back(std::move(one));
  }
  return answer;
}

std::vector<std::string> parse_nameservers(std::string_view text) {
  std::vector<std::string> out;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, value;
    if (!(words >> key >> value) || key != "nameserver") continue;
    const auto block = parse_address_block(value.substr(0, value.find('%')));
    if (const auto* address = std::get_if<AddressBlock>(&block)) out.push_back(show(*address));
  }
  return out;
}

OpType net_control_path() {
  OpType type{"net.control_path", Lasts::look, "the connections that this host is controlled by, and its resolvers"};
  type.look = look;
  return type;
}

}  // namespace capsize
