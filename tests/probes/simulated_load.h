// A load generator in virtual time, in front of a service that is a function.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "probes/load/generator.h"

namespace capsize::testing {

struct Reply {
  Answer answer = Answer::ok;
  Duration after = std::chrono::milliseconds(1);  // since the attempt
};
using Service = std::function<Reply(const LoginAttempt& attempt, TimePoint now)>;

class FakeTransport final : public LoginTransport {
 public:
  FakeTransport(Clock& clock, Service service) : clock_(clock), service_(std::move(service)) {}

  Task<Answer> attempt(LoginAttempt attempt) override {
    const Reply reply = service_(attempt, clock_.now());
    ++under_way;
    most_under_way = std::max(most_under_way, under_way);
    const TimePoint done = clock_.now() + reply.after;
    co_await clock_.sleep_until(std::min(done, attempt.deadline));
    --under_way;
    co_return done > attempt.deadline ? Answer::timed_out : reply.answer;
  }

  std::uint64_t under_way = 0;
  std::uint64_t most_under_way = 0;

 private:
  Clock& clock_;
  Service service_;
};

struct Load {
  Rate rate{100};
  std::uint64_t users = 100;
  Share wrong_password_share;
  Duration timeout = std::chrono::seconds(5);
  std::uint64_t max_in_flight = 100'000;
  Duration lasts = std::chrono::seconds(10);
  std::uint64_t seed = 7;
  Retries retries = {};
  std::vector<std::pair<Duration, double>> shares = {};  // of the load, from then on
  Clock* pace = nullptr;
  std::function<Duration()> cpu_used = {};
};

struct Seen {
  std::vector<Json> windows;
  std::uint64_t most_under_way = 0;
  bool ended = false;

  std::vector<const Json*> all() const {
    std::vector<const Json*> out;
    for (const Json& window : windows) out.push_back(&window);
    return out;
  }
  double value(std::string_view measure) const { return measure_load(measure, all()).value().value; }
};

inline Task<> stop_at(SimClock& clock, Generator& generator, TimePoint when) {
  co_await clock.sleep_until(when);
  generator.stop();
}

inline Task<> set_load_at(SimClock& clock, Generator& generator, TimePoint when, double share) {
  co_await clock.sleep_until(when);
  generator.set_load(share);
}

inline Seen run_load(SimClock& clock, const Load& load, Service service) {
  Seen seen;
  asio::io_context io;
  FakeTransport transport(clock, std::move(service));
  const LoadPlan plan{Schedule(load.rate, load.users, load.wrong_password_share, Rng(load.seed)), Credentials{}, load.timeout, load.max_in_flight, load.retries};
  Generator generator(clock, plan, transport, clock.now(), [&seen](const LoadWindow& window) { seen.windows.push_back(to_json(window)); }, load.pace, load.cpu_used);
  asio::co_spawn(io, stop_at(clock, generator, clock.now() + load.lasts), asio::detached);
  for (const auto& [when, share] : load.shares) asio::co_spawn(io, set_load_at(clock, generator, clock.now() + when, share), asio::detached);
  asio::co_spawn(io, generator.run(), [&seen](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
    seen.ended = true;
  });
  clock.run(io);
  seen.most_under_way = transport.most_under_way;
  return seen;
}

}  // namespace capsize::testing
