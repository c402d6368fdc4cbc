#include "injector/base/rng.h"

#include <cmath>

#include "injector/base/error.h"

namespace capsize {

Rng Rng::stream(std::string_view name) const {
  std::uint64_t mixed = 0xcbf29ce484222325ULL ^ seed_;
  for (const char character : name) {
    mixed ^= static_cast<unsigned char>(character);
    mixed *= 0x100000001b3ULL;
  }
  return Rng(mixed);
}

double Rng::uniform() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }

std::uint64_t Rng::below(std::uint64_t limit) {
  CAPSIZE_CHECK(limit > 0);
  const std::uint64_t unbiased = UINT64_MAX - UINT64_MAX % limit;
  for (;;) {
    const std::uint64_t value = engine_();
    if (value < unbiased) return value % limit;
  }
}

bool Rng::chance(double probability) { return uniform() < probability; }

double Rng::exponential(double mean) { return -mean * std::log1p(-uniform()); }

}  // namespace capsize
