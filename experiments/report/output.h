// Text on its way to a terminal or a pipe that may not take it now.
#pragma once
#include <string>
#include <string_view>

namespace capsize {

// Thread: one. Never throws. Needs SIGPIPE ignored.
class PatientOutput {
 public:
  explicit PatientOutput(int fd) : fd_(fd) {}

  void write(std::string_view text);  // at once what fits without blocking; the rest waits, up to kMaxWaiting
  void drain();                       // the rest, with patience: waits up to kDrainMilliseconds for a reader that takes nothing

  static constexpr std::size_t kMaxWaiting = std::size_t{4} << 20;  // bytes; what comes on top is dropped, and said so
  static constexpr int kDrainMilliseconds = 5000;

 private:
  void flush(int milliseconds);

  int fd_;
  std::string waiting_;
  bool dropped_ = false;
  bool closed_ = false;
};

}  // namespace capsize
