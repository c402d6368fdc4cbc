#include "injector/netlink/sock_diag.h"

#include <fmt/format.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "injector/netlink/netlink_socket.h"
#include "injector/netlink/structures.h"

namespace capsize {
namespace {

constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

AddressBlock block_of(bool v6_socket, const std::array<std::uint8_t, 16>& bytes) {
  if (v6_socket && !std::equal(kMapped.begin(), kMapped.end(), bytes.begin())) return {true, bytes, 128};
  AddressBlock out{false, {}, 32};
  const auto from = v6_socket ? bytes.begin() + 12 : bytes.begin();
  std::copy(from, from + 4, out.bytes.begin());
  return out;
}

template <std::size_t N>
std::array<std::uint8_t, 16> address_bytes(const __be32 (&words)[N]) {
  static_assert(sizeof words == 16);
  std::array<std::uint8_t, 16> out;
  std::memcpy(out.data(), words, sizeof words);
  return out;
}

inet_diag_req_v2 request_for(std::uint8_t family, std::uint32_t states) {
  inet_diag_req_v2 request{};
  request.sdiag_family = family;
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = states;
  return request;
}

inet_diag_req_v2 request_for(const TcpSocket& socket) {
  const TcpSocket::Identity& identity = socket.identity;
  inet_diag_req_v2 request = request_for(identity.v6_socket ? AF_INET6 : AF_INET, ~0u);
  request.id.idiag_sport = htons(socket.local_port);
  request.id.idiag_dport = htons(socket.remote_port);
  std::memcpy(request.id.idiag_src, identity.local.data(), identity.local.size());
  std::memcpy(request.id.idiag_dst, identity.remote.data(), identity.remote.size());
  request.id.idiag_if = identity.device;
  request.id.idiag_cookie[0] = static_cast<std::uint32_t>(identity.cookie);
  request.id.idiag_cookie[1] = static_cast<std::uint32_t>(identity.cookie >> 32);
  return request;
}

std::string end_of(const AddressBlock& address, std::uint16_t port) { return fmt::format(fmt::runtime(address.v6 ? "[{}]:{}" : "{}:{}"), show(address), port); }

CutAnswer cut(NetlinkSocket& socket, const TcpSocket& connection) {
  NetlinkWriter message;
  message.message(SOCK_DESTROY, 0, request_for(connection));
  try {
    socket.request(std::move(message), "cutting the connection " + describe(connection));
    return {Cut::done, 0};
  } catch (const NetlinkError& error) {
    if (error.kind() == ErrorKind::privilege) throw;
    if (error.code() == EOPNOTSUPP) throw Error(ErrorKind::unavailable, "this kernel cannot end connections", "it was built without CONFIG_INET_DIAG_DESTROY: Debian's kernels have it");
    const bool gone = error.code() == ENOENT || error.code() == ESTALE;  // no such socket; another one with those ends
    return {gone ? Cut::already_gone : Cut::refused, error.code()};
  }
}

}  // namespace

std::string_view to_string(TcpState state) {
  switch (state) {
    case TcpState::established: return "established";
    case TcpState::syn_sent: return "syn_sent";
    case TcpState::syn_received: return "syn_received";
    case TcpState::fin_wait_1: return "fin_wait_1";
    case TcpState::fin_wait_2: return "fin_wait_2";
    case TcpState::time_wait: return "time_wait";
    case TcpState::close: return "close";
    case TcpState::close_wait: return "close_wait";
    case TcpState::last_ack: return "last_ack";
    case TcpState::listen: return "listen";
    case TcpState::closing: break;
  }
  return "closing";
}

std::string describe(const TcpSocket& socket) { return fmt::format("{} - {}", end_of(socket.local, socket.local_port), end_of(socket.remote, socket.remote_port)); }

std::optional<TcpSocket> parse_tcp_socket(BytesView payload) {
  const auto head = structure_at<inet_diag_msg>(payload);
  if (!head || (head->idiag_family != AF_INET && head->idiag_family != AF_INET6)) return std::nullopt;
  TcpSocket out;
  out.identity.v6_socket = head->idiag_family == AF_INET6;
  out.identity.local = address_bytes(head->id.idiag_src);
  out.identity.remote = address_bytes(head->id.idiag_dst);
  out.identity.device = head->id.idiag_if;
  out.identity.cookie = std::uint64_t{head->id.idiag_cookie[1]} << 32 | head->id.idiag_cookie[0];
  out.state = static_cast<TcpState>(head->idiag_state);
  out.local = block_of(out.identity.v6_socket, out.identity.local);
  out.remote = block_of(out.identity.v6_socket, out.identity.remote);
  out.local_port = ntohs(head->id.idiag_sport);
  out.remote_port = ntohs(head->id.idiag_dport);
  out.inode = head->idiag_inode;
  out.user = head->idiag_uid;
  out.cgroup = Attributes(behind<inet_diag_msg>(payload)).value<std::uint64_t>(INET_DIAG_CGROUP_ID);
  return out;
}

std::vector<TcpSocket> list_tcp_sockets(const NetworkNamespace& place, const std::vector<TcpState>& states) {
  std::uint32_t mask = 0;
  for (const TcpState state : states) mask |= 1u << static_cast<int>(state);
  NetlinkSocket socket(NETLINK_SOCK_DIAG, place);
  std::vector<TcpSocket> out;
  std::set<std::uint64_t> seen;  // a socket may be told twice when others come and go meanwhile
  for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    NetlinkWriter message;
    message.message(SOCK_DIAG_BY_FAMILY, 0, request_for(family, mask));
    for (const NetlinkReply& reply : socket.dump(std::move(message), "listing TCP connections")) {
      const auto found = parse_tcp_socket(reply.payload);
      if (found && found->identity.v6_socket == (family == AF_INET6) && seen.insert(found->identity.cookie).second) out.push_back(*found);
    }
  }
  return out;
}

std::vector<CutAnswer> cut_tcp_sockets(const NetworkNamespace& place, const std::vector<TcpSocket>& sockets) {
  std::vector<CutAnswer> out;
  if (sockets.empty()) return out;
  NetlinkSocket socket(NETLINK_SOCK_DIAG, place);
  out.reserve(sockets.size());
  for (const TcpSocket& connection : sockets) out.push_back(cut(socket, connection));
  return out;
}

}  // namespace capsize
