// What an agent and its guard say to each other: one byte a message over a SOCK_SEQPACKET pair, with one descriptor beside `share`.
#pragma once
#include <chrono>

namespace capsize {

enum class GuardWord : char {
  ready = 'R',    // guard: I watch
  ping = 'P',     // agent: I am alive
  pong = 'O',     // guard: so am I
  share = 'S',    // agent: here is a connection; drain it before you undo
  shared = 'A',   // guard: I hold it
  full = 'F',     // guard: I hold too many
  told = 'T',     // guard: I was told to end (SIGTERM): undo now
  goodbye = 'G',  // agent: nothing is left to undo; go
};

// Where the guard finds what it inherits.
inline constexpr int kGuardSocketFd = 3;
inline constexpr int kGuardUndoFd = 4;
inline constexpr int kGuardAgentFd = 5;  // a pidfd

inline constexpr auto kGuardPing = std::chrono::milliseconds(500);
inline constexpr auto kGuardLease = std::chrono::seconds(5);  // of silence on either side
inline constexpr int kMaxSharedConnections = 256;

}  // namespace capsize
