// A running agent as its caller sees it: requests matched with replies, notices, pings, and its end.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/json.h"
#include "injector/base/task.h"

namespace capsize {

class AgentLink {
 public:
  struct State;

  // Starts `command` and waits for its hello, past what a login shell may print before it. Throws Error.
  static Task<std::unique_ptr<AgentLink>> start(Clock& clock, std::vector<std::string> command, Duration hello_limit);
  explicit AgentLink(std::shared_ptr<State> state);
  ~AgentLink();  // closes the agent's stdin

  const Json& hello() const;
  // From now on the agent is pinged, and lost when it is silent for `lease`.
  void keep_alive(Duration lease);
  // The reply's "ok"; throws what the agent threw, and Error::unavailable when it is gone or `limit` passes (0: as long as it lives).
  Task<Json> ask(Json request, Duration limit);
  bool lost() const;
  std::string why_lost() const;
  // Closes its stdin and waits for its end; kills the command when that takes longer than `limit`.
  Task<> end(Duration limit);

  void on_notice(std::function<void(Json)> told);
  void on_lost(std::function<void(std::string because)> told);

 private:
  std::shared_ptr<State> state_;
};

}  // namespace capsize
