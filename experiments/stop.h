// The one way a run is asked to stop early: by an operator, a guardrail, or because something it stands on was lost. The first request
// counts; a second never skips the undo.
#pragma once
#include <boost/asio/cancellation_signal.hpp>
#include <string>

#include "injector/base/task.h"

namespace capsize {

class StopSource {
 public:
  // `kind` as in the timeline's "stop" event: "operator" | "guardrail" | "not_steady" | "error" | "lost". Thread: control.
  void request(std::string kind, std::string because);

  bool requested() const { return requested_; }
  const std::string& kind() const { return kind_; }
  const std::string& because() const { return because_; }

  // Runs `work` so that a request cancels it. Returns when it has ended; its cancellation is no error, everything else is thrown.
  Task<> unless_stopped(Task<> work);

 private:
  bool requested_ = false;
  std::string kind_;
  std::string because_;
  asio::cancellation_signal signal_;
};

}  // namespace capsize
