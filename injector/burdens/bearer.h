// The bearer of a burden, as the agent that started it sees it, and as anybody finds it again who knows the burden's id.
#pragma once
#include <memory>
#include <string>

#include "injector/base/clock.h"
#include "injector/base/json.h"
#include "injector/base/spawn.h"
#include "injector/base/task.h"

namespace capsize {

// The bearer's own main(): `capsize burden --id ID`, with the descriptor of bearer_wire.h; and of `capsize burden --wall-clock`, which
// prints what time it is, in milliseconds since 1970. Returns its exit code.
int bearer_main(int argc, char** argv);

// A bearer that this process started. Dropping it ends the burden. Thread: control.
class Bearer {
 public:
  // Starts one and gives it its order. Returns when the burden is in place, or after kTakeUpLimit when it has only begun. Throws Error.
  static Task<std::unique_ptr<Bearer>> start(Clock& clock, std::string id, Json order);
  ~Bearer() { end(); }
  Bearer(const Bearer&) = delete;
  Bearer& operator=(const Bearer&) = delete;

  Json detail() const { return detail_; }
  int pid() const { return child_.pid; }
  void end() noexcept;  // SIGKILL; what remains is for wait_for_bearer

 private:
  Bearer(std::string id, Child child) : id_(std::move(id)), child_(std::move(child)) {}

  std::string id_;
  Child child_;
  UniqueFd socket_;  // its end tells the bearer to end
  Json detail_ = Json::object();
};

// A bearer as /proc shows it.
struct BearerLook {
  int pid = 0;          // 0: there is none
  bool ending = false;  // it has been killed, and the kernel is taking back what it had
};
BearerLook find_bearer(const std::string& id);

// The command that the bearer of a "clock" burden started; 0: there is none (any more).
int command_of_bearer(const std::string& id);

enum class BearerEnd { ended, was_not_there, still_there };
// Ends the bearer of this id, whoever started it, and waits until the kernel has taken back all that it had. `pid`: the one it waited for.
Task<BearerEnd> end_bearer(std::string id, Clock& clock, Duration limit, int& pid);

}  // namespace capsize
