#include "injector/net/packet_sender.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "injector/base/error.h"
#include "injector/net/packet_bytes.h"
#include "injector/netlink/network_namespace.h"

namespace capsize {
namespace {

constexpr int kSendBuffer = 4 << 20;

UniqueFd open_raw(int family, std::uint32_t mark) {
  UniqueFd socket(::socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW));  // this protocol: the header is ours too
  if (!socket && errno == EAFNOSUPPORT) return socket;
  if (!socket) throw system_error(errno, "copies and answers could not be sent: no raw socket", "run capsize there with CAP_NET_RAW (as root)");
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) {
    throw system_error(errno, "copies and answers could not be marked as ours", "run capsize there with CAP_NET_ADMIN (as root)");
  }
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer) != 0) {
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer);
  }
  return socket;
}

bool is_link_local(std::span<const std::uint8_t> v6) { return v6[0] == 0xfe && (v6[1] & 0xc0) == 0x80; }

}  // namespace

PacketSender::PacketSender(const NetworkNamespace& place, std::uint32_t mark) {
  in_network_namespace(place, [&] {
    v4_ = open_raw(AF_INET, mark);
    v6_ = open_raw(AF_INET6, mark);
  });
}

bool PacketSender::send(std::span<const std::uint8_t> packet, std::uint32_t device) noexcept {
  const auto address = destination_of(packet);
  if (!is_unicast(address)) return false;
  const auto sent = [&](const UniqueFd& socket, const auto& to) {
    return socket && ::sendto(socket.get(), packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) >= 0;
  };
  if (address.size() == 4) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    std::memcpy(&to.sin_addr, address.data(), address.size());
    return sent(v4_, to);
  }
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  std::memcpy(&to.sin6_addr, address.data(), address.size());
  if (is_link_local(address)) to.sin6_scope_id = device;
  return sent(v6_, to);
}

}  // namespace capsize
