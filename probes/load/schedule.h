// The whole load, fixed before it starts: when login i is due, which user it is and whether its password is wrong, as functions of i alone.
// Nothing that happens to other logins moves it, which is what makes the load open-loop.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/param_types.h"
#include "injector/base/rng.h"
#include "probes/load/load_rate.h"

namespace capsize {

// Constant: the logins are spaced as evenly as the rate has it. Poisson: each comes by itself, whenever the others do, as people do.
enum class Arrivals { constant, poisson };
template <>
struct EnumWords<Arrivals> {
  static constexpr std::array<std::pair<Arrivals, std::string_view>, 2> words = {{{Arrivals::constant, "constant"}, {Arrivals::poisson, "poisson"}}};
};

// The arrivals of a Poisson process of one a second, in seconds: sums of gaps that are looked up, not drawn in turn, so that a sum does not
// depend on what was asked before. The sums of two blocks of them are kept, and where each block begins: whoever asks in about rising order
// has one sum worked out for each arrival. Not to be asked by two threads at once.
class PoissonArrivals {
 public:
  explicit PoissonArrivals(std::uint64_t key) : key_(key) {}
  long double at(std::uint64_t arrival);

 private:
  static constexpr std::uint64_t kBlock = 256;
  struct Block {
    std::uint64_t index = UINT64_MAX;
    std::array<long double, kBlock> sums;
  };
  const Block& block(std::uint64_t index);

  std::uint64_t key_;
  std::vector<long double> begins_ = {0};  // the sum of all gaps before block i
  std::array<Block, 2> blocks_;            // of even and of odd index
};

class Schedule {
 public:
  // users >= 1; some rate is above zero. What is random is fixed by `rng`'s seed.
  Schedule(LoadRate rate, std::uint64_t users, Share wrong_password_share, Rng rng, Arrivals arrivals = Arrivals::constant);

  double most_per_second() const { return rate_.most(); }
  // Since the start of the load; never re-based. A copy of the schedule for each thread that asks.
  Duration due(std::uint64_t login) const;
  std::uint64_t user(std::uint64_t login) const;  // from 1 to users, each as likely as any other
  // Spread evenly: of any n logins in a row, n * share (rounded up or down) have a wrong password.
  bool wrong_password(std::uint64_t login) const;

 private:
  LoadRate rate_;
  std::uint64_t users_;
  std::uint64_t wrong_per_million_;
  std::uint64_t phase_;     // of the wrong passwords, in millionths
  std::uint64_t user_key_;
  Arrivals arrivals_;
  mutable PoissonArrivals poisson_;  // remembers what it has worked out
};

}  // namespace capsize
