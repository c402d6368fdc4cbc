#include "experiments/cli/control.h"

#include <boost/asio/co_spawn.hpp>
#include <csignal>
#include <exception>

#include "injector/base/error.h"
#include "injector/host/remote_host.h"
#include "injector/undo/state_dir.h"

namespace capsize {
namespace {

void listen(asio::signal_set& signals, StopSource& stop, const std::function<void(bool first)>& on_signal) {
  signals.async_wait([&signals, &stop, on_signal](const boost::system::error_code& error, int number) {
    if (error) return;
    const bool first = !stop.requested();
    stop.request("operator", number == SIGINT ? "stopped by an operator (Ctrl-C)" : number == SIGTERM ? "stopped by an operator (SIGTERM)" : "the terminal is gone (SIGHUP)");
    if (on_signal) on_signal(first);
    listen(signals, stop, on_signal);
  });
}

Task<std::unique_ptr<Host>> reach(Clock* clock, std::string state, std::string run, std::string name, std::vector<std::string> via) {
  RemoteHostOptions options;
  // Agents that share this machine's state folder keep a journal each.
  options.run = name.empty() ? run : run + "@" + name;
  options.command = agent_command(via, via.empty() ? state : std::string());
  auto host = co_await RemoteHost::start(*clock, std::move(options));
  co_return std::unique_ptr<Host>(std::move(host));
}

}  // namespace

World real_world(Clock& clock, const CliContext& context, const std::string& run) {
  World world;
  world.clock = &clock;
  world.connect = [clock = &clock, state = context.state, run](std::string name, std::vector<std::string> via) { return reach(clock, state, run, std::move(name), std::move(via)); };
  return world;
}

std::filesystem::path CliContext::state_dir() const { return state.empty() ? default_state_path() : std::filesystem::path(state); }

void run_control(StopSource& stop, const std::function<Task<>()>& work, const std::function<void(bool first)>& on_signal) {
  asio::io_context io(1);
  asio::signal_set signals(io, SIGINT, SIGTERM, SIGHUP);
  listen(signals, stop, on_signal);
  std::exception_ptr problem;
  asio::co_spawn(io, work(), [&](std::exception_ptr error) {
    problem = error;
    signals.cancel();
    signals.clear();
  });
  io.run();
  if (problem) std::rethrow_exception(problem);
}

}  // namespace capsize
