#include "injector/netlink/nft_batch.h"

#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/xt_NFQUEUE.h>

#include <cerrno>
#include <cmath>

namespace capsize {
namespace {

constexpr std::size_t kMostSetBytes = 48 << 10;   // of one message: the length of an attribute has 16 bits
constexpr std::uint32_t kChances = 1'000'000'000;  // of the dice
constexpr std::uint8_t kCommentTag = 0;            // NFTNL_UDATA_RULE_COMMENT, which `nft list` prints

constexpr int type_of(int message) { return (NFNL_SUBSYS_NFTABLES << 8) | message; }
nfgenmsg header_of(std::uint8_t family, std::uint16_t resource = 0) { return {family, NFNETLINK_V0, htons(resource)}; }
std::uint8_t number(NftFamily family) { return static_cast<std::uint8_t>(family); }
BytesView view(const std::uint32_t& value) { return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value}; }

}  // namespace

template <class F>
NftExpressions& NftExpressions::add(const char* name, F&& inside) {
  out_.nest(NFTA_LIST_ELEM, [&] {
    out_.text(NFTA_EXPR_NAME, name);
    out_.nest(NFTA_EXPR_DATA, inside);
  });
  return *this;
}

NftExpressions& NftExpressions::meta(std::uint32_t key) {
  return add("meta", [&] {
    out_.be32(NFTA_META_KEY, key);
    out_.be32(NFTA_META_DREG, NFT_REG_1);
  });
}

NftExpressions& NftExpressions::set_meta(std::uint32_t key) {
  return add("meta", [&] {
    out_.be32(NFTA_META_KEY, key);
    out_.be32(NFTA_META_SREG, NFT_REG_1);
  });
}

NftExpressions& NftExpressions::payload(std::uint32_t base, std::uint32_t offset, std::uint32_t length) {
  return add("payload", [&] {
    out_.be32(NFTA_PAYLOAD_DREG, NFT_REG_1);
    out_.be32(NFTA_PAYLOAD_BASE, base);
    out_.be32(NFTA_PAYLOAD_OFFSET, offset);
    out_.be32(NFTA_PAYLOAD_LEN, length);
  });
}

NftExpressions& NftExpressions::cgroup(std::uint32_t level) {
  return add("socket", [&] {
    out_.be32(NFTA_SOCKET_KEY, NFT_SOCKET_CGROUPV2);
    out_.be32(NFTA_SOCKET_DREG, NFT_REG_1);
    out_.be32(NFTA_SOCKET_LEVEL, level);
  });
}

NftExpressions& NftExpressions::mask(BytesView mask) {
  const Bytes zero(mask.size(), 0);
  return add("bitwise", [&] {
    out_.be32(NFTA_BITWISE_SREG, NFT_REG_1);
    out_.be32(NFTA_BITWISE_DREG, NFT_REG_1);
    out_.be32(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(mask.size()));
    out_.nest(NFTA_BITWISE_MASK, [&] { out_.data(NFTA_DATA_VALUE, mask); });
    out_.nest(NFTA_BITWISE_XOR, [&] { out_.data(NFTA_DATA_VALUE, zero); });
  });
}

NftExpressions& NftExpressions::compare(std::uint32_t op, BytesView value) {
  return add("cmp", [&] {
    out_.be32(NFTA_CMP_SREG, NFT_REG_1);
    out_.be32(NFTA_CMP_OP, op);
    out_.nest(NFTA_CMP_DATA, [&] { out_.data(NFTA_DATA_VALUE, value); });
  });
}

NftExpressions& NftExpressions::range(BytesView first, BytesView last) {
  return add("range", [&] {
    out_.be32(NFTA_RANGE_SREG, NFT_REG_1);
    out_.be32(NFTA_RANGE_OP, NFT_RANGE_EQ);
    out_.nest(NFTA_RANGE_FROM_DATA, [&] { out_.data(NFTA_DATA_VALUE, first); });
    out_.nest(NFTA_RANGE_TO_DATA, [&] { out_.data(NFTA_DATA_VALUE, last); });
  });
}

NftExpressions& NftExpressions::in(const NftSet& set) {
  return add("lookup", [&] {
    out_.text(NFTA_LOOKUP_SET, set.name);
    out_.be32(NFTA_LOOKUP_SET_ID, set.id);
    out_.be32(NFTA_LOOKUP_SREG, NFT_REG_1);
  });
}

