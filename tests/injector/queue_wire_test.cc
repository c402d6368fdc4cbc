#include <catch2/catch.hpp>

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>

#include <cstring>

#include "injector/base/rng.h"
#include "injector/net/queue_engine.h"
#include "injector/netlink/queue_wire.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

void attribute(WireBytes& out, std::uint16_t type, const WireBytes& value) {
  const std::size_t length = 4 + value.size();
  out.push_back(static_cast<std::uint8_t>(length & 0xff));
  out.push_back(static_cast<std::uint8_t>(length >> 8));
  out.push_back(static_cast<std::uint8_t>(type & 0xff));
  out.push_back(static_cast<std::uint8_t>(type >> 8));
  out.insert(out.end(), value.begin(), value.end());
  out.resize((out.size() + 3) & ~std::size_t{3});
}

WireBytes message(std::uint16_t type, const WireBytes& body) {
  const nlmsghdr header{static_cast<std::uint32_t>(sizeof(nlmsghdr) + body.size()), type, 0, 0, 0};
  WireBytes out(sizeof header);
  std::memcpy(out.data(), &header, sizeof header);
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

WireBytes packet(std::uint32_t id, const WireBytes& payload) {
  WireBytes body = {0, 0, 0, 7};  // nfgenmsg
  attribute(body, NFQA_PACKET_HDR, {static_cast<std::uint8_t>(id >> 24), static_cast<std::uint8_t>(id >> 16), static_cast<std::uint8_t>(id >> 8), static_cast<std::uint8_t>(id), 0x86, 0xdd, 0});
  attribute(body, NFQA_IFINDEX_INDEV, {0, 0, 0, 3});
  attribute(body, NFQA_CAP_LEN, {0, 1, 0, 0});
  if (!payload.empty()) attribute(body, NFQA_PAYLOAD, payload);
  return message((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET, body);
}

QueueNews news_of(const WireBytes& datagram) {
  QueueNews news;
  read_queue_news(datagram, news);
  return news;
}

}  // namespace

TEST_CASE("a packet of the kernel's is read with its id, protocol, device, length and bytes", "[queue_wire]") {
  const WireBytes datagram = packet(0x01020304, {1, 2, 3, 4, 5});
  const QueueNews news = news_of(datagram);
  REQUIRE(news.packets.size() == 1);
  const QueuedPacket& got = news.packets[0];
  CHECK(got.id == 0x01020304);
  CHECK(got.protocol == 0x86dd);
  CHECK(got.in_device == 3);
  CHECK(got.whole_length == 0x10000);
  CHECK(WireBytes(got.bytes.begin(), got.bytes.end()) == WireBytes{1, 2, 3, 4, 5});
}

TEST_CASE("several messages of one datagram are all read", "[queue_wire]") {
  WireBytes datagram = packet(1, {});
  const WireBytes second = packet(2, {9, 9, 9});
  datagram.insert(datagram.end(), second.begin(), second.end());
  nlmsgerr error{};
  error.error = -ENOENT;
  error.msg.nlmsg_type = kVerdictMessage;
  error.msg.nlmsg_seq = 77;
  WireBytes body(sizeof error);
  std::memcpy(body.data(), &error, sizeof error);
  const WireBytes third = message(NLMSG_ERROR, body);
  datagram.insert(datagram.end(), third.begin(), third.end());
  const QueueNews news = news_of(datagram);
  REQUIRE(news.packets.size() == 2);
  CHECK(news.packets[0].bytes.empty());
  CHECK(news.packets[1].id == 2);
  REQUIRE(news.complaints.size() == 1);
  CHECK(news.complaints[0].error == ENOENT);
  CHECK(news.complaints[0].type == kVerdictMessage);
  CHECK(news.complaints[0].sequence == 77);
}

TEST_CASE("a datagram that was cut or garbled is never read beyond its end", "[queue_wire]") {
  const WireBytes whole = packet(5, WireBytes(40, 7));
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    const WireBytes part(whole.begin(), whole.begin() + static_cast<long>(cut));
    CHECK(news_of(part).packets.empty());
  }
  Rng rng(20261123);
  for (int i = 0; i < 100'000; ++i) {
    WireBytes garbled = whole;
    garbled.resize(garbled.size() - rng.below(30));
    for (int changes = 0; changes < 3; ++changes) garbled[rng.below(garbled.size())] = static_cast<std::uint8_t>(rng.next());
    const QueueNews news = news_of(garbled);
    for (const QueuedPacket& got : news.packets) {
      if (got.bytes.empty()) continue;
      REQUIRE(got.bytes.data() >= garbled.data());
      REQUIRE(got.bytes.data() + got.bytes.size() <= garbled.data() + garbled.size());
    }
  }
}

TEST_CASE("a verdict is what the kernel's headers say it is", "[queue_wire]") {
  WireBytes out;
  put_verdict(out, 0x1234, 7, true, {}, 3);
  const WireBytes expected = {32, 0, 0, 0, 1, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0,  // length, type, request, sequence, port
                              0,  0, 0x12, 0x34,                                // family, version, queue
                              12, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 7};             // attribute: accept, id
  CHECK(out == expected);
  out.clear();
  const WireBytes payload = {1, 2, 3};
  put_verdict(out, 1, 7, false, payload, 4);
  CHECK(out.size() == 40);
  CHECK(out[0] == 40);
  CHECK(out[27] == 0);
  CHECK(WireBytes(out.end() - 8, out.end()) == WireBytes{7, 0, 10, 0, 1, 2, 3, 0});
}

TEST_CASE("packets are copied only where their bytes matter, and cut to the size of the wire unless they are merely delayed", "[queue_wire]") {
  PacketEffect effect;
  effect.delay = DelayEffect{10ms, {}, DelayDistribution::constant, 0, false};
  CHECK(queue_setup(effect).copy_bytes == 0);
  CHECK(queue_setup(effect).whole_segments);
  effect.loss = LossEffect{0.1, {}};
  CHECK(queue_setup(effect).copy_bytes == 0);
  CHECK_FALSE(queue_setup(effect).whole_segments);
  effect.corrupt = 0.1;
  CHECK(queue_setup(effect).copy_bytes == kMostCopiedBytes);
  CHECK_FALSE(queue_setup(effect).whole_segments);
  PacketEffect dns;
  dns.dns = DnsEffect{{"db"}, DnsAnswer::silence, {}};
  CHECK(queue_setup(dns).copy_bytes > 512);
}

TEST_CASE("a queue has room for what arrives during the delay, within a limit", "[queue_wire]") {
  const auto room = [](Duration delay) {
    PacketEffect effect;
    effect.delay = DelayEffect{delay, {}, DelayDistribution::constant, 0, false};
    return most_held(effect);
  };
  CHECK(room(1ms) >= 16'384);
  CHECK(room(100ms) == 40'000);
  CHECK(room(1h) == 131'072);
}
