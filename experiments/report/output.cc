#include "experiments/report/output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace capsize {

void PatientOutput::write(std::string_view text) {
  if (closed_) return;
  if (waiting_.size() + text.size() <= kMaxWaiting) waiting_ += text;
  else dropped_ = true;
  flush(0);
}

void PatientOutput::drain() {
  flush(kDrainMilliseconds);
  if (!dropped_ || !waiting_.empty()) return;
  dropped_ = false;
  waiting_ = "(some lines were dropped: nobody read them; the timeline has them all)\n";
  flush(kDrainMilliseconds);
}

void PatientOutput::flush(int milliseconds) {
  constexpr std::size_t kChunk = 4096;  // PIPE_BUF: what a pipe that polls as writable takes without blocking
  while (!waiting_.empty() && !closed_) {
    pollfd ready{fd_, POLLOUT, 0};
    const int polled = ::poll(&ready, 1, milliseconds);
    if (polled < 0 && errno == EINTR) continue;
    if (polled <= 0) return;
    const ssize_t count = ::write(fd_, waiting_.data(), std::min(waiting_.size(), kChunk));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) closed_ = true;
    else waiting_.erase(0, static_cast<std::size_t>(count));
  }
  if (closed_) waiting_.clear();
}

}  // namespace capsize
