// Makes one load of what several threads sent: their windows, put together.
#pragma once
#include <cstdint>
#include <functional>
#include <map>

#include "probes/load/load_window.h"

namespace capsize {

// Thread: one.
class WindowMerger {
 public:
  // `emit` gets the windows in order, each when all of the `workers` have handed theirs over.
  WindowMerger(std::uint64_t workers, std::function<void(LoadWindow)> emit) : workers_(workers), emit_(std::move(emit)) {}

  void take(LoadWindow window);  // of each worker, in order
  void finish();                 // no more will come: the last window need not be everyone's

 private:
  struct Part {
    LoadWindow window;
    std::uint64_t workers = 0;
  };
  const std::uint64_t workers_;
  const std::function<void(LoadWindow)> emit_;
  std::map<std::int64_t, Part> parts_;  // by when they begin, in microseconds
};

}  // namespace capsize
