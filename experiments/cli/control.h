// What every command that touches hosts shares: the control thread's loop, the signals, the way to an agent.
#pragma once
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <functional>
#include <string>

#include "experiments/cli/commands.h"
#include "experiments/runner.h"
#include "experiments/stop.h"

namespace capsize {

// One control thread, one io_context. `work` runs on it to its end; SIGINT, SIGTERM and SIGHUP ask `stop` to stop it, and a second one
// changes nothing. Rethrows what `work` throws. `on_signal` is told of each signal (for a word on the terminal).
void run_control(StopSource& stop, const std::function<Task<>()>& work, const std::function<void(bool first)>& on_signal = {});

// The real machine: agents by their commands, the machine's clock.
World real_world(Clock& clock, const CliContext& context, const std::string& run);

}  // namespace capsize
