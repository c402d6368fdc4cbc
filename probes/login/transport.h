// The lowest layer of a login: one attempt, from connection to used token. Real sockets in http_transport.cc, a model in simulations.
#pragma once
#include <array>
#include <string>
#include <string_view>

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
inline constexpr std::array<std::string_view, 7> kAnswerNames = {"ok", "denied", "wrongly_accepted", "refused", "timed_out", "broken", "rejected_rightly"};
constexpr std::string_view to_string(Answer answer) { return kAnswerNames[static_cast<std::size_t>(answer)]; }

struct LoginAttempt {
  std::string user;
  std::string password;
  bool wrong_password = false;
  bool expired_token = false;  // with wrong_password: instead of credentials an expired token is used, which must not work (controls.h)
  TimePoint due;       // when the schedule wanted it sent; latency counts from here
  TimePoint deadline;  // due + timeout
};

class LoginTransport {
 public:
  virtual ~LoginTransport() = default;
  // Called once, before the first attempt: resolves names, warms connections. Throws Error when no login can ever work (the name does not
  // resolve, the certificate cannot be verified), not when the service is merely down.
  virtual Task<> open() { co_return; }
  // Never later than attempt.deadline (then timed_out), never throws for what the service does. Throws Error when the tester itself lacks
  // something (file descriptors, ports): that login counts as not sent.
  virtual Task<Answer> attempt(LoginAttempt attempt) = 0;
  // Called once, when no attempt is under way any more.
  virtual Task<> close() { co_return; }
};

// What `work` answers by then; timed_out where that is not in time (then it has been cancelled and has ended) or there is no time left, in
// which case nothing begins. What `work` throws is thrown here. For transports: LoginTransport::attempt in one line.
Task<Answer> answer_by(Clock& clock, TimePoint deadline, Task<Answer> work);

}  // namespace capsize
