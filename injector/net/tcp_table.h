// The TCP sockets of a network namespace as /proc/PID/net/tcp and tcp6 list them.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "injector/net/traffic.h"

namespace capsize {

struct TcpEnd {
  AddressBlock address;
  std::uint16_t port = 0;
  friend bool operator==(const TcpEnd&, const TcpEnd&) = default;
};

struct TcpTableEntry {
  TcpEnd local;
  TcpEnd peer;
  bool listens = false;
  std::uint64_t inode = 0;  // of the socket; 0: it has no owner any more
};

// Total: lines that are not of that form are left out. IPv4 in IPv6 notation is IPv4.
std::vector<TcpTableEntry> parse_tcp_table(std::string_view text);

// The IPv4 address of ::ffff:a.b.c.d; any other as it is.
AddressBlock without_mapping(const AddressBlock& address);

}  // namespace capsize
