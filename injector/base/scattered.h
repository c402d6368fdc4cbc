// Chance that is looked up, not drawn in turn: login i needs none of the logins before it.
#pragma once
#include <cstdint>

namespace capsize {

// Number `index` of the endless list that `key` stands for, each as likely as any other (splitmix64).
constexpr std::uint64_t scattered(std::uint64_t key, std::uint64_t index) {
  std::uint64_t x = key + index * 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace capsize
