// One packet queue of the kernel (nfnetlink_queue) and the socket it belongs to: packets that a rule sends there wait for a verdict of
// ours. When the socket closes, however it comes to that, the kernel drops what the queue holds, and a rule with bypass lets packets by.
#pragma once
#include <cstdint>
#include <vector>

#include "injector/base/unique_fd.h"
#include "injector/net/traffic.h"
#include "injector/netlink/queue_wire.h"

namespace capsize {

// Thread: made on any; then used by one.
class PacketQueue {
 public:
  // Takes the first free queue number of the namespace, looking from `first_number` on. Throws Error: privilege, unavailable (the kernel
  // has no packet queues, or no number was free), changed (another namespace).
  PacketQueue(const NetworkNamespace& place, const QueueSetup& setup, std::uint16_t first_number);
  PacketQueue(PacketQueue&&) noexcept = default;

  std::uint16_t number() const { return number_; }
  int fd() const { return socket_.get(); }  // readable when there is something to receive()

  // What has arrived, at most kBatch datagrams; empty: nothing. Views that live until the next call. Throws Error.
  const QueueNews& receive();
  bool more_to_receive() const { return more_; }

  // Gathered until flush(), or until there are many. Throw Error.
  void accept(std::uint32_t id);
  void drop(std::uint32_t id);
  void accept_as(std::uint32_t id, std::span<const std::uint8_t> bytes);  // in this form; at most kMostCopiedBytes
  void flush();

  // Ends the queue: the kernel drops what it holds, and its number is free. Leaves the socket, which may wait to be closed.
  UniqueFd end() noexcept;

  static constexpr unsigned kBatch = 32;

 private:
  int ask(const WireBytes& message, std::uint32_t sequence);
  void bind_a_free_number(const QueueSetup& setup, std::uint16_t first_number);
  void verdict(std::uint32_t id, bool accepted, std::span<const std::uint8_t> bytes);

  UniqueFd socket_;
  std::uint16_t number_ = 0;
  std::uint32_t sequence_ = 0;
  bool more_ = false;
  std::size_t slot_bytes_ = 0;
  WireBytes received_;  // kBatch slots
  WireBytes verdicts_;
  QueueNews news_;
};

}  // namespace capsize
