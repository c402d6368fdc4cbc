// Writes a PacketMatch as nf_tables expressions: the sets of addresses and ports it needs, shared between matches, and one list of
// expressions for each way to match.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "injector/net/traffic.h"
#include "injector/netlink/nft_batch.h"

namespace capsize {

// Sorted, without what is in another, adjacent ones as one: first and last key of each stretch.
struct KeyRange {
  NftKey first;
  NftKey last;
  friend auto operator<=>(const KeyRange&, const KeyRange&) = default;
};
std::vector<KeyRange> key_ranges(const std::vector<AddressBlock>& blocks, bool v6);
std::vector<KeyRange> key_ranges(const std::vector<PortRange>& ports);

// Where a socket's cgroup is looked up: the id of the cgroup and its depth.
struct CgroupKey {
  std::uint64_t id = 0;
  std::uint32_t depth = 0;
};
// `path`: below the cgroup 2 mount. Throws Error unavailable for what is not there.
CgroupKey cgroup_key(const std::string& path);

class MatchRules {
 public:
  explicit MatchRules(NftFamily family) : family_(family) {}

  // Empty when no packet can match, as from an IPv4 address to an IPv6 one.
  std::vector<NftExpressions> write(const PacketMatch& match);
  // IPv6 finds its neighbours by packets of its own, where IPv4 has ARP, which is never met here: these are left alone alike, or a
  // fault on addresses would also make the neighbour unknown, with other errors than those of IPv4, and outlast its undo.
  static NftExpressions neighbour_discovery();
  // TCP resets and ICMP's "unreachable": what a refusal answers. Its answers are sent by this host, often to itself, and may match too;
  // refused in turn, nobody would hear of the refusal.
  static std::vector<NftExpressions> answers_of_refusals();
  // A packet still in its VLAN: it is met when it comes out of it.
  static NftExpressions in_vlan();

  const std::vector<NftSet>& sets() const { return sets_; }

 private:
  enum class Ip { any, v4, v6 };
  void write_ip(NftExpressions& out, Ip ip) const;
  void write_one_of(NftExpressions& out, const std::vector<KeyRange>& ranges, std::uint32_t base, std::uint32_t offset, std::uint32_t key_type);
  const NftSet& set_of(const std::vector<KeyRange>& ranges, std::uint32_t key_type);

  NftFamily family_;
  std::vector<NftSet> sets_;
  std::map<std::vector<KeyRange>, std::size_t> known_;  // sets_ by what is in them
};

}  // namespace capsize
