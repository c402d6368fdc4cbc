#include "injector/netlink/queue_options.h"

#include <linux/pkt_sched.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace capsize {
namespace {

constexpr std::uint32_t kNetemLimit = 1'000'000;  // packets: netem never drops for want of room (tc's default of 1000 does at 100 ms and 10,000 a second)
constexpr std::uint64_t kNoOvertaking = 10'000'000'000'000;  // bytes a second: takes no time, but with a rate netem keeps packets in order
constexpr double kScale = 8192;                   // NETEM_DIST_SCALE
constexpr std::size_t kSamples = 4096;
constexpr int kPrngSeed = 14;                     // TCA_NETEM_PRNG_SEED, since 6.7
constexpr std::uint32_t kTickShift = 6;           // a tick of the packet scheduler is 64 ns
constexpr std::uint64_t kMostQueued = 1u << 31;   // bytes

std::uint32_t ticks(std::int64_t nanoseconds) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(nanoseconds >> kTickShift, 0, std::numeric_limits<std::uint32_t>::max()));
}

std::int16_t sample(double value) {
  return static_cast<std::int16_t>(std::clamp<double>(std::rint(value), std::numeric_limits<std::int16_t>::min(), std::numeric_limits<std::int16_t>::max()));
}

// The inverse of the normal distribution function, by bisection: the table is made once, and this needs no constants to trust.
double normal_quantile(double probability) {
  double low = -10, high = 10;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < probability ? low : high) = middle;
  }
  return low;
}

// Pareto with exponent 3: its mean is 1.5; scaled as iproute2 scales it.
double pareto_quantile(double probability) { return (std::pow(1 - probability, -1.0 / 3) - 1.5) * 4 / 3; }

template <class T>
T read(BytesView bytes) {
  T out{};
  if (!bytes.empty()) std::memcpy(&out, bytes.data(), std::min(sizeof out, bytes.size()));
  return out;
}

}  // namespace

std::uint32_t netem_chance(double probability) {
  return static_cast<std::uint32_t>(std::llround(std::clamp(probability, 0.0, 1.0) * std::numeric_limits<std::uint32_t>::max()));
}

std::optional<NetemOptions> netem_for(const PacketEffect& effect) {
  if (!effect.delay && !effect.loss && !effect.duplicate && !effect.corrupt && !effect.reorder) return std::nullopt;
  NetemOptions out;
  out.limit = kNetemLimit;
  if (effect.delay) {
    out.latency_ns = effect.delay->delay.count();
    if (effect.delay->distribution != DelayDistribution::constant) {
      out.jitter_ns = effect.delay->jitter.count();
      out.delay_correlation = netem_chance(effect.delay->correlation);
    }
    if (out.jitter_ns > 0 && !effect.delay->may_reorder && !effect.reorder) out.rate = kNoOvertaking;
  }
  if (effect.loss && effect.loss->burst) {
    const auto& burst = *effect.loss->burst;
    out.burst = NetemOptions::Burst{netem_chance(burst.enter), netem_chance(burst.leave), netem_chance(1 - burst.loss_in_bad), netem_chance(burst.loss_in_good)};
  } else if (effect.loss) {
    out.loss = netem_chance(effect.loss->share);
  }
  if (effect.duplicate) out.duplicate = netem_chance(*effect.duplicate);
  if (effect.corrupt) out.corrupt = netem_chance(*effect.corrupt);
  if (effect.reorder) {
    out.latency_ns += effect.reorder->delay.count();
    out.reorder = netem_chance(effect.reorder->share);
    out.gap = 1;
  }
  return out;
}

std::optional<TbfOptions> tbf_for(const PacketEffect& effect, std::uint32_t largest_packet) {
  if (!effect.rate) return std::nullopt;
  TbfOptions out;
  out.rate = effect.rate->bytes_per_second;
  out.burst = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(effect.rate->burst_bytes, largest_packet, kMostQueued));
  const double waiting = static_cast<double>(out.rate) * seconds(effect.rate->queue);
  out.limit = static_cast<std::uint32_t>(std::min<double>(waiting + out.burst, static_cast<double>(kMostQueued)));
  return out;
}

std::vector<std::int16_t> distribution_table(DelayDistribution distribution) {
  if (distribution == DelayDistribution::constant || distribution == DelayDistribution::uniform) return {};
  std::vector<std::int16_t> out(kSamples);
  for (std::size_t i = 0; i < kSamples; ++i) {
    const double probability = (static_cast<double>(i) + 0.5) / static_cast<double>(kSamples);
    const double normal = distribution == DelayDistribution::pareto ? 0 : normal_quantile(probability);
    const double pareto = distribution == DelayDistribution::normal ? 0 : std::min(pareto_quantile(probability), 32767 / kScale);
    switch (distribution) {
      case DelayDistribution::normal: out[i] = sample(normal * kScale); break;
      case DelayDistribution::pareto: out[i] = sample(pareto * kScale); break;
      default: out[i] = sample((normal + 3 * pareto) / 4 * kScale); break;
    }
  }
  return out;
}

