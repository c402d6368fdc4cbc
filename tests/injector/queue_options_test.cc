#include "injector/netlink/queue_options.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <linux/pkt_sched.h>
#include <numeric>

using namespace capsize;
using namespace std::chrono_literals;

namespace {

struct Moments {
  double mean = 0, deviation = 0;
};

Moments moments(const std::vector<std::int16_t>& table) {
  const double n = static_cast<double>(table.size());
  const double mean = std::accumulate(table.begin(), table.end(), 0.0) / n;
  double squares = 0;
  for (const std::int16_t value : table) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / n)};
}

}  // namespace

TEST_CASE("an effect becomes what netem is told, and nothing else", "[queue_options]") {
  PacketEffect effect;
  CHECK(!netem_for(effect));
  effect.rate = RateEffect{1000, 1, 1s};
  CHECK(!netem_for(effect));
  effect.delay = DelayEffect{300s, 20ms, DelayDistribution::normal, 0.5, true};
  effect.loss = LossEffect{0.25, {}};
  effect.duplicate = 1.0;
  effect.corrupt = 0.5;
  NetemOptions wanted;
  wanted.limit = 1'000'000;
  wanted.latency_ns = 300'000'000'000;
  wanted.jitter_ns = 20'000'000;
  wanted.delay_correlation = 0x80000000;
  wanted.loss = 0x40000000;
  wanted.duplicate = 0xffffffff;
  wanted.corrupt = 0x80000000;
  CHECK(netem_for(effect) == wanted);
  effect.delay->may_reorder = false;  // a rate keeps packets in order, whatever the jitter
  CHECK(netem_for(effect)->rate > 1'000'000'000'000);
  effect.delay->distribution = DelayDistribution::constant;  // has no jitter
  CHECK(netem_for(effect)->jitter_ns == 0);
  CHECK(netem_for(effect)->rate == 0);
}

TEST_CASE("loss in bursts and overtaking are told as netem counts them", "[queue_options]") {
  PacketEffect effect;
  effect.loss = LossEffect{0.1, LossEffect::Burst{0.25, 0.5, 0, 1}};
  effect.reorder = ReorderEffect{0.25, 30ms};
  const auto options = netem_for(effect);
  REQUIRE(options);
  CHECK(options->loss == 0);
  CHECK(options->burst == NetemOptions::Burst{0x40000000, 0x80000000, 0, 0});  // in the bad state none is delivered
  CHECK(options->reorder == 0x40000000);
  CHECK(options->gap == 1);
  CHECK(options->latency_ns == 30'000'000);
}

TEST_CASE("what is written for netem and tbf reads back as it was", "[queue_options]") {
  NetemOptions netem{300'000'000'001, 7, 1, 2, 3, 4, 5, 6, 1, 0x2'0000'0000, NetemOptions::Burst{1, 2, 3, 4}};
  CHECK(netem_from(encode(netem, DelayDistribution::pareto, 9)) == netem);
  netem.burst.reset();
  netem.rate = 1000;
  CHECK(netem_from(encode(netem, DelayDistribution::constant, 9)) == netem);
  for (const std::uint64_t rate : {std::uint64_t{1000}, std::uint64_t{0x2'0000'0000}}) {
    const TbfOptions read = tbf_from(encode(TbfOptions{rate, 5000, 70000}));
    CHECK(read.rate == rate);
    CHECK(read.limit == 70000);
  }
  // Cut off or empty, it is no trouble.
  CHECK(netem_from(BytesView()) == NetemOptions());
  CHECK(tbf_from(Bytes{1, 2, 3}) == TbfOptions());
}

TEST_CASE("a rate lets the largest packet through, and queues as long as it says", "[queue_options]") {
  PacketEffect effect;
  CHECK(!tbf_for(effect, 1518));
  effect.rate = RateEffect{1'000'000, 100, 500ms};
  CHECK(tbf_for(effect, 1518) == TbfOptions{1'000'000, 1518, 501'518});
  effect.rate->burst_bytes = 64'000;
  CHECK(tbf_for(effect, 1518) == TbfOptions{1'000'000, 64'000, 564'000});
}

TEST_CASE("the tables of distributions have the shape of their name", "[queue_options]") {
  CHECK(distribution_table(DelayDistribution::constant).empty());
  CHECK(distribution_table(DelayDistribution::uniform).empty());
  const auto normal = distribution_table(DelayDistribution::normal);
  CHECK(normal.size() == 4096);
  CHECK(std::abs(moments(normal).mean) < 10);
  CHECK(moments(normal).deviation == Approx(8192).epsilon(0.005));
  for (std::size_t i = 0; i < normal.size(); ++i) CHECK(std::abs(normal[i] + normal[normal.size() - 1 - i]) <= 1);  // symmetric
  for (const DelayDistribution skewed : {DelayDistribution::pareto, DelayDistribution::paretonormal}) {
    const auto table = distribution_table(skewed);
    CHECK(std::is_sorted(table.begin(), table.end()));
    CHECK(table.back() - table[2048] > 2 * (table[2048] - table.front()));  // a long tail on one side
  }
}

TEST_CASE("the tables agree with those of iproute2, where it is installed", "[queue_options]") {
  const std::filesystem::path folder = "/usr/lib/x86_64-linux-gnu/tc";
  const std::vector<std::pair<DelayDistribution, const char*>> files = {{DelayDistribution::normal, "normal.dist"}, {DelayDistribution::pareto, "pareto.dist"}, {DelayDistribution::paretonormal, "paretonormal.dist"}};
  for (const auto& [distribution, name] : files) {
    std::ifstream in(folder / name);
    if (!in) continue;
    std::vector<std::int16_t> theirs;
    for (std::string line; std::getline(in, line);) {
      if (line.empty() || line[0] == '#') continue;
      std::istringstream numbers(line);
      for (int number; numbers >> number;) theirs.push_back(static_cast<std::int16_t>(number));
    }
    std::sort(theirs.begin(), theirs.end());
    const auto ours = distribution_table(distribution);
    INFO(name);
    REQUIRE(theirs.size() == ours.size());
    // The tails are a matter of where each sample is taken.
    for (std::size_t i = 64; i < ours.size() - 64; i += 16) CHECK(std::abs(ours[i] - theirs[i]) <= 120);
  }
}
