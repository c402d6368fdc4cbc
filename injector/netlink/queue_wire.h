// The wire format of the kernel's packet queues (nfnetlink_queue), without a socket: what is sent to set one up, what arrives, and
// verdicts. Written by hand because libnl's objects know neither the flags that matter nor more than one packet a message.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace capsize {

using WireBytes = std::vector<std::uint8_t>;

struct QueuedPacket {
  std::uint32_t id = 0;            // of the kernel, counting up by one a packet
  std::uint16_t protocol = 0;      // ETH_P_IP, ETH_P_IPV6
  std::uint32_t in_device = 0;     // index; 0: not said
  std::uint32_t whole_length = 0;  // of the packet, where it is longer than what was copied; else 0
  std::span<const std::uint8_t> bytes;  // from the network header on; empty where only meta data is asked for
};

struct QueueComplaint {  // the kernel's answer to a message of ours
  int error = 0;             // an errno; 0: it was done
  std::uint16_t type = 0;    // of our message
  std::uint32_t sequence = 0;
};

struct QueueNews {  // of one datagram; views into it
  std::vector<QueuedPacket> packets;
  std::vector<QueueComplaint> complaints;
};

struct QueueSetup {
  std::uint32_t copy_bytes = 0;     // of each packet; 0: meta data only, which costs nothing per byte
  std::uint32_t most_packets = 0;   // held and unread ones together
  bool whole_segments = false;      // large packets of segmentation offload as they are; false: the kernel cuts them, and sums them up
};

inline constexpr std::uint32_t kMostCopiedBytes = 0xffff - 4;  // what an attribute can carry
inline constexpr std::uint16_t kVerdictMessage = (3 << 8) | 1;  // the type of a verdict, in a complaint about it

// Adds nothing that is not whole; what it does not know it skips; never reads beyond `datagram`.
void read_queue_news(std::span<const std::uint8_t> datagram, QueueNews& news);

// Messages appended to `out`. The kernel answers a bind in any case, the others only when they failed.
void put_bind(WireBytes& out, std::uint16_t queue, const QueueSetup& setup, std::uint32_t sequence);
void put_unbind(WireBytes& out, std::uint16_t queue, std::uint32_t sequence);
void put_verdict(WireBytes& out, std::uint16_t queue, std::uint32_t id, bool accept, std::span<const std::uint8_t> replacement, std::uint32_t sequence);

}  // namespace capsize
