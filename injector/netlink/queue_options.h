// What netem and tbf are told, in plain numbers, and the bytes that the kernel takes and gives for it. Pure: no kernel is asked here.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "injector/net/impairment.h"
#include "injector/netlink/netlink_message.h"

namespace capsize {

// A probability as netem takes it: 0 is never, 4294967295 always.
std::uint32_t netem_chance(double probability);

struct NetemOptions {
  std::int64_t latency_ns = 0;
  std::int64_t jitter_ns = 0;
  std::uint32_t delay_correlation = 0;
  std::uint32_t limit = 0;    // packets that may wait; more are dropped
  std::uint32_t loss = 0;
  std::uint32_t duplicate = 0;
  std::uint32_t corrupt = 0;
  std::uint32_t reorder = 0;  // of the packets, sent at once ...
  std::uint32_t gap = 0;      // ... every how many; 1 where `reorder` is used
  std::uint64_t rate = 0;     // bytes a second; 0: none
  struct Burst {              // Gilbert-Elliott, each per packet
    std::uint32_t enter = 0, leave = 0, delivered_in_bad = 0, loss_in_good = 0;
    friend bool operator==(const Burst&, const Burst&) = default;
  };
  std::optional<Burst> burst;
  friend bool operator==(const NetemOptions&, const NetemOptions&) = default;
};

struct TbfOptions {
  std::uint64_t rate = 0;   // bytes a second
  std::uint32_t burst = 0;  // bytes let through at once: at least the largest packet, or that is dropped
  std::uint32_t limit = 0;  // bytes that may wait
  friend bool operator==(const TbfOptions&, const TbfOptions&) = default;
};

// What an effect asks of netem; nothing when it asks nothing (a rate alone).
std::optional<NetemOptions> netem_for(const PacketEffect& effect);
// `largest_packet`: in bytes, with its link header.
std::optional<TbfOptions> tbf_for(const PacketEffect& effect, std::uint32_t largest_packet);

// 4096 samples of a distribution with mean 0 and standard deviation 8192 (pareto's: as iproute2 has it), in order; empty for constant
// and uniform, which netem knows by itself.
std::vector<std::int16_t> distribution_table(DelayDistribution distribution);

// The payload of TCA_OPTIONS. `seed`: of netem's dice, on kernels from 6.7 on; older ones pass over it.
Bytes encode(const NetemOptions& options, DelayDistribution distribution, std::uint64_t seed);
Bytes encode(const TbfOptions& options);
NetemOptions netem_from(BytesView payload);  // what the kernel says it does; distribution and seed are not told
TbfOptions tbf_from(BytesView payload);

}  // namespace capsize
