// The whole load, fixed before it starts: when login i is due, which user it is and whether its password is wrong, as pure functions of i.
// Nothing that happens to other logins moves it, which is what makes the load open-loop. (Other arrival processes go in here.)
#pragma once
#include <cstdint>

#include "injector/base/clock.h"
#include "injector/base/param_types.h"
#include "injector/base/rng.h"

namespace capsize {

class Schedule {
 public:
  // users >= 1. What is random is fixed by `rng`'s seed.
  Schedule(Rate rate, std::uint64_t users, Share wrong_password_share, Rng rng);

  double most_per_second() const { return per_second_; }
  Duration due(std::uint64_t login) const;        // since the start of the load; never re-based
  std::uint64_t user(std::uint64_t login) const;  // from 1 to users, each as likely as any other
  // Spread evenly: of any n logins in a row, n * share (rounded up or down) have a wrong password.
  bool wrong_password(std::uint64_t login) const;

 private:
  double per_second_;
  std::uint64_t users_;
  std::uint64_t wrong_per_million_;
  std::uint64_t phase_;     // of the wrong passwords, in millionths
  std::uint64_t user_key_;
};

}  // namespace capsize
