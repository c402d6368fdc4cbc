// What a network fault does to packets, in full: args of the op `net.impair`, and what its undo needs to find it again. Planned by the
// faults net.*, carried out by one of three back ends.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/net/traffic.h"

namespace capsize {

enum class DelayDistribution { constant, uniform, normal, pareto, paretonormal };

struct DelayEffect {
  Duration delay{};                // added to each packet, one way
  Duration jitter{};               // half width of `uniform`, standard deviation of the others
  DelayDistribution distribution = DelayDistribution::constant;
  double correlation = 0;          // 0 to 1, of one packet's jitter with the one before
  bool may_reorder = false;        // false: a packet never overtakes one before it (this lengthens the mean when there is jitter)
  friend bool operator==(const DelayEffect&, const DelayEffect&) = default;
};

struct LossEffect {  // independent when `burst` is empty
  struct Burst {     // Gilbert-Elliott: chances per packet to enter and to leave the bad state, of loss in the good and in the bad state
    double enter = 0, leave = 1, loss_in_good = 0, loss_in_bad = 1;
    friend bool operator==(const Burst&, const Burst&) = default;
  };
  double share = 0;  // 0 to 1; of a burst model, its long-run mean
  std::optional<Burst> burst;
  friend bool operator==(const LossEffect&, const LossEffect&) = default;
};

struct ReorderEffect {  // this share of packets skips the queue: overtakes those delayed by `delay`
  double share = 0;
  Duration delay{};
  friend bool operator==(const ReorderEffect&, const ReorderEffect&) = default;
};

struct RateEffect {
  std::uint64_t bytes_per_second = 0;
  std::uint64_t burst_bytes = 0;   // let through at once
  Duration queue{};                // a packet that would wait longer is dropped
  friend bool operator==(const RateEffect&, const RateEffect&) = default;
};

enum class Refusal {
  silent,      // dropped, nobody is told
  tcp_reset,   // TCP: a reset; other protocols: ICMP port unreachable
  unreachable, // ICMP host unreachable
  prohibited,  // ICMP administratively prohibited
};

enum class DnsAnswer { silence, delay, nxdomain, servfail };
struct DnsEffect {  // only queries (UDP, destination port of the match) for these names; the rest passes
  std::vector<std::string> names;  // "db.staging", "*.staging" (a name below it), lower case, without the final dot
  DnsAnswer answer = DnsAnswer::silence;
  Duration delay{};                // with DnsAnswer::delay
  friend bool operator==(const DnsEffect&, const DnsEffect&) = default;
};

// What is done to each packet that matches; several may be given where the back end can do them together.
struct PacketEffect {
  std::optional<DelayEffect> delay;
  std::optional<LossEffect> loss;
  std::optional<double> duplicate;  // share of packets that come twice
  std::optional<double> corrupt;    // share of packets with one bit flipped behind the transport header; a checksum catches it
  std::optional<ReorderEffect> reorder;
  std::optional<RateEffect> rate;
  std::optional<Refusal> refusal;
  std::optional<DnsEffect> dns;
  friend bool operator==(const PacketEffect&, const PacketEffect&) = default;
};

enum class ImpairBackend {
  rules,   // nftables alone: refusal, independent loss
  queue,   // NFQUEUE and our own engine: everything of a PacketEffect but rate; only packets met when they arrive
  device,  // an ifb device with netem (everything but refusal and dns) or tbf (rate), met when they arrive or when they leave
};
std::string_view to_string(ImpairBackend backend);

struct Impairment {
  std::string name;                   // of the nftables table: "capsize_" and 12 hex digits, chosen when planned, never used twice
  std::uint32_t mark = 0;             // of packets on their way to the ifb; chosen when planned, unlikely to be anybody's
  NetworkNamespace place;
  std::vector<PacketMatch> affected;  // a packet that matches any of these ...
  std::vector<PacketMatch> exempt;    // ... and none of these: the control path, always
  ImpairBackend backend = ImpairBackend::rules;
  PacketEffect effect;
  std::uint64_t seed = 1;             // of its dice, where the back end throws them itself
  friend bool operator==(const Impairment&, const Impairment&) = default;
};
Json to_json(const Impairment& impairment);
Json identity_json(const Impairment& impairment);  // what an undo needs of it: without its addresses, of which there may be 10,000
Impairment impairment_from_json(const Json& json);  // of either; throws Error::bug for what is not one
std::string device_name(const Impairment& impairment);  // of its ifb: "cpz" and the 12 digits (15 characters, the kernel's limit)

}  // namespace capsize
