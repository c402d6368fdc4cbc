// What nftables, ipset and iptables-legacy tell of their rules, read from made bytes.
#include <catch2/catch.hpp>

#include <net/if.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4/ip_tables.h>

#include "injector/netlink/ruleset_look.h"

using namespace capsize;
using Verdict = PacketRule::Verdict;

namespace {

using Writing = std::function<void(AttributeWriter&)>;

AttributeWriter begin(std::uint8_t family) {
  AttributeWriter out;
  out.pod(nfgenmsg{family, NFNETLINK_V0, 0});
  return out;
}

Bytes rule(const std::vector<std::pair<std::string, Writing>>& expressions, std::uint8_t family = NFPROTO_IPV4) {
  AttributeWriter out = begin(family);
  out.text(NFTA_RULE_TABLE, "filter");
  out.text(NFTA_RULE_CHAIN, "INPUT");
  out.be64(NFTA_RULE_HANDLE, 42);
  out.nest(NFTA_RULE_EXPRESSIONS, [&] {
    for (const auto& [name, data] : expressions) {
      out.nest(NFTA_LIST_ELEM, [&, named = name, write = data] {
        out.text(NFTA_EXPR_NAME, named);
        out.nest(NFTA_EXPR_DATA, [&] { write(out); });
      });
    }
  });
  return out.bytes();
}

Writing verdict(std::int32_t code, const std::string& chain = "") {
  return [=](AttributeWriter& out) {
    out.nest(NFTA_IMMEDIATE_DATA, [&] {
      out.nest(NFTA_DATA_VERDICT, [&] {
        out.be32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(code));
        if (!chain.empty()) out.text(NFTA_VERDICT_CHAIN, chain);
      });
    });
  };
}

Writing extension(int name_type, const std::string& name, int info_type, std::uint16_t begin_of_info) {
  return [=](AttributeWriter& out) {
    out.text(name_type, name);
    out.value(info_type, begin_of_info);
  };
}

Writing nothing() {
  return [](AttributeWriter&) {};
}

}  // namespace

TEST_CASE("a table tells its owner, and whether it outlives it", "[doctor]") {
  AttributeWriter out = begin(NFPROTO_INET);
  out.text(NFTA_TABLE_NAME, "capsize_0123456789ab");
  out.be32(NFTA_TABLE_FLAGS, 0x6);
  out.be32(NFTA_TABLE_OWNER, 4711);
  const auto table = parse_table(out.bytes());
  REQUIRE(table);
  CHECK(table->family == "inet");
  CHECK(table->name == "capsize_0123456789ab");
  CHECK(table->owned);
  CHECK(table->persists);
  CHECK(table->owner == 4711);
  CHECK_FALSE(parse_table(begin(NFPROTO_INET).bytes()));
  CHECK_FALSE(parse_table({}));
}

