// HTTP for login flows in virtual time: a function answers, and what was asked is kept.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "probes/login/flow.h"

namespace capsize::testing {

struct Scripted {
  HttpSaid said;
  Duration after = std::chrono::milliseconds(1);
};
using Script = std::function<Scripted(const HttpAsk& ask)>;

inline Scripted says(unsigned status, std::string body = {}, HttpHeaders headers = {}) {
  Scripted out;
  out.said.status = status;
  out.said.body = std::move(body);
  out.said.headers = std::move(headers);
  return out;
}

class ScriptedWire final : public HttpWire {
 public:
  ScriptedWire(Clock& clock, Script script, std::vector<HttpAsk>& asked) : clock_(clock), script_(std::move(script)), asked_(asked) {}
  std::unique_ptr<HttpConversation> start() override { return std::make_unique<Conversation>(*this); }

 private:
  struct Conversation final : HttpConversation {
    explicit Conversation(ScriptedWire& owner) : wire(owner) {}
    Task<HttpSaid> send(HttpAsk ask) override {
      wire.asked_.push_back(ask);
      const Scripted scripted = wire.script_(ask);
      co_await wire.clock_.sleep_until(wire.clock_.now() + scripted.after);
      co_return scripted.said;
    }
    ScriptedWire& wire;
  };

  Clock& clock_;
  const Script script_;
  std::vector<HttpAsk>& asked_;
};

enum class Try { right, wrong, expired };

struct Tried {
  Answer answer = Answer::broken;
  std::vector<HttpAsk> asked;
  std::vector<std::string> lines() const {  // "POST /token grant_type=password"
    std::vector<std::string> out;
    for (const HttpAsk& ask : asked) out.push_back(ask.method + " " + ask.url.target + (ask.body.empty() ? "" : " " + ask.body));
    return out;
  }
  std::string header(std::size_t request, const std::string& wanted) const {
    for (const auto& [name, value] : asked.at(request).headers) {
      if (name == wanted) return value;
    }
    return "";
  }
};

inline Task<> try_into(Clock& clock, LoginTransport& transport, LoginAttempt attempt, Answer& out) {
  co_await transport.open();
  auto trying = transport.attempt(attempt);
  const auto answer = co_await within(clock, attempt.deadline - clock.now(), std::move(trying));
  out = answer.value_or(Answer::timed_out);
  co_await transport.close();
}

// ann, whose password is "right", logs in within a second of virtual time.
inline Tried try_flow(const Flow& flow, Script script, Try kind = Try::right) {
  SimClock clock;
  asio::io_context io;
  Tried out;
  const auto transport = make_flow_transport(flow, std::make_unique<ScriptedWire>(clock, std::move(script), out.asked));
  LoginAttempt attempt;
  attempt.user = "ann";
  attempt.password = kind == Try::right ? "right" : "wrong-7";
  attempt.wrong_password = kind != Try::right;
  attempt.expired_token = kind == Try::expired;
  attempt.due = clock.now();
  attempt.deadline = attempt.due + std::chrono::seconds(1);
  asio::co_spawn(io, try_into(clock, *transport, attempt, out.answer), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  clock.run(io);
  return out;
}

}  // namespace capsize::testing
