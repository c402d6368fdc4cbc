// Where logins wait and are worked off: a bounded number of slots, and before them a first-in-first-out
// queue without a bound. That queue is the point of the lab: the server goes on with logins whose client
// has long given up, and this dead work is what made the outage outlast its cause.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "experiments/lab/accounts.h"
#include "injector/base/clock.h"
#include "injector/base/json.h"
#include "injector/base/task.h"

namespace capsize {

enum class DeskAnswer {
  ok,
  denied,       // wrong password or unknown user
  abandoned,    // the client had gone before the answer
  unavailable,  // the accounts did not answer
};

struct LoginDeskOptions {
  int slots = 10;
  Duration service_time = std::chrono::milliseconds(100);  // of a login in its slot, from the accounts' answer on, the hash included
  bool skip_gone = false;                                  // drop a login whose client has gone when its turn comes
};

// Thread: one, that of the coroutines that call login().
class LoginDesk {
 public:
  LoginDesk(Clock& clock, Accounts& accounts, LoginDeskOptions options);

  // Waits for a slot, looks the user up, verifies the password, and returns when the service time is over: the slot is taken for as long
  // as the accounts take to answer, too. `client_gone` is asked when the turn comes and again at the end. Must not be cancelled: a slot
  // would be lost.
  Task<DeskAnswer> login(std::string user, std::string password, std::function<bool()> client_gone);

  // {"busy","queued","max_queue","ok","denied","abandoned","unavailable"}
  Json stats() const;

 private:
  Task<> take_slot();
  Task<DeskAnswer> serve(std::string user, std::string password, std::function<bool()> client_gone);
  void release_slot();
  void count(DeskAnswer result);

  Clock& clock_;
  Accounts& accounts_;
  LoginDeskOptions options_;
  int busy_ = 0;
  std::deque<std::shared_ptr<asio::steady_timer>> queue_;  // cancelled, in order, to hand over a slot
  std::size_t max_queue_ = 0;
  std::int64_t ok_ = 0;
  std::int64_t denied_ = 0;
  std::int64_t abandoned_ = 0;
  std::int64_t unavailable_ = 0;
};

}  // namespace capsize
