#include "probes/load/schedule.h"

#include <cmath>

#include "injector/base/error.h"
#include "injector/base/scattered.h"

namespace capsize {
namespace {

constexpr std::uint64_t kMillion = 1'000'000;

}  // namespace

Schedule::Schedule(Rate rate, std::uint64_t users, Share wrong_password_share, Rng rng)
    : per_second_(rate.per_second),
      users_(users),
      wrong_per_million_(static_cast<std::uint64_t>(std::llround(wrong_password_share.value * static_cast<double>(kMillion)))),
      phase_(rng.below(kMillion)),
      user_key_(rng.next()) {
  CAPSIZE_CHECK(per_second_ > 0);
  CAPSIZE_CHECK(users_ > 0);
}

Duration Schedule::due(std::uint64_t login) const {
  return Duration(std::llround(static_cast<long double>(login) * 1e9L / static_cast<long double>(per_second_)));
}

// Random, not in turn: a balancer that goes round its servers would give every user of a round the same server each time.
std::uint64_t Schedule::user(std::uint64_t login) const { return 1 + scattered(user_key_, login) % users_; }

bool Schedule::wrong_password(std::uint64_t login) const {
  const auto due_up_to = [this](std::uint64_t logins) { return (logins * wrong_per_million_ + phase_) / kMillion; };
  return due_up_to(login + 1) > due_up_to(login);
}

}  // namespace capsize
