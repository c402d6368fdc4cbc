// What a client does when a login fails: gives up, or tries again after a pause. Each try is an attempt; a login ends with the answer of its
// last one. What many clients do at once is how a system that is short of capacity is kept down: the retry storm.
#pragma once
#include <array>
#include <cstdint>

#include "injector/base/clock.h"
#include "injector/base/param_types.h"
#include "probes/login/transport.h"

namespace capsize {

enum class RetryPolicy { none, fixed, exponential };
template <>
struct EnumWords<RetryPolicy> {
  static constexpr std::array<std::pair<RetryPolicy, std::string_view>, 3> words = {
      {{RetryPolicy::none, "none"}, {RetryPolicy::fixed, "fixed"}, {RetryPolicy::exponential, "exponential"}}};
};

// Immutable, and without chance of its own: the pauses are functions of the key, the login and the attempt.
struct Retries {
  RetryPolicy policy = RetryPolicy::none;
  std::uint64_t most = 2;                                    // attempts beyond the first
  Duration pause = std::chrono::milliseconds(200);           // from the answer of the first attempt to the second
  Duration longest_pause = std::chrono::seconds(10);         // exponential: each is twice the one before, up to this
  Share jitter;                                              // how much of a pause is left to chance: it is cut by up to this
  Duration attempt_timeout = Duration::zero();               // of each attempt, from its start; zero: as long as the login has
  std::uint64_t key = 0;

  // `made`: attempts so far, at least 1. A wrong password that was refused got what it deserved; what failed is tried again, whatever the
  // reason: a client cannot tell a service that is overwhelmed from one that says no.
  bool again(Answer answer, std::uint64_t made) const;
  Duration pause_after(std::uint64_t made, std::uint64_t login) const;
  // When an attempt that starts at `now` ends at the latest.
  TimePoint attempt_deadline(TimePoint now, TimePoint login_deadline) const;
};

}  // namespace capsize
