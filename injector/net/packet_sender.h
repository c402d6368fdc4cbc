// Sends whole IP packets of anybody's address, marked as ours: copies of packets that arrived, and answers in another's name.
//
// A copy for this host comes back in over the loopback device: with all its bytes, to the same socket, but not over the device that the
// first one came over. So a socket bound to a device does not see it, and a filter that goes by device judges it as loopback traffic.
#pragma once
#include <cstdint>
#include <span>

#include "injector/base/unique_fd.h"
#include "injector/net/traffic.h"

namespace capsize {

class PacketSender {
 public:
  // Throws Error: privilege (CAP_NET_RAW, CAP_NET_ADMIN), changed (another namespace).
  PacketSender(const NetworkNamespace& place, std::uint32_t mark);

  // False: not sent, because it goes to a group of hosts (it would leave this host), is longer than a device takes, or has no route.
  bool send(std::span<const std::uint8_t> packet, std::uint32_t device) noexcept;

 private:
  UniqueFd v4_;
  UniqueFd v6_;  // none where the kernel has no IPv6
};

}  // namespace capsize
