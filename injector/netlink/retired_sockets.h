// Sockets whose table has been removed. Closing one at once would wait (10 to 20 ms) for the kernel to have forgotten that table; a moment
// later it costs nothing. Traffic is normal and the table is gone before a socket comes here. Thread: control.
#pragma once
#include "injector/base/clock.h"
#include "injector/base/unique_fd.h"
#include "injector/netlink/netlink_socket.h"

namespace capsize {

inline constexpr Duration kRetiredFor = std::chrono::milliseconds(50);

void retire(NetlinkSocket socket);
void retire(UniqueFd socket);  // the same for one that held no table: closing any of netfilter waits for all tables removed before
// Closes those that have been here long enough; returns how long the youngest of the others still has to wait, zero when none is left.
Duration close_retired();

}  // namespace capsize
