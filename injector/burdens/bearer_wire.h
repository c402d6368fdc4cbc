// What an agent and the bearer of a burden say to each other: one JSON object a message over a SOCK_SEQPACKET pair.
//   bearer: {"word": "ready"}                      it will not outlive the agent
//   agent:  the order                              {"burden": "cpu", ...}
//   bearer: {"word": "begun"}                      it can be taken up
//   bearer: {"word": "in_place", "detail": {...}}  it is, whole
//   bearer: {"word": "refused", "error": {...}}    it is not; the bearer ends
#pragma once
#include <chrono>
#include <cstddef>
#include <string>

#include "injector/base/json.h"

namespace capsize {

inline constexpr int kBearerSocketFd = 3;
inline constexpr std::size_t kMaxBearerMessage = 65536;
inline constexpr auto kFollowEvery = std::chrono::milliseconds(200);

// A burden's id: eight hexadecimal digits, chosen when it is planned. The bearer has it in its name, and keeps it to the very end.
bool is_burden_id(const std::string& text);
std::string bearer_name(const std::string& id);  // "burden-9f3a61c2", as `ps` shows it

}  // namespace capsize
