// A queue number that swallows packets: bound, and never told to copy any, the kernel frees what is queued to it and tells the sender that
// it was sent. So a packet can be lost on its way out as a network loses it: no error for the application, nothing for TCP to notice but
// the missing acknowledgement. It lasts as long as the socket; nobody else can bind its number meanwhile.
#pragma once
#include <cstdint>

#include "injector/netlink/netlink_socket.h"

namespace capsize {

// Returns the number. `wanted`: where to begin looking for a free one. Throws NetlinkError.
std::uint16_t bind_packet_sink(NetlinkSocket& socket, std::uint32_t wanted);
void unbind_packet_sink(NetlinkSocket& socket, std::uint16_t number);

}  // namespace capsize