TEST_CASE("a rule is what it meets packets by and what it does with them, in native words and in those of iptables-nft", "[doctor]") {
  const auto jump = parse_rule(rule({{"counter", nothing()}, {"immediate", verdict(NFT_JUMP, "CHAOS-INPUT")}}));
  REQUIRE(jump);
  CHECK(jump->verdict == Verdict::jump);
  CHECK(jump->jumps_to == "CHAOS-INPUT");
  CHECK(jump->handle == 42);
  CHECK(jump->family == "ip");

  const auto native_loss = parse_rule(rule({{"numgen", [](AttributeWriter& out) { out.be32(NFTA_NG_TYPE, NFT_NG_RANDOM); }}, {"immediate", verdict(NF_DROP)}}));
  CHECK((native_loss->random && !native_loss->every_nth && native_loss->verdict == Verdict::drop));
  const auto every_nth = parse_rule(rule({{"numgen", [](AttributeWriter& out) { out.be32(NFTA_NG_TYPE, NFT_NG_INCREMENTAL); }}, {"immediate", verdict(NF_DROP)}}));
  CHECK((!every_nth->random && every_nth->every_nth));
  const auto by_meta = parse_rule(rule({{"meta", [](AttributeWriter& out) { out.be32(NFTA_META_KEY, NFT_META_PRANDOM); }}, {"reject", nothing()}}));
  CHECK((by_meta->random && by_meta->verdict == Verdict::reject));
  const auto by_mark = parse_rule(rule({{"meta", [](AttributeWriter& out) { out.be32(NFTA_META_KEY, NFT_META_MARK); }}, {"immediate", verdict(NF_ACCEPT)}}));
  CHECK((!by_mark->random && by_mark->verdict == Verdict::other));

  const auto statistic = parse_rule(rule({{"match", extension(NFTA_MATCH_NAME, "statistic", NFTA_MATCH_INFO, 0)}, {"immediate", verdict(NF_DROP)}}));
  CHECK((statistic->random && statistic->verdict == Verdict::drop));
  CHECK(parse_rule(rule({{"match", extension(NFTA_MATCH_NAME, "statistic", NFTA_MATCH_INFO, 1)}}))->every_nth);
  CHECK(parse_rule(rule({{"match", extension(NFTA_MATCH_NAME, "connlimit", NFTA_MATCH_INFO, 0)}}))->limits_connections);
  CHECK(parse_rule(rule({{"connlimit", nothing()}}))->limits_connections);

  const auto queue = parse_rule(rule({{"queue", [](AttributeWriter& out) { out.be16(NFTA_QUEUE_NUM, 3); }}}));
  CHECK((queue->verdict == Verdict::queue && queue->queue == 3));
  const auto xt_queue = parse_rule(rule({{"target", extension(NFTA_TARGET_NAME, "NFQUEUE", NFTA_TARGET_INFO, 5)}}));
  CHECK((xt_queue->verdict == Verdict::queue && xt_queue->queue == 5));
  CHECK(parse_rule(rule({{"redir", nothing()}}))->verdict == Verdict::redirect);
  CHECK(parse_rule(rule({{"target", extension(NFTA_TARGET_NAME, "REDIRECT", NFTA_TARGET_INFO, 0)}}))->verdict == Verdict::redirect);
  CHECK(parse_rule(rule({{"target", extension(NFTA_TARGET_NAME, "MARK", NFTA_TARGET_INFO, 0)}}))->verdict == Verdict::other);
}

TEST_CASE("a set of ipset is its name", "[doctor]") {
  AttributeWriter out = begin(NFPROTO_IPV4);
  out.text(IPSET_ATTR_SETNAME, "netwo_5d41402abc4b2a76b_tgt");
  CHECK(parse_ip_set(out.bytes()) == std::string("netwo_5d41402abc4b2a76b_tgt"));
  CHECK_FALSE(parse_ip_set(begin(NFPROTO_IPV4).bytes()));
}

TEST_CASE("cut off bytes of rules harm nobody", "[doctor]") {
  const Bytes whole = rule({{"match", extension(NFTA_MATCH_NAME, "statistic", NFTA_MATCH_INFO, 0)}, {"immediate", verdict(NFT_GOTO, "X")}});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto found = parse_rule(part);
    if (found) CHECK(found->handle == 42);
    parse_table(part);
    parse_chain(part);
    parse_ip_set(part);
  }
}

namespace {

// Entries of an iptables-legacy table, as getsockopt hands them over.
class LegacyTable {
 public:
  std::size_t size() const { return bytes_.size(); }
  const Bytes& bytes() const { return bytes_; }

  void standard(int verdict, const std::string& match = "", std::uint16_t info = 0) { entry("", match, info, &verdict, sizeof verdict); }
  void named(const std::string& target, std::uint16_t info) { entry(target, "", 0, &info, sizeof info); }
  void chain(const std::string& name) {
    char text[XT_FUNCTION_MAXNAMELEN] = "";
    name.copy(text, sizeof text - 1);
    entry("ERROR", "", 0, text, sizeof text);
  }

