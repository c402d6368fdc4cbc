// A probe as the runner has it, on real sockets, watched for some windows.
#pragma once
#include "probes/probe.h"
#include "tests/system/small_server.h"

namespace capsize::testing {

struct Watched {
  const ProbeType* type;
  std::vector<Json> windows;

  std::vector<const Window*> all() const {
    std::vector<const Window*> out;
    for (const Json& window : windows) out.push_back(&window);
    return out;
  }
  double value(std::string_view measure) const { return type->measure(measure, all()).value().value; }
};

inline Task<> stop_when(std::size_t windows, const std::vector<Json>& seen, const bool& ended, Probe& probe, SystemClock& clock) {
  while (seen.size() < windows && !ended) {
    co_await clock.sleep(std::chrono::milliseconds(10));
  }
  probe.stop();
}

// Stops the probe when it has handed over that many windows. Throws what the probe throws.
inline Watched watch(std::string_view type, const Json& params, std::size_t windows) {
  asio::io_context io;
  SystemClock clock;
  Watched out{find_probe(type), {}};
  ProbeContext context;
  context.name = "watched";
  context.params = params;
  context.clock = &clock;
  context.start = clock.now();
  context.emit = [&out](Window window) { out.windows.push_back(std::move(window)); };
  const auto probe = out.type->make(std::move(context));
  bool ended = false;
  std::exception_ptr problem;
  asio::co_spawn(io, probe->run(), [&](std::exception_ptr error) {
    ended = true;
    problem = error;
  });
  asio::co_spawn(io, stop_when(windows, out.windows, ended, *probe, clock), asio::detached);
  io.run();
  CHECK(ended);
  if (problem) std::rethrow_exception(problem);
  return out;
}

}  // namespace capsize::testing