NftExpressions& NftExpressions::chance(double share) {
  if (share >= 1) return *this;
  add("numgen", [&] {
    out_.be32(NFTA_NG_DREG, NFT_REG_1);
    out_.be32(NFTA_NG_MODULUS, kChances);
    out_.be32(NFTA_NG_TYPE, NFT_NG_RANDOM);
    out_.be32(NFTA_NG_OFFSET, 0);
  });
  // Greater and less are decided byte by byte, so the number has to lie there with its highest byte first.
  add("byteorder", [&] {
    out_.be32(NFTA_BYTEORDER_SREG, NFT_REG_1);
    out_.be32(NFTA_BYTEORDER_DREG, NFT_REG_1);
    out_.be32(NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON);
    out_.be32(NFTA_BYTEORDER_LEN, 4);
    out_.be32(NFTA_BYTEORDER_SIZE, 4);
  });
  return compare(NFT_CMP_LT, view(htonl(static_cast<std::uint32_t>(std::llround(std::max(0.0, share) * kChances)))));
}

NftExpressions& NftExpressions::counter() {
  return add("counter", [&] {
    out_.be64(NFTA_COUNTER_BYTES, 0);
    out_.be64(NFTA_COUNTER_PACKETS, 0);
  });
}

NftExpressions& NftExpressions::load(BytesView value) {
  return add("immediate", [&] {
    out_.be32(NFTA_IMMEDIATE_DREG, NFT_REG_1);
    out_.nest(NFTA_IMMEDIATE_DATA, [&] { out_.data(NFTA_DATA_VALUE, value); });
  });
}

NftExpressions& NftExpressions::verdict(std::int32_t code, const std::string& chain) {
  return add("immediate", [&] {
    out_.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    out_.nest(NFTA_IMMEDIATE_DATA, [&] {
      out_.nest(NFTA_DATA_VERDICT, [&] {
        out_.be32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(code));
        if (!chain.empty()) out_.text(NFTA_VERDICT_CHAIN, chain);
      });
    });
  });
}

NftExpressions& NftExpressions::reject(std::uint32_t type, std::uint8_t code) {
  return add("reject", [&] {
    out_.be32(NFTA_REJECT_TYPE, type);
    out_.value(NFTA_REJECT_ICMP_CODE, code);
  });
}

NftExpressions& NftExpressions::forward() {
  return add("fwd", [&] { out_.be32(NFTA_FWD_SREG_DEV, NFT_REG_1); });
}

NftExpressions& NftExpressions::queue(std::uint16_t queue_number) {
  const xt_NFQ_info_v3 info{queue_number, 1, NFQ_FLAG_BYPASS};
  return add("target", [&] {
    out_.text(NFTA_TARGET_NAME, "NFQUEUE");
    out_.be32(NFTA_TARGET_REV, 3);
    Bytes padded((sizeof info + 7) & ~std::size_t{7}, 0);  // xt wants its structs to end on eight bytes
    std::memcpy(padded.data(), &info, sizeof info);
    out_.data(NFTA_TARGET_INFO, padded);
  });
}

NftExpressions& NftExpressions::native_queue(std::uint16_t queue_number) {
  return add("queue", [&] {
    out_.be16(NFTA_QUEUE_NUM, queue_number);
    out_.be16(NFTA_QUEUE_TOTAL, 1);
    out_.be16(NFTA_QUEUE_FLAGS, NFT_QUEUE_FLAG_BYPASS);
  });
}

NftBatch::NftBatch() { out_.message(NFNL_MSG_BATCH_BEGIN, 0, header_of(AF_UNSPEC, NFNL_SUBSYS_NFTABLES)); }

void NftBatch::begin(int type, int flags, std::uint8_t family) { out_.message(type_of(type), flags, header_of(family)); }

void NftBatch::table(NftFamily family, const std::string& name) {
  begin(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, number(family));
  out_.text(NFTA_TABLE_NAME, name);
  out_.be32(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
}

void NftBatch::delete_table(NftFamily family, const std::string& name) {
  begin(NFT_MSG_DELTABLE, 0, number(family));
  out_.text(NFTA_TABLE_NAME, name);
}

void NftBatch::delete_rules(NftFamily family, const std::string& table) {
  begin(NFT_MSG_DELRULE, 0, number(family));
  out_.text(NFTA_RULE_TABLE, table);
}

void NftBatch::chain(NftFamily family, const std::string& table, const std::string& name, const std::optional<NftHook>& hook) {
  begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE, number(family));
  out_.text(NFTA_CHAIN_TABLE, table);
  out_.text(NFTA_CHAIN_NAME, name);
  if (!hook) return;
  out_.nest(NFTA_CHAIN_HOOK, [&] {
    out_.be32(NFTA_HOOK_HOOKNUM, hook->number);
    out_.be32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(hook->priority));
    if (hook->devices.empty()) return;
    out_.nest(NFTA_HOOK_DEVS, [&] {
      for (const std::string& device : hook->devices) out_.text(NFTA_DEVICE_NAME, device);
    });
  });
  out_.be32(NFTA_CHAIN_POLICY, NF_ACCEPT);
  out_.text(NFTA_CHAIN_TYPE, "filter");
}

