#include "injector/netlink/queue_wire.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace capsize {
namespace {

static_assert(kVerdictMessage == ((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_VERDICT));
static_assert(kMostCopiedBytes == 0xffff - NLA_HDRLEN);
constexpr std::uint16_t kPacketMessage = (NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET;
constexpr std::uint16_t kConfigMessage = (NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_CONFIG;

constexpr std::size_t aligned(std::size_t length) { return (length + 3) & ~std::size_t{3}; }

template <class T>
std::optional<T> read(std::span<const std::uint8_t> bytes, std::size_t at = 0) {
  if (bytes.size() < at + sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <class T>
void append(WireBytes& out, const T& value) {
  const std::size_t at = out.size();
  out.resize(at + sizeof value);
  std::memcpy(out.data() + at, &value, sizeof value);
}

void put_attribute(WireBytes& out, std::uint16_t type, const void* data, std::size_t size) {
  append(out, nlattr{static_cast<std::uint16_t>(NLA_HDRLEN + size), type});
  const std::size_t at = out.size();
  out.resize(at + aligned(size));
  if (size > 0) std::memcpy(out.data() + at, data, size);
}

template <class T>
void put_attribute(WireBytes& out, std::uint16_t type, const T& value) {
  put_attribute(out, type, &value, sizeof value);
}

// Where the message begins; its length is filled in by end_message().
std::size_t begin_message(WireBytes& out, std::uint16_t type, std::uint16_t flags, std::uint16_t queue, std::uint32_t sequence) {
  const std::size_t at = out.size();
  append(out, nlmsghdr{0, type, static_cast<std::uint16_t>(NLM_F_REQUEST | flags), sequence, 0});
  append(out, nfgenmsg{AF_UNSPEC, NFNETLINK_V0, htons(queue)});
  return at;
}

void end_message(WireBytes& out, std::size_t at) {
  const auto length = static_cast<std::uint32_t>(out.size() - at);
  std::memcpy(out.data() + at, &length, sizeof length);
}

std::optional<QueuedPacket> read_packet(std::span<const std::uint8_t> attributes) {
  QueuedPacket packet;
  bool has_id = false;
  while (const auto header = read<nlattr>(attributes)) {
    if (header->nla_len < NLA_HDRLEN || header->nla_len > attributes.size()) break;
    const auto value = attributes.subspan(NLA_HDRLEN, header->nla_len - std::size_t{NLA_HDRLEN});
    switch (header->nla_type & NLA_TYPE_MASK) {
      case NFQA_PACKET_HDR:
        if (const auto head = read<nfqnl_msg_packet_hdr>(value)) {
          packet.id = ntohl(head->packet_id);
          packet.protocol = ntohs(head->hw_protocol);
          has_id = true;
        }
        break;
      case NFQA_IFINDEX_INDEV: packet.in_device = ntohl(read<std::uint32_t>(value).value_or(0)); break;
      case NFQA_CAP_LEN: packet.whole_length = ntohl(read<std::uint32_t>(value).value_or(0)); break;
      case NFQA_PAYLOAD: packet.bytes = value; break;
      default: break;
    }
    attributes = attributes.subspan(std::min(aligned(header->nla_len), attributes.size()));
  }
  if (!has_id) return std::nullopt;
  return packet;
}

}  // namespace

void read_queue_news(std::span<const std::uint8_t> datagram, QueueNews& news) {
  while (const auto header = read<nlmsghdr>(datagram)) {
    if (header->nlmsg_len < NLMSG_HDRLEN || header->nlmsg_len > datagram.size()) return;
    const auto body = datagram.subspan(NLMSG_HDRLEN, header->nlmsg_len - std::size_t{NLMSG_HDRLEN});
    if (header->nlmsg_type == kPacketMessage && body.size() >= sizeof(nfgenmsg)) {
      if (const auto packet = read_packet(body.subspan(sizeof(nfgenmsg)))) news.packets.push_back(*packet);
    } else if (header->nlmsg_type == NLMSG_ERROR) {
      if (const auto error = read<nlmsgerr>(body)) news.complaints.push_back({-error->error, error->msg.nlmsg_type, error->msg.nlmsg_seq});
    }
    datagram = datagram.subspan(std::min(aligned(header->nlmsg_len), datagram.size()));
  }
}

void put_bind(WireBytes& out, std::uint16_t queue, const QueueSetup& setup, std::uint32_t sequence) {
  const std::size_t at = begin_message(out, kConfigMessage, NLM_F_ACK, queue, sequence);
  put_attribute(out, NFQA_CFG_CMD, nfqnl_msg_config_cmd{NFQNL_CFG_CMD_BIND, 0, 0});
  const auto mode = static_cast<std::uint8_t>(setup.copy_bytes > 0 ? NFQNL_COPY_PACKET : NFQNL_COPY_META);
  put_attribute(out, NFQA_CFG_PARAMS, nfqnl_msg_config_params{htonl(setup.copy_bytes), mode});
  put_attribute(out, NFQA_CFG_QUEUE_MAXLEN, htonl(setup.most_packets));
  // A full queue lets packets through rather than losing them.
  const std::uint32_t flags = NFQA_CFG_F_FAIL_OPEN | (setup.whole_segments ? NFQA_CFG_F_GSO : 0);
  put_attribute(out, NFQA_CFG_MASK, htonl(NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_GSO));
  put_attribute(out, NFQA_CFG_FLAGS, htonl(flags));
  end_message(out, at);
}

void put_unbind(WireBytes& out, std::uint16_t queue, std::uint32_t sequence) {
  const std::size_t at = begin_message(out, kConfigMessage, 0, queue, sequence);
  put_attribute(out, NFQA_CFG_CMD, nfqnl_msg_config_cmd{NFQNL_CFG_CMD_UNBIND, 0, 0});
  end_message(out, at);
}

void put_verdict(WireBytes& out, std::uint16_t queue, std::uint32_t id, bool accept, std::span<const std::uint8_t> replacement, std::uint32_t sequence) {
  const std::size_t at = begin_message(out, kVerdictMessage, 0, queue, sequence);
  put_attribute(out, NFQA_VERDICT_HDR, nfqnl_msg_verdict_hdr{htonl(accept ? NF_ACCEPT : NF_DROP), htonl(id)});
  if (!replacement.empty()) put_attribute(out, NFQA_PAYLOAD, replacement.data(), replacement.size());
  end_message(out, at);
}

}  // namespace capsize