Bytes encode(const NetemOptions& options, DelayDistribution distribution, std::uint64_t seed) {
  AttributeWriter out;
  tc_netem_qopt head{};
  head.latency = ticks(options.latency_ns);
  head.jitter = ticks(options.jitter_ns);
  head.limit = options.limit;
  head.loss = options.loss;
  head.duplicate = options.duplicate;
  head.gap = options.gap;
  out.pod(head);  // the attributes follow the struct: this is no plain nest
  out.value(TCA_NETEM_LATENCY64, options.latency_ns);
  out.value(TCA_NETEM_JITTER64, options.jitter_ns);
  if (options.delay_correlation != 0) out.value(TCA_NETEM_CORR, tc_netem_corr{options.delay_correlation, 0, 0});
  if (options.corrupt != 0) out.value(TCA_NETEM_CORRUPT, tc_netem_corrupt{options.corrupt, 0});
  if (options.reorder != 0) out.value(TCA_NETEM_REORDER, tc_netem_reorder{options.reorder, 0});
  if (options.burst) {
    tc_netem_gemodel model{};
    model.p = options.burst->enter;
    model.r = options.burst->leave;
    model.h = options.burst->delivered_in_bad;
    model.k1 = options.burst->loss_in_good;
    out.nest(TCA_NETEM_LOSS, [&] { out.value(NETEM_LOSS_GE, model); });
  }
  if (options.rate != 0) {
    tc_netem_rate rate{};
    rate.rate = static_cast<std::uint32_t>(std::min<std::uint64_t>(options.rate, std::numeric_limits<std::uint32_t>::max()));
    if (options.rate > rate.rate) out.value(TCA_NETEM_RATE64, options.rate);
    out.value(TCA_NETEM_RATE, rate);
  }
  const std::vector<std::int16_t> table = distribution_table(distribution);
  if (options.jitter_ns > 0 && !table.empty()) out.data(TCA_NETEM_DELAY_DIST, {reinterpret_cast<const std::uint8_t*>(table.data()), table.size() * sizeof table[0]});
  out.value(kPrngSeed, seed);
  return out.bytes();
}

Bytes encode(const TbfOptions& options) {
  AttributeWriter out;
  tc_tbf_qopt head{};
  head.rate.rate = static_cast<std::uint32_t>(std::min<std::uint64_t>(options.rate, std::numeric_limits<std::uint32_t>::max()));
  head.rate.linklayer = TC_LINKLAYER_ETHERNET;  // else the kernel wants a table of times
  head.limit = options.limit;
  out.value(TCA_TBF_PARMS, head);
  if (options.rate > head.rate.rate) out.value(TCA_TBF_RATE64, options.rate);
  out.value(TCA_TBF_BURST, options.burst);
  return out.bytes();
}

NetemOptions netem_from(BytesView payload) {
  const auto head = read<tc_netem_qopt>(payload);
  const Attributes more(payload.subspan(std::min(sizeof head, payload.size())));
  NetemOptions out;
  out.latency_ns = more.value<std::int64_t>(TCA_NETEM_LATENCY64).value_or(std::int64_t{head.latency} << kTickShift);
  out.jitter_ns = more.value<std::int64_t>(TCA_NETEM_JITTER64).value_or(std::int64_t{head.jitter} << kTickShift);
  out.limit = head.limit;
  out.loss = head.loss;
  out.duplicate = head.duplicate;
  out.gap = head.gap;
  out.delay_correlation = more.value<tc_netem_corr>(TCA_NETEM_CORR).value_or(tc_netem_corr{}).delay_corr;
  out.corrupt = more.value<tc_netem_corrupt>(TCA_NETEM_CORRUPT).value_or(tc_netem_corrupt{}).probability;
  out.reorder = more.value<tc_netem_reorder>(TCA_NETEM_REORDER).value_or(tc_netem_reorder{}).probability;
  out.rate = more.value<std::uint64_t>(TCA_NETEM_RATE64).value_or(more.value<tc_netem_rate>(TCA_NETEM_RATE).value_or(tc_netem_rate{}).rate);
  if (const auto model = more.nested(TCA_NETEM_LOSS).value<tc_netem_gemodel>(NETEM_LOSS_GE)) out.burst = NetemOptions::Burst{model->p, model->r, model->h, model->k1};
  return out;
}

TbfOptions tbf_from(BytesView payload) {
  const Attributes attributes(payload);
  const auto head = attributes.value<tc_tbf_qopt>(TCA_TBF_PARMS).value_or(tc_tbf_qopt{});
  TbfOptions out;
  out.rate = attributes.value<std::uint64_t>(TCA_TBF_RATE64).value_or(head.rate.rate);
  out.limit = head.limit;
  // Told as a time, in ticks, at that rate.
  out.burst = static_cast<std::uint32_t>(std::llround(static_cast<double>(std::uint64_t{head.buffer} << kTickShift) * static_cast<double>(out.rate) / 1e9));
  return out;
}

}  // namespace capsize
