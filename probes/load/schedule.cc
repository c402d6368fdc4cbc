#include "probes/load/schedule.h"

#include <cmath>

#include "injector/base/error.h"
#include "injector/base/scattered.h"

namespace capsize {
namespace {

constexpr std::uint64_t kMillion = 1'000'000;

// Exponential, with mean 1: never zero, at most 37.
double gap(std::uint64_t key, std::uint64_t arrival) { return -std::log(static_cast<double>((scattered(key, arrival) >> 11) + 1) * 0x1.0p-53); }

}  // namespace

long double PoissonArrivals::at(std::uint64_t arrival) { return block(arrival / kBlock).sums[arrival % kBlock]; }

const PoissonArrivals::Block& PoissonArrivals::block(std::uint64_t index) {
  Block& out = blocks_[index % blocks_.size()];
  if (out.index == index) return out;
  const auto add_up = [&](std::uint64_t which) {
    long double sum = begins_[which];
    for (std::uint64_t i = 0; i < kBlock; ++i) out.sums[i] = sum += gap(key_, which * kBlock + i);
    return sum;
  };
  while (begins_.size() <= index) begins_.push_back(add_up(begins_.size() - 1));
  const long double end = add_up(index);
  if (begins_.size() == index + 1) begins_.push_back(end);
  out.index = index;
  return out;
}

Schedule::Schedule(LoadRate rate, std::uint64_t users, Share wrong_password_share, Rng rng, Arrivals arrivals)
    : rate_(std::move(rate)),
      users_(users),
      wrong_per_million_(static_cast<std::uint64_t>(std::llround(wrong_password_share.value * static_cast<double>(kMillion)))),
      phase_(rng.below(kMillion)),
      user_key_(rng.next()),
      arrivals_(arrivals),
      poisson_(rng.next()) {
  CAPSIZE_CHECK(rate_.steps().back().per_second > 0);
  CAPSIZE_CHECK(users_ > 0);
}

// A Poisson process whose rate changes is one of rate 1 whose time is stretched: its arrival at s is due when s logins are expected.
Duration Schedule::due(std::uint64_t login) const {
  return Duration(std::llround(rate_.time_of(arrivals_ == Arrivals::poisson ? poisson_.at(login) : static_cast<long double>(login))));
}

// Random, not in turn: a balancer that goes round its servers would give every user of a round the same server each time.
std::uint64_t Schedule::user(std::uint64_t login) const { return 1 + scattered(user_key_, login) % users_; }

bool Schedule::wrong_password(std::uint64_t login) const {
  const auto due_up_to = [this](std::uint64_t logins) { return (logins * wrong_per_million_ + phase_) / kMillion; };
  return due_up_to(login + 1) > due_up_to(login);
}

}  // namespace capsize
