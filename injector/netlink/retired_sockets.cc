#include "injector/netlink/retired_sockets.h"

#include <deque>
#include <variant>

namespace capsize {
namespace {

struct Retired {
  TimePoint since;
  std::variant<NetlinkSocket, UniqueFd> socket;
};

std::deque<Retired>& retired() {  // oldest first
  static std::deque<Retired> sockets;
  return sockets;
}

}  // namespace

void retire(NetlinkSocket socket) {
  close_retired();
  retired().push_back({SystemClock().now(), std::move(socket)});
}

void retire(UniqueFd socket) {
  close_retired();
  if (socket) retired().push_back({SystemClock().now(), std::move(socket)});
}

Duration close_retired() {
  auto& sockets = retired();
  const TimePoint now = SystemClock().now();
  while (!sockets.empty() && now - sockets.front().since >= kRetiredFor) sockets.pop_front();
  return sockets.empty() ? Duration() : sockets.back().since + kRetiredFor - now;
}

}  // namespace capsize
