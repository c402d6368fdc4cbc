// The people at the terminal of `capsize run`: lines typed there are answers.
#pragma once
#include <memory>

#include "experiments/game/room.h"
#include "injector/base/clock.h"
#include "injector/base/unique_fd.h"

namespace capsize {

class RoomTerminal {
 public:
  // Nothing where standard input is no terminal: then nobody can answer, and nothing is read.
  static std::unique_ptr<RoomTerminal> open();

  // Hands each line over until cancelled or the terminal is gone. A run in the background leaves the terminal alone: reading there would
  // stop the process, and with it the undo.
  Task<> listen(Clock& clock);

  Room room;

 private:
  explicit RoomTerminal(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;  // opened anew: that it does not block is nothing the shell has to share
};

}  // namespace capsize
