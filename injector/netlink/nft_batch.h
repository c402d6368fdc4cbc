// nf_tables in the kernel's own words: one batch is one transaction. Tables are made with the OWNER flag: only the socket that made them
// may change them, `nft flush ruleset` passes them by, and they go when that socket closes.
#pragma once
#include <netinet/in.h>  // before the kernel's headers, which then leave its types alone

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "injector/netlink/netlink_message.h"
#include "injector/netlink/netlink_socket.h"

namespace capsize {

enum class NftFamily : std::uint8_t { inet = 1, netdev = 5 };  // NFPROTO_*
inline constexpr std::uint8_t kNoFamily = 0;

struct NftHook {
  std::uint32_t number = 0;  // NF_INET_PRE_ROUTING ..., NF_NETDEV_INGRESS
  std::int32_t priority = 0;
  std::vector<std::string> devices;  // of the netdev family; the kernel takes 256 at most
};

struct NftKey {  // an address or a port, as in a packet; small, as there may be tens of thousands
  std::array<std::uint8_t, 16> bytes{};
  std::uint8_t size = 0;
  BytesView view() const { return {bytes.data(), size}; }
  friend auto operator<=>(const NftKey&, const NftKey&) = default;
};

struct NftSet {  // never empty
  std::string name;
  std::uint32_t id = 0;        // within the batch
  std::uint32_t key_type = 0;  // of nft, so that it lists the set as addresses or ports
  bool intervals = false;
  struct Element {
    NftKey key;
    bool ends = false;  // of an interval set: the first key behind an interval
  };
  std::vector<Element> elements;
};
inline constexpr std::uint32_t kIpv4Type = 7;
inline constexpr std::uint32_t kIpv6Type = 8;
inline constexpr std::uint32_t kPortType = 13;

// What a rule does to a packet, expression by expression; all of them work on one register.
class NftExpressions {
 public:
  NftExpressions& meta(std::uint32_t key);                                                     // NFT_META_*
  NftExpressions& set_meta(std::uint32_t key);                                                 // from the register
  NftExpressions& payload(std::uint32_t base, std::uint32_t offset, std::uint32_t length);  // NFT_PAYLOAD_*
  NftExpressions& cgroup(std::uint32_t level);                                                 // the id of the socket's cgroup, at that depth
  NftExpressions& mask(BytesView mask);
  NftExpressions& compare(std::uint32_t op, BytesView value);                                 // NFT_CMP_*
  NftExpressions& equals(BytesView value) { return compare(NFT_CMP_EQ, value); }
  NftExpressions& range(BytesView first, BytesView last);
  NftExpressions& in(const NftSet& set);
  NftExpressions& chance(double share);   // goes on for this share of packets, chosen independently
  NftExpressions& counter();
  NftExpressions& load(BytesView value);
  NftExpressions& verdict(std::int32_t code, const std::string& chain = {});  // NF_DROP, NFT_RETURN, NFT_GOTO ...
  NftExpressions& reject(std::uint32_t type, std::uint8_t code);              // NFT_REJECT_*
  NftExpressions& forward();                                                  // to the device whose index is in the register
  NftExpressions& queue(std::uint16_t number);         // by the xt target; a queue that nobody reads lets packets pass
  NftExpressions& native_queue(std::uint16_t number);  // by nf_tables' own expression, which not every kernel has

  const Bytes& bytes() const { return out_.bytes(); }

 private:
  template <class F>
  NftExpressions& add(const char* name, F&& inside);
  AttributeWriter out_;
};

class NftBatch {
 public:
  NftBatch();
  void table(NftFamily family, const std::string& name);
  void delete_table(NftFamily family, const std::string& name);
  void delete_rules(NftFamily family, const std::string& table);  // all of them
  void chain(NftFamily family, const std::string& table, const std::string& name, const std::optional<NftHook>& hook = {});
  void set(NftFamily family, const std::string& table, const NftSet& set);
  void rule(NftFamily family, const std::string& table, const std::string& chain, const NftExpressions& expressions, const std::string& comment = {});
  // All of it or nothing. Throws NetlinkError.
  void commit(NetlinkSocket& socket, const std::string& what);

 private:
  void begin(int type, int flags, std::uint8_t family);
  void elements(NftFamily family, const std::string& table, const NftSet& set);
  NetlinkWriter out_;
};

// The counters of the rules of one table, by the comment of their rule. Throws NetlinkError.
struct NftCount {
  std::string comment;
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
};
std::vector<NftCount> read_counters(NetlinkSocket& socket, NftFamily family, const std::string& table);

// The port of a table's owner, 0 for a table without one; nothing: no such table.
std::optional<std::uint32_t> owner_of_table(NetlinkSocket& socket, NftFamily family, const std::string& table);

}  // namespace capsize