void NftBatch::set(NftFamily family, const std::string& table, const NftSet& set) {
  begin(NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL, number(family));
  out_.text(NFTA_SET_TABLE, table);
  out_.text(NFTA_SET_NAME, set.name);
  out_.be32(NFTA_SET_FLAGS, set.intervals ? std::uint32_t{NFT_SET_INTERVAL} : 0);
  out_.be32(NFTA_SET_KEY_TYPE, set.key_type);
  out_.be32(NFTA_SET_KEY_LEN, set.elements.front().key.size);
  out_.be32(NFTA_SET_ID, set.id);
  if (!set.intervals) out_.nest(NFTA_SET_DESC, [&] { out_.be32(NFTA_SET_DESC_SIZE, static_cast<std::uint32_t>(set.elements.size())); });
  elements(family, table, set);
}

void NftBatch::elements(NftFamily family, const std::string& table, const NftSet& set) {
  for (std::size_t next = 0; next < set.elements.size();) {
    begin(NFT_MSG_NEWSETELEM, NLM_F_CREATE, number(family));
    out_.text(NFTA_SET_ELEM_LIST_TABLE, table);
    out_.text(NFTA_SET_ELEM_LIST_SET, set.name);
    out_.be32(NFTA_SET_ELEM_LIST_SET_ID, set.id);
    out_.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
      for (; next < set.elements.size() && out_.size_of_last() < kMostSetBytes; ++next) {
        const NftSet::Element& element = set.elements[next];
        out_.nest(NFTA_LIST_ELEM, [&] {
          out_.nest(NFTA_SET_ELEM_KEY, [&] { out_.data(NFTA_DATA_VALUE, element.key.view()); });
          if (element.ends) out_.be32(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
        });
      }
    });
  }
}

void NftBatch::rule(NftFamily family, const std::string& table, const std::string& chain, const NftExpressions& expressions, const std::string& comment) {
  begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, number(family));
  out_.text(NFTA_RULE_TABLE, table);
  out_.text(NFTA_RULE_CHAIN, chain);
  out_.nest(NFTA_RULE_EXPRESSIONS, [&] { out_.raw(expressions.bytes()); });
  if (comment.empty()) return;
  Bytes note = {kCommentTag, static_cast<std::uint8_t>(comment.size() + 1)};
  note.insert(note.end(), comment.begin(), comment.end());
  note.push_back(0);
  out_.data(NFTA_RULE_USERDATA, note);
}

void NftBatch::commit(NetlinkSocket& socket, const std::string& what) {
  out_.add_flags_to_last(NLM_F_ACK);
  out_.message(NFNL_MSG_BATCH_END, 0, header_of(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
  socket.transact(std::move(out_), what);
}

std::vector<NftCount> read_counters(NetlinkSocket& socket, NftFamily family, const std::string& table) {
  NetlinkWriter query;
  query.message(type_of(NFT_MSG_GETRULE), 0, header_of(number(family)));
  query.text(NFTA_RULE_TABLE, table);
  std::vector<NftCount> out;
  for (const NetlinkReply& reply : socket.dump(std::move(query), "reading the counters of table " + table)) {
    const Attributes rule = reply.attributes<nfgenmsg>();
    const BytesView note = rule.find(NFTA_RULE_USERDATA).value_or(BytesView());
    const Attributes expressions = rule.nested(NFTA_RULE_EXPRESSIONS);
    for (const Attributes::Attribute& item : expressions.all()) {
      const Attributes expression(item.data);
      if (expression.text(NFTA_EXPR_NAME) != "counter") continue;
      const Attributes counter = expression.nested(NFTA_EXPR_DATA);
      const std::string comment = note.size() > 3 && note[0] == kCommentTag ? std::string(note.begin() + 2, note.end() - 1) : "";
      out.push_back({comment, counter.be64(NFTA_COUNTER_PACKETS), counter.be64(NFTA_COUNTER_BYTES)});
    }
  }
  return out;
}

std::optional<std::uint32_t> owner_of_table(NetlinkSocket& socket, NftFamily family, const std::string& table) {
  NetlinkWriter query;
  query.message(type_of(NFT_MSG_GETTABLE), 0, header_of(number(family)));
  query.text(NFTA_TABLE_NAME, table);
  try {
    const auto replies = socket.request(std::move(query), "looking for table " + table);
    return replies.empty() ? std::nullopt : std::optional(replies.front().attributes<nfgenmsg>().be32(NFTA_TABLE_OWNER));
  } catch (const NetlinkError& error) {
    if (error.code() == ENOENT) return std::nullopt;
    throw;
  }
}

}  // namespace capsize
