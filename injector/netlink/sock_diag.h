// The TCP sockets of a network namespace as the kernel tells them, and the end of one of them: SOCK_DESTROY, what `ss --kill` sends.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "injector/net/traffic.h"
#include "injector/netlink/netlink_message.h"

namespace capsize {

enum class TcpState : std::uint8_t { established = 1, syn_sent, syn_received, fin_wait_1, fin_wait_2, time_wait, close, close_wait, last_ack, listen, closing };
std::string_view to_string(TcpState state);

struct TcpSocket {
  // The kernel's own words for which socket this is; what is destroyed by them can be no other.
  struct Identity {
    bool v6_socket = false;  // also of an IPv6 socket with IPv4 ends
    std::array<std::uint8_t, 16> local{};  // as the kernel stores them: an IPv4 address is in the first four, a mapped one in the last
    std::array<std::uint8_t, 16> remote{};
    std::uint32_t device = 0;  // bound to it; 0: to none
    std::uint64_t cookie = 0;  // never used twice within a boot
    friend auto operator<=>(const Identity&, const Identity&) = default;
  };
  Identity identity;
  TcpState state = TcpState::close;
  AddressBlock local;   // whole addresses; a mapped one (::ffff:10.0.0.1) as the IPv4 address that its packets have
  AddressBlock remote;
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;
  std::uint64_t inode = 0;               // of the socket, as /proc/PID/fd shows it; 0: no process has it open (any more, or yet)
  std::uint32_t user = 0;
  std::optional<std::uint64_t> cgroup;   // inode of its cgroup 2; none: the kernel does not tell
  friend bool operator==(const TcpSocket&, const TcpSocket&) = default;
};
std::string describe(const TcpSocket& socket);  // local end first: "127.0.0.1:80 - 127.0.0.1:40112"

// The payload of one answer to a dump; nothing for what is not of that form. Pure.
std::optional<TcpSocket> parse_tcp_socket(BytesView payload);

// Those in any of `states`, of both families. Throws Error. Thread: any.
std::vector<TcpSocket> list_tcp_sockets(const NetworkNamespace& place, const std::vector<TcpState>& states);

enum class Cut {
  done,          // its process reads ECONNABORTED, its peer is sent a reset
  already_gone,  // closed meanwhile, or by the reset of its other end when that was cut first
  refused,       // the kernel said no: see CutAnswer::error
};
struct CutAnswer {
  Cut cut = Cut::refused;
  int error = 0;  // errno
};

// Ends connections, in order; one answer for each. Throws Error: privilege (CAP_NET_ADMIN), unavailable (the kernel cannot). Thread: any.
std::vector<CutAnswer> cut_tcp_sockets(const NetworkNamespace& place, const std::vector<TcpSocket>& sockets);

}  // namespace capsize
