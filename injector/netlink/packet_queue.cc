#include "injector/netlink/packet_queue.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "injector/base/error.h"
#include "injector/netlink/network_namespace.h"

namespace capsize {
namespace {

constexpr int kReceiveBuffer = 64 << 20;       // room for what arrives while our thread waits for a processor
constexpr int kSendBuffer = 1 << 20;
constexpr std::size_t kFlushAt = 64 << 10;     // bytes of verdicts gathered
constexpr std::size_t kMetaBytes = 1024;       // of a message without its copy of the packet
constexpr unsigned kNumbersTried = 64;
constexpr std::uint16_t kFirstNumber = 1024;   // people number their own queues from 0
constexpr int kAnswerLimitMs = 5000;
constexpr int kSendTries = 1000;               // a millisecond apart

UniqueFd open_socket(const NetworkNamespace& place) {
  UniqueFd socket;
  int code = 0;
  in_network_namespace(place, [&] {
    socket.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
    code = errno;
  });
  if (!socket) {
    throw Error(ErrorKind::unavailable, fmt::format("the kernel has no netfilter over netlink: {}", std::strerror(code)), "modprobe nfnetlink");
  }
  sockaddr_nl self{};
  self.nl_family = AF_NETLINK;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&self), sizeof self) != 0) throw system_error(errno, "a netfilter socket could not be bound");
  return socket;
}

void tune(int fd) {
  // Beyond the limit of the host where we may; as large as it allows where not.
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) != 0) {
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  }
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer) != 0) {
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer);
  }
  const int on = 1;  // a full buffer shows in the packet ids; an error in its place would cost every message that waits
  ::setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
}

Error bind_error(int code) {
  if (code == EINVAL || code == EOPNOTSUPP || code == ENOENT) {
    return Error(ErrorKind::unavailable, "the kernel has no packet queues (nfnetlink_queue)", "modprobe nfnetlink_queue, or use a kernel with CONFIG_NETFILTER_NETLINK_QUEUE");
  }
  if (code == EPERM) return Error(ErrorKind::privilege, "packet queues may not be used: CAP_NET_ADMIN is missing in this network namespace", "run capsize there as root");
  return system_error(code, "a packet queue could not be made");
}

}  // namespace

PacketQueue::PacketQueue(const NetworkNamespace& place, const QueueSetup& setup, std::uint16_t first_number) : socket_(open_socket(place)) {
  tune(socket_.get());
  slot_bytes_ = (kMetaBytes + setup.copy_bytes + 7) & ~std::size_t{7};
  received_.resize(kBatch * slot_bytes_);
  bind_a_free_number(setup, first_number);
}

// A number in use answers EBUSY when it is our own, EPERM when it is another's: the same as where we may not at all.
void PacketQueue::bind_a_free_number(const QueueSetup& setup, std::uint16_t first_number) {
  int code = 0;
  for (unsigned tried = 0; tried < kNumbersTried; ++tried) {
    const unsigned span = 0x10000u - kFirstNumber;
    number_ = static_cast<std::uint16_t>(kFirstNumber + (first_number + tried) % span);
    WireBytes message;
    put_bind(message, number_, setup, ++sequence_);
    code = ask(message, sequence_);
    if (code == 0) return;
    if (code != EBUSY && code != EPERM) break;
  }
  throw bind_error(code);
}

// The errno the kernel answers with.
int PacketQueue::ask(const WireBytes& message, std::uint32_t sequence) {
  if (::send(socket_.get(), message.data(), message.size(), 0) < 0) return errno;
  for (;;) {
    for (const QueueComplaint& answer : receive().complaints) {
      if (answer.sequence == sequence) return answer.error;
    }
    pollfd wait{socket_.get(), POLLIN, 0};
    if (::poll(&wait, 1, kAnswerLimitMs) == 0) return ETIMEDOUT;
  }
}

const QueueNews& PacketQueue::receive() {
  std::array<mmsghdr, kBatch> messages{};
  std::array<iovec, kBatch> places{};
  std::array<sockaddr_nl, kBatch> senders{};
  for (unsigned i = 0; i < kBatch; ++i) {
    places[i] = {received_.data() + i * slot_bytes_, slot_bytes_};
    messages[i].msg_hdr.msg_iov = &places[i];
    messages[i].msg_hdr.msg_iovlen = 1;
    messages[i].msg_hdr.msg_name = &senders[i];
    messages[i].msg_hdr.msg_namelen = sizeof senders[i];
  }
  news_.packets.clear();
  news_.complaints.clear();
  more_ = false;
  const int count = ::recvmmsg(socket_.get(), messages.data(), kBatch, MSG_DONTWAIT, nullptr);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) return news_;
    throw system_error(errno, fmt::format("packet queue {} could not be read", number_));
  }
  more_ = count == static_cast<int>(kBatch);
  for (unsigned i = 0; i < static_cast<unsigned>(count); ++i) {
    if (senders[i].nl_pid != 0) continue;  // not from the kernel
    read_queue_news(std::span(received_).subspan(i * slot_bytes_, std::min<std::size_t>(messages[i].msg_len, slot_bytes_)), news_);
  }
  return news_;
}

UniqueFd PacketQueue::end() noexcept {
  try {
    WireBytes message;
    put_unbind(message, number_, ++sequence_);
    [[maybe_unused]] const auto sent = ::send(socket_.get(), message.data(), message.size(), 0);  // where this fails it ends with its socket
  } catch (const std::exception&) {
  }
  return std::move(socket_);
}

void PacketQueue::verdict(std::uint32_t id, bool accepted, std::span<const std::uint8_t> bytes) {
  if (verdicts_.size() + bytes.size() > kFlushAt) flush();
  put_verdict(verdicts_, number_, id, accepted, bytes, ++sequence_);
}

void PacketQueue::accept(std::uint32_t id) { verdict(id, true, {}); }
void PacketQueue::drop(std::uint32_t id) { verdict(id, false, {}); }
void PacketQueue::accept_as(std::uint32_t id, std::span<const std::uint8_t> bytes) {
  CAPSIZE_CHECK(bytes.size() <= kMostCopiedBytes);
  verdict(id, true, bytes);
}

// The kernel carries verdicts out while we send them: the packet goes its whole way on our time.
void PacketQueue::flush() {
  if (verdicts_.empty()) return;
  for (int tried = 0; ::send(socket_.get(), verdicts_.data(), verdicts_.size(), 0) < 0; ++tried) {
    const bool no_memory_now = errno == EAGAIN || errno == ENOBUFS;
    if (errno != EINTR && (!no_memory_now || tried >= kSendTries)) throw system_error(errno, fmt::format("packet queue {} takes no verdicts", number_));
    pollfd wait{socket_.get(), 0, 0};
    if (no_memory_now) ::poll(&wait, 1, 1);
  }
  verdicts_.clear();
}

}  // namespace capsize
