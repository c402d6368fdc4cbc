// The lowest layer of a login: one attempt, from connection to used token. Real sockets in http_transport.cc, a model in simulations.
#pragma once
#include <string>

#include "injector/base/clock.h"
#include "injector/base/task.h"

namespace capsize {

// What became of a login. Every scheduled login ends as exactly one of these.
enum class Answer {
  ok,                // right password, and the token it returned works
  denied,            // refused by the service, fast: right password but a status that says no (401, 403, 429, 503 ...)
  wrongly_accepted,  // wrong password, yet a working token: worse than an outage
  refused,           // no connection
  timed_out,         // nothing usable by the deadline
  broken,            // connection closed or reset half-way, or an answer that cannot be understood, or a token that does not work
  rejected_rightly,  // wrong password, and the service said no: as it should be (not a failure)
};

struct LoginAttempt {
  std::string user;
  std::string password;
  bool wrong_password = false;
  TimePoint due;       // when the schedule wanted it sent; latency counts from here
  TimePoint deadline;  // due + timeout
};

class LoginTransport {
 public:
  virtual ~LoginTransport() = default;
  // Never later than attempt.deadline (then timed_out), never throws for what the service does.
  virtual Task<Answer> attempt(LoginAttempt attempt) = 0;
};

}  // namespace capsize
