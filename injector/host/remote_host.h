// A machine reached through an agent: a child process `via... capsize agent` whose stdin and stdout are the link. On this machine too:
// the runner needs no privilege of its own, and when it dies the agent is alive to undo.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "injector/host/agent.h"
#include "injector/host/host.h"

namespace capsize {

struct RemoteHostOptions {
  std::string run;
  std::vector<std::string> command;       // whole, with `capsize agent` at its end: see agent_command()
  Duration lease = kDefaultLease;         // pinged five times in it
  Duration hello_limit = std::chrono::seconds(15);
  Duration request_limit = std::chrono::seconds(45);  // of inspect, apply and the like; an undo is waited for as long as the agent answers pings
};

// `via` with `capsize agent` after it; empty `via`: this very program. `state`: its --state; empty: the agent's own choice.
std::vector<std::string> agent_command(const std::vector<std::string>& via, const std::string& state = {});

class RemoteHost final : public Host {
 public:
  // Starts the agent, checks its hello and begins the run. Throws Error: nothing was touched. `clock` outlives the host. Thread: control.
  static Task<std::unique_ptr<RemoteHost>> start(Clock& clock, RemoteHostOptions options);
  ~RemoteHost() override;  // the agent sees the end of its stdin and undoes what is left

  Task<> claim(std::vector<TargetHere> targets) override;
  Task<Json> inspect(Op query) override;
  Task<Json> apply(StepId id, Step step, Duration lifetime) override;
  Task<UndoReport> undo(StepId id) override;
  // When the agent is gone, a new one is asked what became of the run's journal, which the guard or it has carried out by then.
  Task<std::vector<UndoReport>> undo_all() override;
  Task<> close() override;

  const Json& hello() const;

 private:
  struct Impl;
  explicit RemoteHost(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

// One question to an agent started for it alone, such as status or revert. Throws Error.
Task<Json> ask_agent(Clock& clock, std::vector<std::string> command, Json request, Duration hello_limit, Duration limit);

}  // namespace capsize