 private:
  static constexpr std::size_t kPart = 32;  // head of a match or target
  static std::size_t aligned(std::size_t size) { return (size + 7) & ~std::size_t{7}; }
  void put(std::size_t at, const void* data, std::size_t size) { std::memcpy(bytes_.data() + at, data, size); }
  void part(std::size_t at, const std::string& name, std::size_t size) {
    const auto short_size = static_cast<std::uint16_t>(size);
    put(at, &short_size, 2);
    put(at + 2, name.c_str(), name.size() + 1);
  }
  void entry(const std::string& target, const std::string& match, std::uint16_t info, const void* data, std::size_t size) {
    const std::size_t at = bytes_.size();
    const std::size_t match_size = match.empty() ? 0 : aligned(kPart + 24);
    const std::size_t target_size = aligned(kPart + size);
    ipt_entry head{};
    head.target_offset = static_cast<std::uint16_t>(sizeof head + match_size);
    head.next_offset = static_cast<std::uint16_t>(head.target_offset + target_size);
    bytes_.resize(at + head.next_offset);
    put(at, &head, sizeof head);
    if (!match.empty()) {
      part(at + sizeof head, match, match_size);
      put(at + sizeof head + kPart, &info, sizeof info);
    }
    part(at + head.target_offset, target, target_size);
    put(at + head.target_offset + kPart, data, size);
  }
  Bytes bytes_;
};

struct Sample {
  LegacyTable table;
  std::map<std::size_t, std::string> entered_at;
};

Sample sample_table() {
  Sample out;
  const std::size_t one = LegacyTable().size();
  out.entered_at[one] = "INPUT";
  out.table.standard(-NF_DROP - 1, "statistic", 0);
  const std::size_t jump_at = out.table.size();
  LegacyTable measure;  // where the chain's first rule will be
  measure.standard(0);
  const std::size_t entry_size = measure.size();
  LegacyTable head;
  head.chain("CHAOS-INPUT");
  out.table.standard(static_cast<int>(jump_at + 3 * entry_size + head.size()));
  out.table.standard(-NF_ACCEPT - 1);  // the policy
  out.entered_at[out.table.size()] = "FORWARD";
  out.table.standard(-NF_ACCEPT - 1);
  out.table.chain("CHAOS-INPUT");
  out.table.named("NFQUEUE", 9);
  out.table.standard(-NF_REPEAT - 1);  // the return at its end
  out.table.chain("ERROR");
  return out;
}

}  // namespace

TEST_CASE("a table of iptables-legacy is read with its chains, numbers and jumps", "[doctor]") {
  const Sample sample = sample_table();
  const PacketRuleset found = parse_legacy_table(sample.table.bytes(), "ip", "filter", sample.entered_at);
  std::vector<std::string> chains;
  for (const PacketChain& chain : found.chains) chains.push_back(chain.name);
  CHECK(chains == std::vector<std::string>{"INPUT", "FORWARD", "CHAOS-INPUT"});
  REQUIRE(found.rules.size() == 6);
  CHECK((found.rules[0].chain == "INPUT" && found.rules[0].place == 1 && found.rules[0].random && found.rules[0].verdict == Verdict::drop));
  CHECK((found.rules[1].chain == "INPUT" && found.rules[1].place == 2 && found.rules[1].verdict == Verdict::jump && found.rules[1].jumps_to == "CHAOS-INPUT"));
  CHECK((found.rules[3].chain == "FORWARD" && found.rules[3].place == 1));
  CHECK((found.rules[4].chain == "CHAOS-INPUT" && found.rules[4].place == 1 && found.rules[4].verdict == Verdict::queue && found.rules[4].queue == 9));
  CHECK(found.rules[4].legacy);
}

TEST_CASE("a table of iptables-legacy that is cut off or wrong harms nobody", "[doctor]") {
  const Sample sample = sample_table();
  const Bytes& whole = sample.table.bytes();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(parse_legacy_table(part, "ip", "filter", sample.entered_at).rules.size() <= 6);
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    Bytes wrong = whole;
    wrong[at] = 0xff;
    CHECK(parse_legacy_table(wrong, "ip", "filter", sample.entered_at).rules.size() <= 8);
    wrong[at] = 0;
    CHECK(parse_legacy_table(wrong, "ip6", "filter", sample.entered_at).rules.size() <= 8);
  }
}
