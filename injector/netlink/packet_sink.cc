#include "injector/netlink/packet_sink.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>

#include <cerrno>

namespace capsize {
namespace {

constexpr std::uint32_t kFirstNumber = 0x8000;  // people choose small ones
constexpr std::uint32_t kNumbers = 0x7fff;
constexpr int kTries = 32;

void configure(NetlinkSocket& socket, std::uint16_t number, std::uint8_t command, const std::string& what) {
  NetlinkWriter message;
  message.message((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_CONFIG, 0, nfgenmsg{AF_UNSPEC, NFNETLINK_V0, htons(number)});
  message.value(NFQA_CFG_CMD, nfqnl_msg_config_cmd{command, 0, 0});
  socket.request(std::move(message), what);
}

}  // namespace

std::uint16_t bind_packet_sink(NetlinkSocket& socket, std::uint32_t wanted) {
  for (int tried = 0;; ++tried) {
    const auto number = static_cast<std::uint16_t>(kFirstNumber + (wanted + static_cast<std::uint32_t>(tried)) % kNumbers);
    try {
      configure(socket, number, NFQNL_CFG_CMD_BIND, "binding a queue that swallows packets");
      return number;
    } catch (const NetlinkError& error) {
      const bool taken = error.code() == EBUSY || error.code() == EPERM || error.code() == EEXIST;  // EPERM: by another socket
      if (!taken || tried + 1 == kTries) throw;
    }
  }
}

void unbind_packet_sink(NetlinkSocket& socket, std::uint16_t number) { configure(socket, number, NFQNL_CFG_CMD_UNBIND, "giving back the queue that swallowed packets"); }

}  // namespace capsize
