// Chance is a parameter: one seed repeats a run. Streams of one seed are independent by name, so that a new user of chance does not
// change what the others draw.
#pragma once
#include <cstdint>
#include <random>
#include <string_view>

namespace capsize {

class Rng {
 public:
  explicit Rng(std::uint64_t seed) : seed_(seed), engine_(seed) {}

  Rng stream(std::string_view name) const;
  std::uint64_t seed() const { return seed_; }

  std::uint64_t next() { return engine_(); }
  double uniform();                                // in [0, 1)
  std::uint64_t below(std::uint64_t limit);        // in [0, limit); limit > 0
  bool chance(double probability);
  double exponential(double mean);

 private:
  std::uint64_t seed_;
  std::mt19937_64 engine_;  // its output is fixed by the standard; the standard's distributions are not, so they are not used
};

}  // namespace capsize
