#include "probes/load/window_merger.h"

#include <cmath>

namespace capsize {

void WindowMerger::take(LoadWindow window) {
  Part& part = parts_[std::llround(window.from * 1e6)];
  if (part.workers++ == 0) part.window = std::move(window);
  else merge(part.window, window);
  while (!parts_.empty() && parts_.begin()->second.workers == workers_) emit_(std::move(parts_.extract(parts_.begin()).mapped().window));
}

void WindowMerger::finish() {
  while (!parts_.empty()) emit_(std::move(parts_.extract(parts_.begin()).mapped().window));
}

}  // namespace capsize
